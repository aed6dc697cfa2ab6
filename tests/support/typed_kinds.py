"""Kinds of typed code, each with an expression that must hold before and after a restore.

Run as a script by other Pythons: ``typed_kinds.py save|check FILE``.
"""

# The texts are data, laid out as they are typed.
# ruff: noqa: E501, ISC004

from __future__ import annotations

import asyncio
import inspect
import pathlib
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

from portrait import differences, portrait_of
from typed_classes import CLASSES, FUNCTIONS, SINCE_3_12
from typed_enums import DATACLASSES, ENUMS
from typed_more import MORE

from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.typed import compile_typed
from tapd.model.application import Application
from tapd.model.durable.namespace import Namespace
from tapd.model.service import Service


class Prompt:
    """A namespace in an application, and what is typed into it."""

    def __init__(self) -> None:
        self.application = Application("telnet")
        self.service = self.application.add_service(Service(), "shell")
        self.namespace = self.service.namespace = Namespace()
        self.namespace.names["__name__"] = "__main__"

    def run(self, text: str) -> None:
        """Run a text of several statements."""
        type_into(self.namespace, text)

    def type(self, text: str) -> Any:
        code = compile_typed(text, self.namespace)
        assert code is not None, text
        return exec(code, self.namespace.names)

    def __getitem__(self, name: str) -> Any:
        return self.namespace.names[name]


def type_into(namespace: Namespace, text: str) -> None:
    """Run a text of several statements, as if it were typed."""
    code = compile_typed(text, namespace, "exec")
    assert code is not None, text
    exec(code, namespace.names)


