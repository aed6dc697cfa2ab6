"""Kinds of classes, typed; and of functions that are made in other ways; as in `typed_kinds`."""

# The texts are data, laid out as they are typed.
# ruff: noqa: E501, ISC004

from __future__ import annotations

CLASSES: dict[str, tuple[str, str]] = {
    "metaclass with required keywords": (
        "class M(type):\n    seen = []\n"
        "    def __new__(m, name, bases, names, *, table):\n"
        "        cls = super().__new__(m, name, bases, names)\n"
        "        cls.table = table\n        m.seen.append(name)\n        return cls\n"
        "    def __init__(cls, name, bases, names, *, table): super().__init__(name, bases, names)\n"
        "class C(metaclass=M, table='t'):\n    x = 1\n",
        "C.table == 't' and M.seen == ['C'] and C.x == 1",
    ),
    "metaclass with globals": (
        "registry = {}\nclass M(type):\n    def __init__(cls, name, bases, names):\n"
        "        super().__init__(name, bases, names)\n        registry[name] = cls\n"
        "class C(metaclass=M): ...\nclass D(C): ...\nregistry.pop('D')\n",
        "registry == {'C': C}",
    ),
    "metaclass that refuses": (
        "class M(type):\n"
        "    def __setattr__(cls, name, value): raise TypeError('closed')\n"
        "    def __delattr__(cls, name): raise TypeError('closed')\n"
        "class C(metaclass=M):\n    x = 1\n    def f(self): return 2\n",
        "C.x == 1 and C().f() == 2",
    ),
    "metaclass with __prepare__ and __call__": (
        "class M(type):\n    @classmethod\n"
        "    def __prepare__(m, name, bases, **more): return {'prepared': [name]}\n"
        "    def __call__(cls, *args):\n        made = super().__call__(*args)\n"
        "        made.called = True\n        return made\nclass C(metaclass=M): ...\n"
        "c = C()\n",
        "C.prepared == ['C'] and c.called and C().called",
    ),
    "singleton by a metaclass": (
        "class M(type):\n    made = {}\n    def __call__(cls, *a):\n"
        "        if cls not in M.made: M.made[cls] = super().__call__(*a)\n"
        "        return M.made[cls]\nclass S(metaclass=M): ...\ns = S()\n",
        "S() is s",
    ),
    "metaclass with a property": (
        "class M(type):\n    @property\n"
        "    def label(cls): return 'label of ' + cls.__name__\n    @label.setter\n"
        "    def label(cls, value): raise TypeError('no')\nclass C(metaclass=M):\n"
        "    label = 5\nc = C()\n",
        "C.label == 'label of C' and c.label == 5 and C.__dict__['label'] == 5",
    ),
    "metaclass of ABC": (
        "import abc\nmade = []\nclass M(abc.ABCMeta):\n"
        "    def __new__(m, name, bases, names):\n        made.append(name)\n"
        "        return super().__new__(m, name, bases, names)\nclass A(metaclass=M):\n"
        "    @abc.abstractmethod\n    def f(self): ...\nclass B(A):\n"
        "    def f(self): return 1\n",
        "made == ['A', 'B'] and B().f() == 1 and A.__abstractmethods__ == {'f'} and not B.__abstractmethods__",
    ),
    "registry of subclasses": (
        "class Base:\n    registry = {}\n    def __init_subclass__(cls, **more):\n"
        "        super().__init_subclass__(**more)\n"
        "        Base.registry[cls.__name__] = cls\nclass A(Base): ...\nclass B(A): ...\n"
        "del Base.registry['A']\n",
        "list(Base.registry) == ['B'] and Base.registry['B'] is B",
    ),
    "set_name": (
        "class Field:\n    def __set_name__(self, owner, name):\n"
        "        self.owner, self.name = owner, name\n"
        "        owner.order = [*getattr(owner, 'order', []), name]\n"
        "    def __get__(self, obj, cls=None): return self if obj is None else obj.__dict__.get(self.name, 0)\n"
        "    def __set__(self, obj, value): obj.__dict__[self.name] = value + 1\n"
        "class C:\n    a = Field()\n    b = Field()\nc = C()\nc.a = 1\n",
        "c.a == 2 and C.order == ['a', 'b'] and C.a.owner is C",
    ),
    "class decorator": (
        "calls = []\ndef noted(cls):\n    calls.append(cls.__name__)\n"
        "    cls.extra = [cls]\n    return cls\n@noted\nclass C: ...\n",
        "calls == ['C'] and C.extra == [C]",
    ),
    "total_ordering": (
        "import functools\n@functools.total_ordering\nclass V:\n"
        "    def __init__(self, v): self.v = v\n"
        "    def __eq__(self, o): return self.v == o.v\n"
        "    def __lt__(self, o): return self.v < o.v\n",
        "V(1) <= V(1) and V(2) > V(1)",
    ),
    "generic NamedTuple": (
        "from typing import Generic, NamedTuple, TypeVar\nT = TypeVar('T')\n"
        "class P(NamedTuple, Generic[T]):\n    x: T\n    y: int = 2\np = P(1)\n",
        "P[int](1) == p and p.y == 2 and P.__orig_bases__[1] == Generic[T] and P.__bases__ == (tuple, Generic)",
    ),
    "renamed namedtuple": (
        "import collections\nP = collections.namedtuple('P', 'x def x', rename=True)\n"
        "p = P(1, 2, 3)\n",
        "P._fields == ('x', '_1', '_2') and p._1 == 2 and p._replace(_2=5)._2 == 5 and p._asdict()['_1'] == 2",
    ),
    "NamedTuple with docstrings": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    'a point'\n"
        "    x: int = 0\n    def norm(self): return abs(self.x)\n    @property\n"
        "    def twice(self): return self.x * 2\nP.x.__doc__ = 'how far'\n",
        "P.__doc__ == 'a point' and P.x.__doc__ == 'how far' and P(-3).norm() == 3 and P(2).twice == 4",
    ),
    "defaults of a namedtuple set later": (
        "import collections\nP = collections.namedtuple('P', 'x y')\n"
        "P.__new__.__defaults__ = (None, 5)\nP.__doc__ = 'mine'\n",
        "P() == (None, 5) and P.__doc__ == 'mine' and P._field_defaults == {}",
    ),
    "derived namedtuple": (
        "import collections\n"
        "class P(collections.namedtuple('P', ['x', 'y'], defaults=[2])):\n"
        "    __slots__ = ()\n    def f(self): return self.x + self.y\np = P(1)\n",
        "p.f() == 3 and p._replace(x=2) == (2, 2) and type(p._replace(x=2)) is P and P._make([1, 2]) == p",
    ),
    "TypedDict with Required": (
        "from typing import TypedDict, Required, NotRequired\n"
        "class A(TypedDict, total=False):\n    x: Required[int]\n    y: str\nclass B(A):\n"
        "    z: NotRequired[int]\n    w: int\nC = TypedDict('C', {'in': int})\n",
        "B.__required_keys__ == {'x', 'w'} and B.__optional_keys__ == {'y', 'z'} and A.__total__ is False and C.__annotations__ == {'in': int}",
    ),
    "generic TypedDict": (
        "from typing import TypedDict, Generic, TypeVar\nT = TypeVar('T')\n"
        "class A(TypedDict, Generic[T]):\n    x: T\n",
        "A[int](x=1) == {'x': 1} and A.__required_keys__ == {'x'}",
    ),
    "Protocol with data": (
        "from typing import Protocol, runtime_checkable\n@runtime_checkable\n"
        "class P(Protocol):\n    name: str\n    def f(self) -> int: ...\n"
        "class Q(P, Protocol):\n    def g(self): ...\nclass C:\n    name = 'n'\n"
        "    def f(self): return 1\nclass D(P):\n    name = 'd'\n"
        "    def f(self): return 2\n",
        "isinstance(C(), P) and isinstance(D(), P) and not isinstance(1, P) and D().f() == 2",
    ),
    "generic Protocol": (
        "from typing import Protocol, TypeVar\nT_co = TypeVar('T_co', covariant=True)\n"
        "class P(Protocol[T_co]):\n    def get(self) -> T_co: ...\nclass C:\n"
        "    def get(self): return 1\ndef use(p: P[int]): return p.get()\n",
        "use(C()) == 1 and P.__parameters__ == (T_co,)",
    ),
    "generic classes": (
        "from typing import Generic, TypeVar\nK = TypeVar('K', bound=str)\n"
        "V = TypeVar('V', int, float)\nclass M(Generic[K, V]): ...\n"
        "class S(M[str, V]): ...\nalias = S[int]\n",
        "S.__parameters__ == (V,) and alias.__args__ == (int,) and K.__bound__ is str and V.__constraints__ == (int, float) and K.__module__ == __name__",
    ),
    "other type variables": (
        "from typing import ParamSpec, TypeVarTuple, Callable, NewType, TypeVar\n"
        "P = ParamSpec('P')\nTs = TypeVarTuple('Ts')\nF = Callable[P, int]\n"
        "UserId = NewType('UserId', int)\n",
        "F.__parameters__ == (P,) and UserId(5) == 5 and P.__module__ == __name__ == Ts.__module__",
    ),
    "type hints of typed things": (
        "from typing import get_type_hints\nclass A:\n    b: 'B'\nclass B:\n"
        "    a: 'A | None'\ndef f(x: 'A') -> 'B': ...\n"
        "def hints(): return get_type_hints(A), get_type_hints(f)\n",
        "hints() == ({'b': B}, {'x': A, 'return': B})",
    ),
    "pickled in typed code": (
        "import pickle, copy\nclass C:\n    def __init__(self, v): self.v = v\n"
        "    def f(self): ...\ndef there(x): return pickle.loads(pickle.dumps(x))\n"
        "def both(): return there(C(3)), copy.deepcopy(C(4)), there(C), there(C.f)\n",
        "[both()[0].v, both()[1].v, both()[2] is C, both()[3] is C.f] == [3, 4, True, True]",
    ),
    "abstract methods of all kinds": (
        "import abc\nclass A(abc.ABC):\n    @property\n    @abc.abstractmethod\n"
        "    def p(self): ...\n    @classmethod\n    @abc.abstractmethod\n"
        "    def c(cls): ...\n    @staticmethod\n    @abc.abstractmethod\n"
        "    def s(): ...\nclass B(A):\n    p = 1\n    def c(self): ...\ndef fails(cls):\n"
        "    try: cls()\n    except TypeError: return True\n",
        "A.__abstractmethods__ == {'p', 'c', 's'} and B.__abstractmethods__ == {'s'} and fails(B)",
    ),
    "subclasshook": (
        "import abc\nclass Sized(abc.ABC):\n    @classmethod\n"
        "    def __subclasshook__(cls, other): return hasattr(other, 'size') or NotImplemented\n"
        "class C: size = 1\nclass D: ...\nSized.register(D)\n",
        "issubclass(C, Sized) and issubclass(D, Sized) and not issubclass(int, Sized)",
    ),
    "collections.abc": (
        "import collections.abc\nclass M(collections.abc.MutableMapping):\n"
        "    def __init__(self): self.d = {}\n"
        "    def __getitem__(self, k): return self.d[k]\n"
        "    def __setitem__(self, k, v): self.d[k] = v\n"
        "    def __delitem__(self, k): del self.d[k]\n"
        "    def __iter__(self): return iter(self.d)\n"
        "    def __len__(self): return len(self.d)\nm = M()\nm['x'] = 1\n",
        "dict(m) == {'x': 1} and m.setdefault('y', 2) == 2 and m.pop('y') == 2",
    ),
    "decorator class": (
        "import functools\nclass Counted:\n    def __init__(self, f):\n"
        "        functools.update_wrapper(self, f)\n        self.f, self.n = f, 0\n"
        "    def __call__(self, *a):\n        self.n += 1\n        return self.f(*a)\n"
        "@Counted\ndef f(x): return x\nf(1)\n",
        "f.n == 1 and f.__name__ == 'f' and f.f(5) == 5",
    ),
    "property made by a call": (
        "class C:\n    x = property(lambda self: 5, doc='five')\n    y = property()\n"
        "    @y.getter\n    def y(self): return 6\n",
        "C().x == 5 and C.x.__doc__ == 'five' and C().y == 6",
    ),
    "partialmethod and singledispatchmethod": (
        "import functools\nclass C:\n    def f(self, a, b): return a, b\n"
        "    g = functools.partialmethod(f, 1)\n    @functools.singledispatchmethod\n"
        "    def h(self, x): return 'any'\n    @h.register\n"
        "    def _(self, x: int): return 'int'\n",
        "C().g(2) == (1, 2) and C().h(1) == 'int' and C().h('') == 'any'",
    ),
    "match statement": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
        "    y: int = 0\ndef f(v):\n    match v:\n        case P(1, y): return y\n"
        "        case {'k': k}: return k\n        case [a, *rest]: return rest\n",
        "(f(P(1, 2)), f({'k': 3}), f([1, 2])) == (2, 3, [2])",
    ),
    "exception classes": (
        "class Base(Exception):\n    code = 1\nclass Oops(Base):\n"
        "    def __init__(self, a, *, b):\n        super().__init__(a, b)\n"
        "        self.b = b\n    def __str__(self): return f'oops {self.b}'\ntry:\n"
        "    try: 1 / 0\n"
        "    except ZeroDivisionError as error: raise Oops(1, b=2) from error\n"
        "except Oops as error: o = error\no = Oops(*o.args[:1], b=2)\n",
        "str(o) == 'oops 2' and o.args == (1, 2) and o.code == 1",
    ),
    "private names and slots": (
        "class C:\n    __slots__ = ('__x', 'y', '__weakref__')\n"
        "    def __init__(self): self.__x, self.y = 1, 2\n"
        "    def get(self): return self.__x\nc = C()\n",
        "c.get() == 1 and C.__slots__ == ('__x', 'y', '__weakref__') and c._C__x == 1",
    ),
    "slots and inheritance": (
        "class A:\n    __slots__ = {'a': 'the a'}\nclass B(A):\n    __slots__ = ['b']\n"
        "class D(B): ...\nb, d = B(), D()\nb.a, b.b, d.a, d.z = 1, 2, 3, 4\n",
        "(b.a, b.b, d.a, d.z) == (1, 2, 3, 4) and not hasattr(b, '__dict__') and A.__slots__ == {'a': 'the a'}",
    ),
    "slots that are told with a dict": (
        "class C:\n    __slots__ = ('a', '__dict__')\nc = C()\nc.a, c.b = 1, 2\n",
        "c.a == 1 and vars(c) == {'b': 2}",
    ),
    "changed class": (
        "class A: ...\nclass B: ...\nclass C(A):\n    def f(self): return 1\nc = C()\n"
        "C.__bases__ = (B,)\nC.__name__ = 'Sea'\nC.__qualname__ = 'deep.Sea'\n"
        "C.f = lambda self: 2\nC.g = C.f\n",
        "C.__bases__ == (B,) and C.__name__ == 'Sea' and c.f() == 2 and C.g is C.f",
    ),
    "class attribute of that class": (
        "class C:\n    kinds = []\nC.kinds.append(C)\nC.one = C()\nC.many = {'c': C.one}\n"
        "C.f = C.one.__init__\n",
        "C.kinds == [C] and C.many['c'] is C.one",
    ),
    "class with __class__ told": (
        "class Lie:\n    @property\n    def __class__(self): return int\nl = Lie()\n",
        "type(l) is Lie and l.__class__ is int",
    ),
    "class with class_getitem and mro_entries": (
        "class G:\n    def __class_getitem__(cls, item): return cls, item\nclass E:\n"
        "    def __mro_entries__(self, bases): return (G,)\ne = E()\nclass C(e): ...\n",
        "G[1] == (G, 1) and C.__bases__ == (G,) and C.__orig_bases__ == (e,)",
    ),
    "class with getattr": (
        "class C:\n    def __getattr__(self, name): return 'no ' + name\n"
        "    def __getattribute__(self, name): return super().__getattribute__(name)\n"
        "c = C()\n",
        "c.x == 'no x'",
    ),
    "class with equal instances": (
        "class C:\n    def __eq__(self, other): return isinstance(other, C)\n"
        "    def __hash__(self): return 7\na, b = C(), C()\ns = {a: 1}\n",
        "s[b] == 1 and a is not b and len({a, b}) == 1",
    ),
    "keys hashed by a closure": (
        "def make():\n    n = 5\n    class K:\n        def __init__(self, v): self.v = v\n"
        "        def __hash__(self): return hash((self.v, n))\n"
        "        def __eq__(self, other): return self.v == other.v\n    return K\n"
        "K = make()\nd = {K(1): 'one'}\ns = {K(2)}\n",
        "d[K(1)] == 'one' and K(2) in s",
    ),
    "keys hashed by super": (
        "class A:\n    def __init__(self, v): self.v = v\n"
        "    def __hash__(self): return hash(self.v)\nclass B(A):\n"
        "    def __hash__(self): return super().__hash__() + 1\n"
        "    def __eq__(self, other): return self.v == other.v\nd = {B(1): 'one'}\n",
        "d[B(1)] == 'one'",
    ),
    "builtin subclasses": (
        "class L(list):\n    tag = 'l'\nclass D(dict):\n"
        "    def __missing__(self, key): return key\nclass I(int): ...\nclass S(str):\n"
        "    def shout(self): return self.upper()\n"
        "l, d, i, s = L([1]), D(a=1), I(5), S('x')\nl.more = 2\ni.more = 3\n",
        "l == [1] and l.more == 2 and d['z'] == 'z' and i + 1 == 6 and i.more == 3 and s.shout() == 'X'",
    ),
}  # fmt: skip

