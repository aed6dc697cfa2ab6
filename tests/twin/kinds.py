"""The classes that programs are made of: every form that Python has for one.

Each is called with `name` (a text, of its own), `a` and `b` (anything), by keyword.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from tests.twin.limits import is_left_out

Make = Callable[[random.Random, str], str]
_INIT = "    def __init__(self, name, a=None, b=None):\n"
_SET = "self.name, self.a, self.b = name, a, b\n"
_FIELDS = "    name: str\n    a: Any = None\n    b: Any = None\n"


def make_classes(
    rng: random.Random, names: Sequence[str], *, is_typed: bool = False
) -> tuple[str, ...]:
    """Return the sources of classes of these names; some derive from those before.

    Args:
        rng: where all chance comes from.
        names: of the classes.
        is_typed: they are typed at a prompt.
    """
    kinds = [
        (make, weight)
        for make, weight in KINDS
        if not (is_typed and make in (_attrs, _durable_attrs) and is_left_out("attrs at a prompt"))
    ]
    sources: list[str] = []
    for name in names:
        bases = [each for each in sources if re.match(r"class K\d+(\(Persistent\))?:", each)]
        if bases and rng.random() < 0.15:
            base = re.findall(r"K\d+", rng.choice(bases))[0]
            sources.append(f"class {name}({base}):\n{rng.choice(_EXTRAS)}".strip())
        else:
            sources.append(_make_class(rng, name, kinds))
    return tuple(sources)


def make_functions(rng: random.Random) -> tuple[str, ...]:
    """Return the sources of functions that return functions, for code typed at a prompt."""
    return tuple(rng.sample(list(FUNCTIONS.values()), rng.randrange(len(FUNCTIONS) + 1)))


FUNCTIONS = {
    "adder": """def adder(items):
    def add(item):
        items.append(item)
        return items
    return add""",
    "pair": """def pair(value):
    def put(item):
        nonlocal value
        value = item
    def get():
        return value
    put.get = get
    return put""",
    "keeper": """def keeper(value, kept=[]):
    return lambda item, more=[]: (kept.append(item), more.append(item), value)""",
}
"""By name; each takes anything, and what it returns does, too."""


def _make_class(rng: random.Random, name: str, kinds: Sequence[tuple[Make, int]]) -> str:
    make = rng.choices([make for make, _weight in kinds], [weight for _make, weight in kinds])[0]
    return make(rng, name).strip()


def _plain(rng: random.Random, name: str, base: str = "") -> str:
    source = f"class {name}{f'({base})' if base else ''}:\n{_INIT}        {_SET}"
    extras = rng.choices([0, 1, 2], [5, 3, 1])[0]
    return source + "".join(rng.sample(_EXTRAS, extras))


_EXTRA_TEXT = """
    def add(self, item):
        self.b = [*(self.b or ()), item]
---

    @functools.cached_property
    def cached(self):
        return [self.name]
---

    kept = Descriptor()
---

    def __eq__(self, other):
        return type(other) is type(self) and other.name == self.name

    def __hash__(self):
        return hash(self.name)
---

    def __setattr__(self, name, value):
        self.__dict__[name] = value
---

    @property
    def twice(self):
        return [self.a, self.a]

    @twice.setter
    def twice(self, value):
        self.__dict__['a'] = value
---

    shared = ()
---

    def __len__(self):
        return 0
---

    def __bool__(self):
        return False
