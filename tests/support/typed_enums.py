"""Kinds of enums and dataclasses, typed; as in `typed_kinds`."""

# The texts are data, laid out as they are typed.
# ruff: noqa: E501, ISC004

from __future__ import annotations

ENUMS: dict[str, tuple[str, str]] = {
    "enum with __init__": (
        "import enum\nclass Planet(enum.Enum):\n    EARTH = (5.976e+24, 6.37)\n"
        "    MARS = (6.4e+23, 3.39)\n    def __init__(self, mass, radius):\n"
        "        self.mass, self.radius = mass, radius\n    @property\n"
        "    def density(self): return self.mass / self.radius\np = Planet.MARS\n",
        "p is Planet.MARS and Planet((6.4e+23, 3.39)) is p and p.mass == 6.4e+23 and p.density > 1 and list(Planet) == [Planet.EARTH, p]",
    ),
    "enum with __new__": (
        "import enum\nmade = []\nclass C(enum.Enum):\n    A = (1, 'one')\n"
        "    B = (2, 'two')\n    def __new__(cls, number, label):\n"
        "        made.append(number)\n        self = object.__new__(cls)\n"
        "        self._value_ = number\n        self.label = label\n        return self\n"
        "b = C.B\n",
        "C(2) is b and b.label == 'two' and made == [1, 2] and [each.value for each in C] == [1, 2]",
    ),
    "int enum with __new__": (
        "import enum\nclass C(enum.IntEnum):\n    A = 1, 'one'\n    B = 2, 'two'\n"
        "    def __new__(cls, number, label):\n        self = int.__new__(cls, number)\n"
        "        self._value_ = number\n        self.label = label\n        return self\n"
        "b = C.B\n",
        "C(2) is b and b.label == 'two' and b + 1 == 3 and isinstance(b, int)",
    ),
    "attributes of enum members": (
        "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 2\nC.A.note = ['x']\n"
        "n = C.A.note\n",
        "C.A.note is n and n == ['x'] and not hasattr(C.B, 'note')",
    ),
    "enum aliases and _missing_": (
        "import enum\nclass C(enum.Enum):\n    RED = 'r'\n    ROT = 'r'\n    @classmethod\n"
        "    def _missing_(cls, value): return cls.RED if value == 'red' else None\n",
        "C('red') is C.RED is C.ROT and list(C.__members__) == ['RED', 'ROT'] and len(C) == 1",
    ),
    "enum with auto and _generate_next_value_": (
        "import enum\nclass C(enum.Enum):\n"
        "    def _generate_next_value_(name, start, count, last): return name.lower()\n"
        "    A = enum.auto()\n    B = enum.auto()\n",
        "(C.A.value, C('b')) == ('a', C.B)",
    ),
    "enum of unhashable values": (
        "import enum\nclass C(enum.Enum):\n    A = [1]\n    B = {}\nv = C.A.value\n",
        "C([1]) is C.A and C.A.value is v and C({}) is C.B",
    ),
    "enum of typed values": (
        "import enum, dataclasses\n@dataclasses.dataclass(frozen=True)\nclass P:\n"
        "    x: int\nclass C(enum.Enum):\n    A = P(1)\n    B = P(2)\n",
        "C(P(2)) is C.B and type(C.A.value) is P",
    ),
    "enum with nonmember and a method table": (
        "import enum\nclass C(enum.Enum):\n    A = 1\n    f = enum.nonmember([1])\n"
        "    g = enum.member(lambda: 5)\n",
        "C.f == [1] and C.A.value == 1 and len(C) == 2",
    ),
    "enum with a dataclass": (
        "import enum, dataclasses\n@dataclasses.dataclass\nclass Data:\n    x: int\n"
        "    y: list = dataclasses.field(default_factory=list)\n"
        "class C(Data, enum.Enum):\n    A = 1\n    B = 2\nC.A.y.append(5)\n",
        "C.A.x == 1 and C.A.y == [5] and C.B.y == []",
    ),
    "enum with a mixin and its own str": (
        "import enum\nclass Mix:\n    def hello(self): return 'hello ' + self.name\n"
        "class C(Mix, enum.Enum):\n    A = 1\n"
        "    def __str__(self): return 'it is ' + self.name\n",
        "C.A.hello() == 'hello A' and str(C.A) == 'it is A' and f'{C.A}' == 'it is A'",
    ),
    "enum of dates": (
        "import enum, datetime\nclass C(datetime.date, enum.Enum):\n    A = 2026, 1, 2\n"
        "    B = 2026, 3, 4\n",
        "C.A.year == 2026 and C.A < C.B and C.B.isoformat() == '2026-03-04'",
    ),
    "enum of tuples": (
        "import enum\nclass C(tuple, enum.Enum):\n    A = 1, 2\n    B = 3, 4\n",
        "C.A == (1, 2) and C((3, 4)) is C.B",
    ),
    "StrEnum": (
        "import enum\nclass C(enum.StrEnum):\n    A = enum.auto()\n    B = 'bee'\n",
        "C.A == 'a' and C('bee') is C.B and f'{C.B}' == 'bee'",
    ),
    "flag with a boundary": (
        "import enum\nclass F(enum.Flag, boundary=enum.KEEP):\n    A = 1\n    B = 2\n"
        "class G(enum.IntFlag, boundary=enum.CONFORM):\n    A = 1\n"
        "class H(enum.Flag, boundary=enum.EJECT):\n    A = 1\n",
        "F(8).value == 8 and G(8).value == 0 and H(4) == 4 and F._boundary_ is enum.KEEP",
    ),
    "combined flags": (
        "import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\n    C = 4\n    AB = A | B\n"
        "x = F.A | F.C\nx.note = [1]\n",
        "F(5) is x and x.note == [1] and F.AB is F.A | F.B and list(x) == [F.A, F.C] and ~F.A == F.B | F.C",
    ),
    "IntFlag": (
        "import enum\nclass F(enum.IntFlag):\n    R = 4\n    W = 2\nx = F.R | F.W\n",
        "x == 6 and F(6) is x and x & F.R and x - 1 == 5",
    ),
    "enum made by a call": (
        "import enum\nC = enum.Enum('C', 'A B')\n"
        "D = enum.IntEnum('D', {'X': 5}, module=__name__)\nb = C.B\n",
        "C(2) is b and D.X == 5 and repr(b) == '<C.B: 2>'",
    ),
    "derived enum": (
        "import enum\nclass Base(enum.Enum):\n    def hi(self): return self.value * 2\n"
        "    @classmethod\n    def first(cls): return next(iter(cls))\nclass C(Base):\n"
        "    A = 3\n",
        "C.A.hi() == 6 and C.first() is C.A and issubclass(C, Base)",
    ),
    "enum of an own metaclass": (
        "import enum\nclass M(enum.EnumMeta):\n"
        "    def __getitem__(cls, name): return super().__getitem__(name.upper())\n"
        "    def __setattr__(cls, name, value):\n"
        "        if name in cls.__dict__.get('_member_map_', {}): raise TypeError('no')\n"
        "        super().__setattr__(name, value)\nclass C(enum.Enum, metaclass=M):\n"
        "    A = 1\n",
        "C['a'] is C.A",
    ),
    "a member that is an enum's attribute": (
        "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 2\nC.A.other = C.B\n"
        "d = {C.A: 1, 'b': C.B}\n",
        "C.A.other is C.B and d[C.A] == 1 and d['b'] is C.B",
    ),
    "global enum": (
        "import enum\n@enum.unique\nclass C(enum.IntEnum):\n    ONE = 1\n    TWO = 2\n",
        "C.ONE < C.TWO and C['TWO'] is C(2)",
    ),
}  # fmt: skip