FUNCTIONS: dict[str, tuple[str, str]] = {
    "the module __main__": (
        "import sys\nx = 5\ndef here():\n    import __main__\n"
        "    __main__.y = __main__.x + 1\n"
        "    return vars(sys.modules[__name__]) is globals() and y == 6\n",
        "here()",
    ),
    "function made by exec": (
        "exec('''def f(x):\n    return x + k\nclass C:\n    def g(self): return f(1)\n''')\n"
        "k = 2\n",
        "f(1) == 3 and C().g() == 3 and 'return x + k' in source(f)",
    ),
    "lambda made by eval": (
        "f = eval('lambda x: x * k')\nk = 3\n"
        "table = {op: eval(f'lambda a, b: a {op} b') for op in '+-*'}\n",
        "f(2) == 6 and [table[op](5, 2) for op in '+-*'] == [7, 3, 10]",
    ),
    "function made by exec in a dict": (
        "scope = {}\n"
        "exec('n = 1\\ndef f():\\n    global n\\n    n += 1\\n    return n', scope)\n"
        "f = scope['f']\nf()\n",
        "f() == 3 and scope['n'] == 3 and scope['f'] is f and [scope.update(n=2)] and f.__globals__ is scope",
    ),
    "function made by compile": (
        "text = 'def f():\\n    return 5\\n'\nexec(compile(text, 'some file', 'exec'))\n",
        "f() == 5 and 'return 5' in source(f)",
    ),
    "function that makes functions by exec": (
        "def make(name):\n    scope = {}\n"
        "    exec(f'def {name}(): return {name!r}', scope)\n    return scope[name]\n"
        "a, b = make('a'), make('b')\n",
        "(a(), b(), make('c')()) == ('a', 'b', 'c')",
    ),
    "import of a submodule": (
        "import xml.dom.minidom, os.path\nimport importlib.util as u\n",
        "xml.dom.minidom.parseString('<a/>').documentElement.tagName == 'a' and u.find_spec('json') is not None",
    ),
    "positional and keyword-only": (
        "def f(a, /, b, *c, d=4, **e): return a, b, c, d, e\nf.__kwdefaults__['d'] = 5\n",
        "f(1, 2, 3, x=6) == (1, 2, (3,), 5, {'x': 6})",
    ),
    "nested decorators": (
        "import functools\ndef deco(n):\n    def outer(f):\n        @functools.wraps(f)\n"
        "        def inner(*a, **k): return f(*a, **k) + n\n        inner.n = n\n"
        "        return inner\n    return outer\n@deco(1)\n@deco(10)\n"
        "def f(x): 'doc'; return x\n",
        "f(0) == 11 and f.__doc__ == 'doc' and f.n == 1 and f.__wrapped__.n == 10",
    ),
    "function with new code": (
        "def f(): return 1\ndef g(): return 2\nf.__code__ = g.__code__\n",
        "f() == 2 and f.__name__ == 'f'",
    ),
    "async context manager and iterator": (
        "import contextlib\n@contextlib.asynccontextmanager\nasync def cm():\n    yield 5\n"
        "class It:\n    def __aiter__(self): return self\n"
        "    async def __anext__(self): raise StopAsyncIteration\nasync def main():\n"
        "    async with cm() as v:\n        return v, [x async for x in It()]\n",
        "run(main()) == (5, [])",
    ),
    "module-like namespace": (
        "import types\nns = types.SimpleNamespace(f=lambda: 1, g=[])\nns.g.append(ns)\n",
        "ns.f() == 1 and ns.g[0] is ns",
    ),
    "context variables of a closure": (
        "def account(start):\n    total = start\n    def deposit(n):\n"
        "        nonlocal total\n        total += n\n        return total\n"
        "    def peek(): return total\n    def more():\n"
        "        def other(): return total * 10\n        return other\n"
        "    return deposit, peek, more\ndeposit, peek, more = account(1)\n"
        "other = more()\ndeposit(1)\n",
        "(peek(), other(), deposit(1), other(), [deposit(-1)]) == (2, 20, 3, 30, [2])",
    ),
    "generator functions and cycles": (
        "class Node:\n    def __init__(self): self.next = self\n    def __iter__(self):\n"
        "        yield self.next\nn = Node()\nn.other = [n]\n",
        "list(n) == [n] and n.other[0] is n",
    ),
    "walrus and comprehension": (
        "fs = [(lambda: y) for x in range(3) if (y := x)]\n"
        "data = {k: v for k, v in zip('ab', range(2))}\n",
        "[f() for f in fs] == [2, 2] and data == {'a': 0, 'b': 1}",
    ),
}  # fmt: skip