KINDS: dict[str, tuple[str, str]] = {
    "function": ("def f(x):\n    return x + 1\n", "f(1) == 2"),
    "lambda": ("f = lambda x, y=3: x + y", "f(1) == 4"),
    "two lambdas on a line": ("f, g = lambda: 1, lambda: 2", "(f(), g()) == (1, 2)"),
    "equal lambdas on a line": ("f, g = lambda: 1, lambda: 1", "f() + g() == 2 and f is not g"),
    "lambda in a list": ("fs = [lambda i=i: i for i in range(3)]", "[f() for f in fs] == [0, 1, 2]"),
    "closures in a list": ("fs = [lambda: i for i in range(3)]", "[f() for f in fs] == [2, 2, 2]"),
    "defaults": ("def f(x, y=[1], *, z={'a': 1}): return x, y, z\n", "f(0) == (0, [1], {'a': 1})"),
    "annotations": ("def f(x: int) -> str: ...\n", "f.__annotations__ == {'x': int, 'return': str}"),
    "attributes": ("def f(): ...\nf.count = 5\n", "f.count == 5"),
    "docstring": ("def f():\n    'what it does'\n", "f.__doc__ == 'what it does'"),
    "changed docstring": ("def f():\n    'x'\nf.__doc__ = 'y'\n", "f.__doc__ == 'y'"),
    "recursion": ("def f(n): return n and n + f(n - 1)\n", "f(4) == 10"),
    "globals": ("K = 3\ndef f(): return K\n", "f() == 3 and f.__globals__ is names"),
    "global statement": ("n = 0\ndef f():\n    global n\n    n += 1\n", "f() is None and n == 1"),
    "generator function": ("def f():\n    yield 1\n    yield 2\n", "list(f()) == [1, 2]"),
    "async function": ("async def f(): return 5\n", "run(f()) == 5"),
    "async generator": ("async def f():\n    yield 5\n", "run(f().__anext__()) == 5"),
    "shared cell": (
        "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n"
        "    def get(): return n\n    return up, get\nup, get = make()\nup()\n",
        "(up(), get()) == (None, 2)",
    ),
    "empty cell": (
        "def make():\n    def f(): return later\n    if 0: later = 1\n    return f\nf = make()\n",
        "f.__closure__[0] is not None",
    ),
    "closure of itself": (
        "def make():\n    def f(n): return n and f(n - 1)\n    return f\nf = make()\n", "f(3) == 0",
    ),
    "wraps": (
        "import functools\ndef twice(g):\n    @functools.wraps(g)\n    def inner(*a):\n"
        "        return g(*a) * 2\n    return inner\n@twice\ndef f(x): return x + 1\n",
        "f(1) == 4 and f.__name__ == 'f' and f.__wrapped__(1) == 2",
    ),
    "lru_cache": (
        "import functools\n@functools.lru_cache(maxsize=7)\ndef f(x): return x\n",
        "f(3) == 3 and f.cache_parameters()['maxsize'] == 7",
    ),
    "singledispatch": (
        "import functools\n@functools.singledispatch\ndef f(x): return 'any'\n"
        "@f.register\ndef g(x: int): return 'int'\n",
        "f(1) == 'int' and f('') == 'any'",
    ),
    "contextmanager": (
        "import contextlib\n@contextlib.contextmanager\ndef f():\n    yield 5\n",
        "f().__enter__() == 5",
    ),
    "partial": ("import functools\ndef f(x, y): return x - y\ng = functools.partial(f, 5)\n",
                "g(3) == 2"),
    "class": (
        "class C:\n    k = 1\n    def __init__(self, v): self.v = v\n    def f(self): return self.v\n"
        "c = C(5)\n",
        "type(c) is C and c.f() == 5 and C.k == 1 and C.__name__ == 'C'",
    ),
    "class without methods": ("class C: x = 1\n", "C.x == 1 and C().x == 1"),
    "methods of all kinds": (
        "class C:\n    @property\n    def p(self): return 1\n    @p.setter\n    def p(self, v): self.q = v\n"
        "    @classmethod\n    def c(cls): return cls\n    @staticmethod\n    def s(): return 3\n",
        "(C().p, C.c(), C.s()) == (1, C, 3)",
    ),
    "cached_property": (
        "import functools\nclass C:\n    @functools.cached_property\n    def p(self): return [1]\n",
        "(lambda c: c.p is c.p)(C())",
    ),
    "super": (
        "class A:\n    def f(self): return 'A'\nclass B(A):\n    def f(self): return 'B' + super().f()\n",
        "B().f() == 'BA' and issubclass(B, A)",
    ),
    "slots": (
        "class C:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a = 1\nc = C()\n",
        "c.a == 1 and not hasattr(c, '__dict__')",
    ),
    "metaclass": (
        "class M(type):\n    def hello(cls): return cls.__name__\nclass C(metaclass=M): pass\n",
        "type(C) is M and C.hello() == 'C'",
    ),
    "ABC": (
        "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\n"
        "class B(A):\n    def f(self): return 1\nb = B()\n",
        "b.f() == 1 and A.__abstractmethods__ == frozenset({'f'})",
    ),
    "dataclass": (
        "from dataclasses import dataclass, field\n@dataclass\nclass D:\n    x: int\n"
        "    y: list = field(default_factory=list)\n    def f(self): return self.x\nd = D(3)\n",
        "d == D(3) and d.y == [] and d.f() == 3 and repr(d) == 'D(x=3, y=[])'",
    ),
    "frozen dataclass with slots": (
        "from dataclasses import dataclass, replace\n@dataclass(frozen=True, slots=True, order=True)\n"
        "class D:\n    x: int = 3\n    def f(self): return self.x\nd = D(4)\nk = {d: 1}\n",
        "k[D(4)] == 1 and D().x == 3 and d.f() == 4 and D(1) < d and replace(d, x=5).x == 5",
    ),
    "derived dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\n"
        "@dataclass\nclass B(A):\n    y: int = 2\nb = B(5)\n",
        "b == B(5, 2) and isinstance(b, A)",
    ),
    "enum": (
        "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 'b'\n    C = 1\n"
        "    def up(self): return self.name\ne = E.B\n",
        "e is E.B and E('b') is e and E.C is E.A and e.up() == 'B' and len(E) == 2",
    ),
    "flag": (
        "import enum\nclass F(enum.Flag):\n    A = enum.auto()\n    B = enum.auto()\nf = F.A | F.B\n",
        "f == F.A | F.B and F.A in f",
    ),
    "str enum": (
        "import enum\nclass E(str, enum.Enum):\n    A = 'a'\ne = E.A\n", "e is E.A and e == 'a'",
    ),
    "NamedTuple": (
        "import typing\nclass P(typing.NamedTuple):\n    x: int\n    y: int = 2\n"
        "    def f(self): return self.x + self.y\np = P(1)\n",
        "p == P(1) and p.f() == 3 and p._fields == ('x', 'y') and type(p) is P",
    ),
    "namedtuple": (
        "import collections\nP = collections.namedtuple('P', 'x y')\np = P(1, 2)\n",
        "p.y == 2 and type(p) is P",
    ),
    "TypedDict": (
        "import typing\nclass T(typing.TypedDict, total=False):\n    x: int\nt = T(x=1)\n",
        "t == {'x': 1} and T.__optional_keys__ == frozenset({'x'})",
    ),
    "Generic": (
        "import typing\nT = typing.TypeVar('T')\nclass G(typing.Generic[T]):\n    def f(self): return 1\n",
        "G[int]().f() == 1",
    ),
    "Protocol": (
        "import typing\n@typing.runtime_checkable\nclass P(typing.Protocol):\n    def f(self): ...\n"
        "class C:\n    def f(self): return 1\n",
        "isinstance(C(), P)",
    ),
    "exception class": (
        "class Oops(Exception):\n    def __init__(self, a, b):\n        super().__init__(a)\n"
        "        self.b = b\no = Oops(1, 2)\n",
        "o.b == 2 and isinstance(o, Oops) and o.args == (1,)",
    ),
    "list subclass": ("class L(list):\n    def f(self): return len(self)\nl = L([1, 2])\n", "l.f() == 2"),
    "hash and eq": (
        "class H:\n    def __init__(s, v): s.v = v\n    def __hash__(s): return hash(s.v)\n"
        "    def __eq__(s, o): return s.v == o.v\nd = {H(1): 'one'}\n",
        "d[H(1)] == 'one'",
    ),
    "redefined class": (
        "class C:\n    def f(self): return 'old'\nold = C()\nclass C:\n    def f(self): return 'new'\nnew = C()\n",
        "(old.f(), new.f()) == ('old', 'new') and type(old) is not C and type(new) is C",
    ),
    "bound method": ("class C:\n    def f(self): return self.v\nc = C()\nc.v = 5\nm = c.f\n",
                     "m() == 5 and m.__self__ is c"),
    "nested class": ("class A:\n    class B:\n        def f(self): return 1\nb = A.B()\n",
                     "b.f() == 1 and type(b) is A.B"),
    "local class": ("def make():\n    class L:\n        def f(self): return 1\n    return L\nl = make()()\n",
                    "l.f() == 1 and type(l).__name__ == 'L'"),
    "class cycle": ("class A: pass\nA.me = A\na = A()\nA.it = a\n", "A.me is A and A.it is a"),
    "durable class": (
        "from tapd import Persistent\nclass R(Persistent):\n    def f(self): return self.v\n",
        "R.f.__globals__ is names",
    ),
    "registered classes": (
        "import abc\nclass A(abc.ABC): ...\nclass B: ...\nA.register(B)\nA.register(int)\nb = B()",
        "isinstance(b, A) and isinstance(1, A) and not isinstance('', A)",
    ),
    "keywords of a class": (
        "class Base:\n    tags = []\n    def __init_subclass__(cls, *, tag, **more):\n"
        "        super().__init_subclass__(**more)\n        cls.tag = tag\n"
        "        Base.tags.append(tag)\nclass A(Base, tag='a'): ...\nclass B(A, tag='b'): ...\nb = B()",
        "(A.tag, b.tag, Base.tags) == ('a', 'b', ['a', 'b']) and [type('C', (A,), {}, tag='c'), "
        "Base.tags.pop()][1] == 'c'",
    ),
    "keywords of a class with two bases": (
        "class X: ...\nclass Base:\n    def __init_subclass__(cls, tag):\n        cls.tag = tag\n"
        "class A(X, Base, tag='a'): ...",
        "A.tag == 'a' and A.__mro__[1:3] == (X, Base)",
    ),
    "text of a class": (
        "\nclass C:\n    def f(self):\n        return 1 / 0  # here\nc = C()\n",
        "source(C) == 'class C:\\n    def f(self):\\n        return 1 / 0  # here\\n' "
        "and '1 / 0  # here' in raised(c.f)",
    ),
    "text of a class without methods": ("class C:\n    x = 1\n", "source(C) == 'class C:\\n    x = 1\\n'"),
    "text of a dataclass": (
        "import dataclasses\n\n@dataclasses.dataclass(slots=True)\nclass C:\n    x: int = 1\n",
        "source(C) == '@dataclasses.dataclass(slots=True)\\nclass C:\\n    x: int = 1\\n'",
    ),
    "text of an enum": (
        "import enum\nclass C(enum.Enum):\n    A = 1\n    @property\n    def up(self): return 2\n",
        "'A = 1' in source(C) and C.A.up == 2",
    ),
    "text of a nested class": (
        "class A:\n    class B:\n        y = 3\n", "source(A.B) == '    class B:\\n        y = 3\\n'",
    ),
    "text of a durable class": (
        "from tapd import Persistent\nclass R(Persistent):\n    def f(self): return self.v\n",
        "'class R(Persistent)' in source(R)",
    ),
    "future annotations": (
        "from __future__ import annotations\ndef f(x: NoSuch): ...\n",
        "f.__annotations__ == {'x': 'NoSuch'}",
    ),
    **FUNCTIONS, **CLASSES, **ENUMS, **DATACLASSES, **MORE,
}  # fmt: skip