DATACLASSES: dict[str, tuple[str, str]] = {
    "ClassVar of a dataclass": (
        "from dataclasses import dataclass, fields\nfrom typing import ClassVar\n"
        "@dataclass\nclass D:\n    x: int\n    seen: ClassVar[list] = []\n"
        "    k: ClassVar[int] = 5\nD.seen.append(1)\nd = D(2)\n",
        "D.seen == [1] and D.k == 5 and [f.name for f in fields(D)] == ['x'] and d == D(2) and repr(d) == 'D(x=2)'",
    ),
    "InitVar of a dataclass": (
        "from dataclasses import dataclass, InitVar, field\n@dataclass\nclass D:\n"
        "    x: int\n    scale: InitVar[int] = 2\n    y: int = field(init=False)\n"
        "    def __post_init__(self, scale): self.y = self.x * scale\n",
        "D(3).y == 6 and D(3, 5).y == 15",
    ),
    "changed default of a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int = 1\n"
        "    y: int = 2\nD.x = 10\ndel D.y\n",
        "D.x == 10 and D().x == 1 and not hasattr(D, 'y') and D().y == 2",
    ),
    "shared default of a dataclass": (
        "from dataclasses import dataclass\nclass K: ...\nkey = K()\n@dataclass\nclass D:\n"
        "    x: object = key\n",
        "D().x is key and D.x is key",
    ),
    "kw_only dataclass": (
        "from dataclasses import dataclass, KW_ONLY, field\n@dataclass\nclass D:\n"
        "    a: int\n    _: KW_ONLY\n    b: int = 2\n    c: int = field(kw_only=True)\n"
        "@dataclass(kw_only=True)\nclass E(D):\n    e: int\n",
        "D(1, c=3) == D(1, b=2, c=3) and D.__match_args__ == ('a',) and E(1, c=3, e=4).e == 4",
    ),
    "slots dataclass with Generic": (
        "from dataclasses import dataclass\nfrom typing import Generic, TypeVar\n"
        "T = TypeVar('T')\n@dataclass(slots=True)\nclass Box(Generic[T]):\n    x: T\n"
        "    def get(self) -> T: return self.x\nb = Box[int](3)\n",
        "b == Box(3) and b.get() == 3 and Box.__parameters__ == (T,) and not hasattr(b, '__dict__')",
    ),
    "slots dataclass under __init_subclass__": (
        "from dataclasses import dataclass\nclass Base:\n    kinds = []\n"
        "    def __init_subclass__(cls, /, tag='x', **more):\n"
        "        super().__init_subclass__(**more)\n"
        "        Base.kinds.append(cls.__name__)\n        cls.tag = tag\n"
        "@dataclass(slots=True)\nclass D(Base):\n    x: int = 1\n",
        "Base.kinds == ['D', 'D'] and D(5) == D(5) and D().x == 1 and D.tag == 'x'",
    ),
    "slots dataclass with super": (
        "from dataclasses import dataclass, field\n@dataclass(slots=True)\nclass A:\n"
        "    x: int = 1\n    def f(self): return self.x\n"
        "@dataclass(slots=True, weakref_slot=True)\nclass B(A):\n"
        "    y: list = field(default_factory=list)\n"
        "    def f(self): return A.f(self) + 1\nb = B(3)\n",
        "b.f() == 4 and B.__slots__ == ('y', '__weakref__') and b == B(3, [])",
    ),
    "frozen dataclass": (
        "from dataclasses import dataclass, FrozenInstanceError\n"
        "@dataclass(frozen=True, order=True)\nclass D:\n    x: int\n"
        "    def __post_init__(self): object.__setattr__(self, 'twice', self.x * 2)\n"
        "d = D(4)\ndef frozen():\n    try: d.x = 5\n"
        "    except FrozenInstanceError: return True\n",
        "frozen() and D(1) < d and {d: 1}[D(4)] == 1 and d.twice == 8",
    ),
    "dataclass with own methods": (
        "from dataclasses import dataclass\n@dataclass(eq=False, repr=False)\nclass D:\n"
        "    x: int\n    def __repr__(self): return 'mine'\n@dataclass\nclass E:\n"
        "    x: int\n    def __eq__(self, other): return NotImplemented\n"
        "    __hash__ = None\n@dataclass(unsafe_hash=True)\nclass F:\n    x: int\n",
        "repr(D(1)) == 'mine' and D(1) != D(1) and hash(F(1)) == hash(F(1)) and E(1) != E(1)",
    ),
    "wrapped method of a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass D:\n    x: int\n"
        "plain = D.__init__\ndef checked(self, x):\n    plain(self, x + 1)\n"
        "D.__init__ = checked\n",
        "D(1).x == 2",
    ),
    "method of a dataclass met before it": (
        "from dataclasses import dataclass\na = []\n@dataclass\nclass D:\n    x: int\n"
        "a.append(D.__init__)\na.append(D(1).__eq__)\n",
        "a[0] is D.__init__ and a[1](D(1))",
    ),
    "make_dataclass": (
        "import dataclasses\n"
        "D = dataclasses.make_dataclass('D', [('x', int), ('y', int, 5)], namespace={'f': lambda self: self.x})\n"
        "d = D(1)\n",
        "d == D(1, 5) and d.f() == 1",
    ),
    "dataclass under future annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass, fields\n"
        "from typing import ClassVar, get_type_hints\n@dataclass\nclass D:\n    x: int\n"
        "    k: ClassVar[list] = []\n    other: D | None = None\n",
        "[f.name for f in fields(D)] == ['x', 'other'] and D(1).other is None",
    ),
    "fields with metadata": (
        "from dataclasses import dataclass, field, fields\n@dataclass\nclass D:\n"
        "    x: int = field(default=1, metadata={'unit': 's'}, repr=False, compare=False)\n",
        "fields(D)[0].metadata['unit'] == 's' and repr(D()) == 'D()' and D(1) == D(2)",
    ),
    "dataclass that derives from a changed one": (
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    x: int = 1\n"
        "    y: list = field(default_factory=list)\n@dataclass(order=True)\nclass B(A):\n"
        "    z: int = 3\n    x: int = 7\n",
        "B() == B(7, [], 3) and B() < B(8)",
    ),
}  # fmt: skip