SINCE_3_12: dict[str, tuple[str, str]] = {
    "type alias": (
        "type X = int | list[X]\ntype Y = dict[str, X]\n",
        "X.__value__.__args__[1].__args__ == (X,) and Y.__value__.__args__[1] is X and X.__module__ == __name__",
    ),
    "generic type alias": (
        "type Pair[T] = tuple[T, T]\np = Pair[int]\n",
        "Pair.__value__.__args__ == Pair.__type_params__ * 2 and p.__args__ == (int,)",
    ),
    "class with type parameters": (
        "class Box[T: int, *Ts, **P]:\n    def __init__(self, v: T): self.v = v\n"
        "    def get(self) -> T: return self.v\nclass Sub[T](Box[T, int, []]): ...\n"
        "b = Box(3)\n",
        "b.get() == 3 and Box.__type_params__[0].__bound__ is int and Box.get.__annotations__['return'] is Box.__type_params__[0]",
    ),
    "function with type parameters": (
        "def f[T: (int, str)](x: T) -> T: return x\nclass C:\n"
        "    def g[U](self, x: U) -> U: return x\n",
        "f(1) == 1 and f.__type_params__[0].__constraints__ == (int, str) and C().g(2) == 2",
    ),
    "class bound by itself": (
        "class Node[T: Node]:\n    next: T\nn = Node()\n",
        "Node.__type_params__[0].__bound__ is Node",
    ),
    "dataclass with type parameters": (
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass Box[T]:\n"
        "    v: T\nb = Box[int](3)\n",
        "b == Box(3) and Box.__parameters__ == Box.__type_params__",
    ),
    "NamedTuple with type parameters": (
        "from typing import NamedTuple\nclass P[T](NamedTuple):\n    x: T\np = P(1)\n",
        "p.x == 1 and P[int](1) == p",
    ),
}  # fmt: skip
"""What Python 3.11 can't read."""