def kinds_here() -> dict[str, tuple[str, str]]:
    """Return the kinds that can be typed in this Python."""
    return KINDS | SINCE_3_12 if sys.version_info >= (3, 12) else KINDS


def holds(kind: str, scope: dict[str, Any]) -> bool:
    """Whether the kind's expression is true of the namespace `scope`."""
    seen = scope if "global" in kind else dict(scope)
    lent = {"names": scope, "run": asyncio.run, "source": inspect.getsource, "raised": raised}
    seen |= lent
    try:
        return bool(eval(kinds_here()[kind][1], seen))
    finally:
        if seen is scope:
            for name in lent:
                del scope[name]


def raised(function: Callable[[], Any]) -> str:
    """Return the traceback of what `function` raises."""
    try:
        function()
    except Exception:
        return traceback.format_exc()
    return ""


def save_all(path: pathlib.Path) -> None:
    """Write a TAP's pickle of each kind, and its portrait."""
    saved = {}
    for kind, (text, _check) in kinds_here().items():
        prompt = Prompt()
        prompt.run(text)
        portrait = portrait_of(prompt.namespace.names)
        saved[kind] = dump_graph(prompt.application).data, portrait
    path.write_bytes(pickle.dumps((sys.version_info[:2], saved)))


def failures(path: pathlib.Path) -> list[str]:
    """Return the kinds of a file of `save_all` that do not live in this Python."""
    failed = []
    version, saved = pickle.loads(path.read_bytes())
    here = kinds_here()
    for kind in saved.keys() & here.keys():
        data, portrait = saved[kind]
        namespace = load_graph(data).services["shell"].namespace
        scope = namespace.names
        try:
            if version == sys.version_info[:2] and differences(portrait, portrait_of(scope)):
                failed.append(f"{kind}: {differences(portrait, portrait_of(scope))[0]}")
            elif not holds(kind, scope):
                failed.append(kind)
        except Exception as error:
            failed.append(f"{kind}: {error!r}")
    return failed


if __name__ == "__main__":
    if sys.argv[1] == "save":
        save_all(pathlib.Path(sys.argv[2]))
    else:
        sys.exit("; ".join(failures(pathlib.Path(sys.argv[2]))) or 0)
