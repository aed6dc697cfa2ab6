"""Further kinds of what people type at a prompt; as in `typed_kinds`."""

# The texts are data, laid out as they are typed.
# ruff: noqa: E501, ISC004

from __future__ import annotations

MORE: dict[str, tuple[str, str]] = {
    "class with its own new": (
        "class C:\n    made = 0\n    def __new__(cls, *a):\n        cls.made += 1\n"
        "        return super().__new__(cls)\n    def __init__(self, a): self.a = a\nc = C(3)\n",
        "c.a == 3 and C.made == 1",
    ),
    "forward references": (
        "import typing\nO = typing.Optional['Y']\nclass Y:\n    next: O\n    other: 'list[Y]'\n",
        "O.__args__[0].__forward_arg__ == 'Y' and Y.__annotations__['next'] is O",
    ),
    "subclass of property": (
        "class prop(property):\n    def __set_name__(self, owner, name): self.label = name\n"
        "class C:\n    @prop\n    def x(self): return 5\n",
        "C().x == 5 and C.x.label == 'x'",
    ),
    "class made by type": (
        "C = type('C', (), {'x': 1, 'f': lambda self: self.x})\nc = C()\n",
        "c.f()==1",
    ),
    "class made by new_class": (
        "import types\nC = types.new_class('C', (), {}, lambda ns: ns.update(x=[1]))\n"
        "C.x.append(C)\n",
        "C.x[1] is C",
    ),
    "weak references to typed things": (
        "import weakref\nclass C: ...\nc = C()\nw = weakref.ref(c)\n"
        "W = weakref.WeakValueDictionary(a=c)\nWS = weakref.WeakSet([c])\n",
        "w() is c and W['a'] is c and c in WS",
    ),
    "attrgetter and methodcaller": (
        "import itertools, operator\nf = operator.attrgetter('real')\n"
        "m = operator.methodcaller('upper')\n",
        "f(3)==3 and m('a')=='A'",
    ),
    "cached method": (
        "import functools\nclass C:\n    @functools.cache\n"
        "    def f(self, x): return x * 2\nc = C()\nc.f(2)\n",
        "c.f(3)==6 and C.f.cache_info().maxsize is None",
    ),
    "class that reduces itself": (
        "import copyreg\nclass C:\n    def __init__(self, v): self.v = v\n"
        "    def __reduce__(self): return C, (self.v,)\nc = C(3)\n",
        "c.v==3",
    ),
    "diamond of classes": (
        "class A:\n    def f(self): return ['A']\nclass B(A):\n"
        "    def f(self): return ['B', *super().f()]\nclass C(A):\n"
        "    def f(self): return ['C', *super().f()]\nclass D(B, C):\n"
        "    def f(self): return ['D', *super().f()]\nd = D()\n",
        "d.f()==['D','B','C','A'] and D.__mro__[1:4]==(B,C,A)",
    ),
    "metaclass with an mro": (
        "class M(type):\n    def mro(cls): return [cls, object]\nclass A: x = 1\n"
        "class C(A, metaclass=M): ...\n",
        "C.__mro__==(C,object)",
    ),
    "class that counts its instances": (
        "def make():\n    class C:\n        count = 0\n"
        "        def __init__(self): C.count += 1\n    return C\nC = make()\nC()\n",
        "C.count==1 and C() and C.count==2",
    ),
    "method of one instance": (
        "import types\nclass C:\n    def f(self): return 1\nc = C()\n"
        "c.f = types.MethodType(lambda self: self.x, c)\nc.x = 5\n",
        "c.f()==5",
    ),
    "function that holds itself": (
        "def f(): return f.me\nf.me = f\n",
        "f() is f",
    ),
    "functions as defaults": (
        "def g(): return 1\ndef f(h=g, *, k=lambda: 2): return h() + k()\n",
        "f()==3",
    ),
    "instance as a default": (
        "class C: ...\ndef f(x=C()): return x\nc = f()\n",
        "f() is c",
    ),
    "iterator": (
        "class Count:\n    def __init__(self): self.i = 0\n"
        "    def __iter__(self): return self\n    def __next__(self):\n"
        "        self.i += 1\n        return self.i\nc = Count()\nnext(c)\n",
        "next(c)==2",
    ),
    "context manager": (
        "class CM:\n    log = []\n"
        "    def __enter__(self): self.log.append('in'); return self\n"
        "    def __exit__(self, *a): self.log.append('out')\nwith CM() as cm: pass\n",
        "CM.log==['in','out']",
    ),
    "ABC that was asked": (
        "import abc\nclass A(abc.ABC): ...\nclass B(A): ...\nisinstance(B(), A)\n"
        "issubclass(int, A)\n",
        "isinstance(B(), A) and not issubclass(int, A)",
    ),
    "registered with the library": (
        "import numbers\nclass N(numbers.Number): ...\nclass My:\n    ...\n"
        "numbers.Number.register(My)\n",
        "True",
    ),
    "class body with exec": (
        "class C:\n    for i in range(3): exec(f'm{i} = i')\n    del i\n",
        "C.m2==2",
    ),
    "star import": (
        "from bisect import *\nfrom collections import deque as dq, OrderedDict\n"
        "d = dq([1], maxlen=3)\n",
        "bisect([1, 3], 2) == 1 and d.maxlen == 3",
    ),
    "redefined function": (
        "def f(): return 1\ng = f\ndef f(): return 2\n",
        "(g(),f())==(1,2)",
    ),
    "Enum nested in class": (
        "import enum\nclass C:\n    class Color(enum.Enum):\n        RED = 1\n"
        "    def __init__(self): self.c = C.Color.RED\nc = C()\n",
        "c.c is C.Color.RED",
    ),
    "enum in dataclass default": (
        "import enum, dataclasses\nclass E(enum.Enum):\n    A = 1\n    B = 2\n"
        "@dataclasses.dataclass\nclass D:\n    e: E = E.A\n"
        "    m: dict = dataclasses.field(default_factory=lambda: {E.B: 1})\nd = D()\n",
        "d.e is E.A and d.m=={E.B:1} and D().m=={E.B:1}",
    ),
    "NamedTuple with enum": (
        "import enum, typing\nclass E(enum.IntFlag):\n    A = 1\n    B = 2\n"
        "class P(typing.NamedTuple):\n    e: E = E.A | E.B\n"
        "    def has(self): return E.A in self.e\np = P()\n",
        "p.has() and p.e is E(3)",
    ),
    "overloaded function": (
        "import typing\n@typing.overload\ndef f(x: int) -> int: ...\n@typing.overload\n"
        "def f(x: str) -> str: ...\ndef f(x): return x\n",
        "f(1)==1",
    ),
    "types of typing": (
        "import typing\nX = typing.Annotated[int, 'm', [1]]\nL = typing.Literal['a', 1]\n"
        "U = int | None\nC = typing.Callable[[int], str]\n",
        "X.__metadata__[1]==[1] and L.__args__==('a',1)",
    ),
    "metaclass with an eq": (
        "class M(type):\n    def __eq__(cls, o): return NotImplemented\n"
        "    __hash__ = type.__hash__\nclass C(metaclass=M): ...\nc = C()\n",
        "type(c) is C",
    ),
    "decorated class method": (
        "import functools\ndef deco(f):\n    @functools.wraps(f)\n"
        "    def w(*a): return f(*a)\n    return w\nclass C:\n    @classmethod\n    @deco\n"
        "    def f(cls): return cls\n    @staticmethod\n    @deco\n    def g(): return 2\n",
        "C.f() is C and C.g()==2",
    ),
    "names set by globals": (
        "def f(): globals()['z'] = 7\nf()\n",
        "z==7",
    ),
    "async context manager class": (
        "import asyncio\nclass A:\n    async def __aenter__(self): return 1\n"
        "    async def __aexit__(self, *a): ...\nasync def m():\n"
        "    async with A() as x: return x\n",
        "run(m())==1",
    ),
    "dataclass made by exec": (
        "exec('from dataclasses import dataclass\\n@dataclass\\nclass D:\\n    x: int = 1\\n    def f(self): return self.x')\n"
        "d = D(4)\n",
        "d.f()==4 and d==D(4)",
    ),
    "exec with locals": (
        "def outer():\n    ns = {}\n    exec('def f(): return 1', {}, ns)\n"
        "    return ns['f']\nf = outer()\n",
        "f()==1",
    ),
    "eval with globals of its own": (
        "adders = [eval('lambda x: x + n', {'n': n}) for n in range(3)]\n",
        "[a(1) for a in adders]==[1,2,3]",
    ),
    "exec without builtins": (
        "ns = {'__builtins__': {}}\nexec('def f(): return 1', ns)\nf = ns['f']\n",
        "f()==1",
    ),
    "metaclass that is called": (
        "class Meta(type):\n    def __new__(m, n, b, d):\n        d['added'] = len(d)\n"
        "        return super().__new__(m, n, b, d)\nclass A(metaclass=Meta):\n    x = 1\n"
        "B = Meta('B', (A,), {'y': 2})\n",
        "B.y==2 and isinstance(B, Meta)",
    ),
    "slots dataclass inherits plain": (
        "from dataclasses import dataclass\nclass Base: z = 1\n@dataclass(slots=True)\n"
        "class D(Base):\n    x: int\nd = D(1)\nd.q = 5\n",
        "d.q==5 and d.x==1",
    ),
    "frozen slots dataclass hash": (
        "from dataclasses import dataclass\n@dataclass(frozen=True, slots=True)\n"
        "class K:\n    a: int\n    b: str = 'x'\nd = {K(1): 1}\nm = d\n",
        "d[K(1)]==1",
    ),
    "dataclass field order repr": (
        "from dataclasses import dataclass, field\n@dataclass\nclass N:\n    v: int\n"
        "    children: list['N'] = field(default_factory=list)\n"
        "    parent: 'N' = field(default=None, repr=False, compare=False)\nr = N(1)\n"
        "c = N(2, parent=r)\nr.children.append(c)\n",
        "c.parent is r and repr(r)=='N(v=1, children=[N(v=2, children=[])])'",
    ),
}  # fmt: skip
