"""Expressions for new values: numbers, containers, instances, and what is there already."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.twin.limits import is_left_out
from tests.twin.places import Place

_ATOMS = ("0", "1", "-3", "2.5", "'text'", "''", "b'raw'", "None", "True")
_WORDS = ("'x'", "'y'", "'z'", "'name'", "'k'")
_SMALL = ("1", "2", "3")


class Values:
    """Writes expressions.

    Attributes:
        rng: where all chance comes from.
        classes: names of the program's classes.
        enums: those of them that are enums.
        functions: names of functions that return functions.
        places: where something is now.
    """

    def __init__(
        self,
        rng: random.Random,
        classes: Sequence[str],
        enums: Sequence[str],
        functions: Sequence[str] = (),
    ) -> None:
        """Begin with the names of what the program has."""
        self.rng = rng
        self.functions = functions
        self.classes = [name for name in classes if name not in enums]
        self.enums = list(enums)
        self.places: list[Place] = []
        self._instances = 0

    def atom(self) -> str:
        """Return a number, a text or the like."""
        return self.rng.choice(_ATOMS)

    def number(self) -> str:
        """Return a small integer."""
        return str(self.rng.randrange(6))

    def word(self) -> str:
        """Return a short text, often one that is a key or an attribute somewhere."""
        return self.rng.choice(_WORDS)

    def any(self, depth: int = 0) -> str:
        """Return whatever: an alias, an atom, a container, an instance."""
        chance = self.rng.random()
        if chance < 0.3 and self.places:
            return self.alias()
        if chance < 0.45 or depth > 2:
            return self.atom()
        return self.new(depth)

    def alias(self) -> str:
        """Return an expression for what is there already."""
        return self.rng.choice(self.places).path if self.places else self.atom()

    def alias_of(self, *types: type) -> str | None:
        """Return an expression for an object of one of `types`; None where there is none."""
        found = [place.path for place in self.places if isinstance(place.obj, types)]
        return self.rng.choice(found) if found else None

    def new(self, depth: int = 0) -> str:
        """Return what makes an object."""
        if self.functions and self.rng.random() < 0.2:
            return f"{self.rng.choice(self.functions)}({self.any(depth + 1)})"
        if self.classes and self.rng.random() < 0.45:
            return self.instance(depth + 1)
        return self.rng.choices(_MAKES, _WEIGHTS)[0](self, depth + 1)

    def instance(self, depth: int = 1) -> str:
        """Return a call of one of the program's classes."""
        if not self.classes:
            return "[]"
        self._instances += 1
        name = self.rng.choice(self.classes)
        args = [f"name='n{self._instances}'"]
        args += [f"{field}={self.any(depth)}" for field in "ab" if self.rng.random() < 0.55]
        return f"{name}({', '.join(args)})"

    def key(self) -> str:
        """Return what may be a dict's key; by identity, often."""
        chance = self.rng.random()
        if chance < 0.55:
            return self.word() if chance < 0.4 else self.rng.choice(_SMALL)
        keys: list[Callable[[], str]] = [
            self.alias,
            self.instance,
            lambda: "object()",
            lambda: f"({self.alias()}, 1)",
            lambda: f"frozenset({{{self.alias()}}})",
            lambda: self.rng.choice(self.classes or ["int"]),
            lambda: f"{self.rng.choice(self.enums)}.ONE" if self.enums else "None",
            lambda: f"{self.alias()}.add",
        ]
        if not is_left_out("NaN as a key"):
            keys.append(lambda: "float('nan')")
        return self.rng.choice(keys)()

    def numbers(self) -> str:
        """Return a list of a few numbers."""
        return str([self.rng.randrange(9) for _ in range(self.rng.randrange(4))])

    def items(self, depth: int = 1) -> str:
        """Return a few items, without brackets."""
        return ", ".join(self.any(depth) for _ in range(self.rng.randrange(4)))

    def pairs(self, depth: int = 1) -> str:
        """Return a few items of a dict, without brackets."""
        count = self.rng.randrange(3)
        return ", ".join(f"{self.key()}: {self.any(depth)}" for _ in range(count))

    def named_pairs(self, depth: int = 1) -> str:
        """Return a few items of a dict whose keys are texts, without brackets."""
        names = self.rng.sample(_WORDS, self.rng.randrange(3))
        return ", ".join(f"{name}: {self.any(depth)}" for name in names)

    def rendered_set(self) -> str:
        """Return a set of what has an order of its own."""
        if self.rng.random() < 0.5:
            return f"set({self.numbers()})"
        return f"{{{self.rng.choice([self.instance(), self.alias(), self.word()])}, 4}}"

    def tree(self, depth: int) -> str:
        """Return a BTree."""
        if self.rng.random() < 0.6:
            return f"OOBTree({{{self.named_pairs(depth)}}})"
        if self.rng.random() < 0.5:
            return f"IOBTree({{1: {self.any(depth)}, 5: {self.any(depth)}}})"
        return f"OOTreeSet([{self.word()}])"

    def shared_part(self, depth: int) -> str:
        """Return what holds an alias of a container: a method, a partial, a view."""
        path = self.alias_of(list, dict, set, bytearray)
        if path is None:
            return f"[{self.items(depth)}]"
        listed = self.alias_of(list)
        kinds = [
            f"functools.partial(join, {path}, key={self.any(depth)})",
            f"({path}, {self.atom()})",
            f"[{path}, {path}]",
            f"types.SimpleNamespace(it={path})",
        ]
        if listed is not None:
            kinds += [f"{listed}.append", f"iter({listed})", f"{listed}.extend"]
        mapped = self.alias_of(dict)
        if mapped is not None:
            kinds += [
                f"types.MappingProxyType({mapped})",
                f"collections.ChainMap({mapped}, {{{self.named_pairs(depth)}}})",
                f"{mapped}.setdefault",
            ]
        return self.rng.choice(kinds)

    def other(self, depth: int) -> str:
        """Return one of the standard library's mutable objects, or a value of it."""
        return self.rng.choice((
            "random.Random(3)", "object()", "io.BytesIO(b'abc')", "io.StringIO('abc')",
            "array.array('i', [1, 2])", f"types.SimpleNamespace(x={self.any(depth)})",
            f"collections.UserDict({{{self.named_pairs(depth)}}})",
            f"collections.UserList([{self.items(depth)}])", f"ValueError({self.any(depth)})",
            "decimal.Decimal('1.5')", "datetime.date(2026, 11, 30)", "fractions.Fraction(1, 3)",
            f"({self.items(depth)},)" if self.rng.random() < 0.5 else "(1, 2)",
            f"frozenset({self.numbers()})", "threading.Lock()",
            f"functools.partial(join, {self.any(depth)})", "operator.itemgetter(1)",
            f"types.MethodType(join, {self.instance(depth)})",
        )).replace("(,)", "()")  # fmt: skip


_Make = Callable[[Values, int], str]
_TABLE: tuple[tuple[int, _Make], ...] = (
    (8, lambda v, d: f"[{v.items(d)}]"),
    (8, lambda v, d: f"{{{v.pairs(d)}}}"),
    (3, lambda v, _d: v.numbers()),
    (3, lambda v, _d: v.rendered_set()),
    (3, lambda v, d: f"collections.deque([{v.items(d)}])"),
    (1, lambda v, d: f"collections.deque([{v.items(d)}], maxlen=3)"),
    (2, lambda _v, _d: "bytearray(b'0123456789')"),
    (2, lambda v, d: f"collections.OrderedDict({{{v.pairs(d)}}})"),
    (2, lambda v, d: f"collections.defaultdict(list, {{{v.pairs(d)}}})"),
    (1, lambda v, _d: f"collections.Counter({v.numbers()})"),
    (3, lambda v, d: v.tree(d)),
    (5, lambda v, d: v.shared_part(d)),
    (5, lambda v, d: v.other(d)),
)
_WEIGHTS = [weight for weight, _make in _TABLE]
_MAKES = [make for _weight, make in _TABLE]