"""
_EXTRAS = re.split("---\n", _EXTRA_TEXT)


def _slots(rng: random.Random, name: str, base: str = "") -> str:
    slots = rng.choice(["'name', 'a', 'b'", "'name', 'a', 'b', '__weakref__'"])
    if rng.random() < 0.3 or base:
        slots = rng.choice(["'b', '__dict__'", "'a', 'b'"]) if not base else "'a', 'b'"
        if not base and "__dict__" not in slots:
            slots = "'name', 'a', 'b'"
    head = f"class {name}{f'({base})' if base else ''}:\n    __slots__ = ({slots})\n\n"
    return f"{head}{_INIT}        {_SET}"


def _dataclass(rng: random.Random, name: str, base: str = "") -> str:
    flags = [
        f"{flag}={value}"
        for flag, value, chance in (
            ("frozen", True, 0.3), ("slots", True, 0.35), ("kw_only", True, 0.2),
            ("eq", False, 0.5), ("order", True, 0.1), ("unsafe_hash", True, 0.1),
        )
        if rng.random() < chance
    ]  # fmt: skip
    if "eq=False" in flags and "order=True" in flags:
        flags.remove("order=True")
    if "frozen=True" in flags and "unsafe_hash=True" in flags:
        flags.remove("unsafe_hash=True")
    if base and "frozen=True" in flags and is_left_out("object.__setattr__ of a durable"):
        flags.remove("frozen=True")
    fields = _FIELDS
    if rng.random() < 0.3:
        fields += "    c: list[Any] = dataclasses.field(default_factory=list)\n"
    head = f"@dataclasses.dataclass({', '.join(flags)})\nclass {name}"
    return f"{head}{f'({base})' if base else ''}:\n{fields}"


def _attrs(rng: random.Random, name: str, base: str = "") -> str:
    form = rng.choice(["define", "frozen", "mutable", "define(eq=False)", "define(slots=False)"])
    if base:
        form = rng.choice(["define", "define(eq=False)", "define(slots=False, eq=False)"])
    return f"@attrs.{form}\nclass {name}{f'({base})' if base else ''}:\n{_FIELDS}"


def _named_tuple(_rng: random.Random, name: str) -> str:
    return f"class {name}(typing.NamedTuple):\n{_FIELDS}"


def _enum(rng: random.Random, name: str) -> str:
    base, one, two = rng.choice([("Enum", "'x'", "[2]"), ("IntEnum", "1", "2"), ("Flag", "1", "2")])
    return (
        f"class {name}(enum.{base}):\n    ONE = {one}\n    TWO = {two}\n\n"
        "    @classmethod\n    def _missing_(cls, value):\n        return cls.TWO\n"
    )


def _without_lock(rng: random.Random, name: str) -> str:
    """The usual `__getstate__`, with and without the usual `__setstate__`."""
    source = (
        f"class {name}({rng.choice(['Persistent', 'Persistent', 'object'])}):\n{_INIT}"
        f"        {_SET}        self.lock = threading.Lock()\n\n"
        "    def __getstate__(self):\n        state = self.__dict__.copy()\n"
        "        del state['lock']\n        return state\n"
    )
    if rng.random() < 0.7:
        source += (
            "\n    def __setstate__(self, state):\n        self.__dict__.update(state)\n"
            "        self.lock = threading.Lock()\n"
        )
    else:
        source = source.replace("del state['lock']", "state.pop('lock', None)")
    return source


def _with_new(rng: random.Random, name: str) -> str:
    """A constructor that wants arguments, as pickle is told."""
    return (
        f"class {name}({rng.choice(['Persistent', 'object'])}):\n"
        "    def __new__(cls, name, a=None, b=None):\n        self = super().__new__(cls)\n"
        f"        self.name = name\n        return self\n\n{_INIT}        {_SET}\n"
        "    def __getnewargs__(self):\n        return (self.name,)\n"
    )


def _durable(rng: random.Random, name: str) -> str:
    return rng.choices([_plain, _slots, _dataclass], [6, 2, 3])[0](rng, name, "Persistent")


def _durable_attrs(rng: random.Random, name: str) -> str:
    return _attrs(rng, name, "Persistent")


_MUTABLE_BASES = (
    "list", "dict", "set", "bytearray", "collections.deque", "collections.OrderedDict",
    "collections.Counter", "collections.UserDict", "collections.UserList",
    "types.SimpleNamespace", "Exception", "ValueError",
)  # fmt: skip
_IMMUTABLE_BASES = (
    ("int", "7"), ("str", "'text'"), ("float", "1.5"), ("bytes", "b'raw'"), ("tuple", "(1, 2)"),
    ("frozenset", "(1, 2)"), ("decimal.Decimal", "'1.5'"), ("datetime.date", "2026, 11, 30"),
    ("fractions.Fraction", "1, 3"),
)  # fmt: skip


def _of_builtin(rng: random.Random, name: str) -> str:
    base = rng.choice(_MUTABLE_BASES)
    source = f"class {name}({base}):\n{_INIT}        super().__init__()\n        {_SET}"
    more = _METHODS.get(base)
    if more and rng.random() < 0.4:
        source += rng.choice(more)
    return source


_METHODS = {
    "list": (
        "\n    def append(self, item):\n        super().append(item)\n        self.a = item\n",
        "\n    def extend(self, items):\n        super().extend([0, *items])\n",
        "\n    def __iter__(self):\n        return iter(())\n",
    ),
    "dict": (
        "\n    def __setitem__(self, key, value):\n        super().__setitem__(key, [value])\n",
        "\n    def __missing__(self, key):\n        self[key] = []\n        return self[key]\n",
        "\n    def items(self):\n        return ()\n",
    ),
    "set": ("\n    def add(self, item):\n        super().add((item, 0))\n",),
    "collections.OrderedDict": (
        "\n    def __setitem__(self, key, value):\n        super().__setitem__(key, [value])\n",
    ),
}


def _of_default_dict(_rng: random.Random, name: str) -> str:
    return (
        f"class {name}(collections.defaultdict):\n{_INIT}"
        f"        super().__init__(list)\n        {_SET}"
    )


def _of_immutable(rng: random.Random, name: str) -> str:
    base, value = rng.choice(_IMMUTABLE_BASES)
    if base in ("tuple", "frozenset"):
        value = f"{value},"[:-1]
    return (
        f"class {name}({base}):\n    def __new__(cls, name, a=None, b=None):\n"
        f"        self = super().__new__(cls, {value})\n        {_SET}        return self\n"
    )


KINDS: tuple[tuple[Make, int], ...] = (
    (_plain, 6), (_durable, 7), (_durable_attrs, 1), (_slots, 2), (_dataclass, 4), (_attrs, 2),
    (_named_tuple, 1), (_enum, 1), (_without_lock, 2), (_with_new, 1), (_of_builtin, 3),
    (_of_default_dict, 1), (_of_immutable, 2),
)  # fmt: skip
