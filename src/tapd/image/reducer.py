"""What becomes of an object of each type when it is pickled: the rules for TAP and journal.

Imports `errors`, `model` and this room's `names`, `definitions`, `classes`,
`strangers`, `loss` and `rebuild`. Always the C pickler with a
``reducer_override``; what it does for a type is decided once and then looked up.
An object that can't be reduced becomes a `Placeholder`, in place, and its
neighbours are kept. On strangers' objects only `type` and `issubclass` are
asked: ``__class__`` may lie or raise.
"""

from __future__ import annotations

import copyreg
import enum
import itertools
import pickle
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tapd.errors import CannotKeep
from tapd.image import classes, definitions, generated, names, rebuild, strangers
from tapd.image.loss import Loss, Placeholder, type_name_of
from tapd.image.source import Source
from tapd.image.stand_ins import STAND_INS, DurableStandIn, itself
from tapd.model.persistent import is_durable_type

PROTOCOL = 5
RETRIES_MAX = 100
NEWOBJ: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # what pickle writes as NEWOBJ
_HEAP_TYPE = 1 << 9
_GETSET = types.GetSetDescriptorType

Reduced = Any  # a reduce tuple, a global's name, or NotImplemented


class Reducer(pickle.Pickler):
    """The rules common to both forms: what becomes of an object of each type."""

    def __init__(self, write_to: Any) -> None:
        super().__init__(write_to, PROTOCOL)
        self.losses: list[Loss] = []
        self.globals: set[str] = set()
        self.untracked = False
        # Classes remembered that nothing but what is saved holds.
        self.typed_met = 0
        self.banned: dict[int, str] = {}
        self.last: Any = None
        # Whose items failed in the midst, where that is known for certain.
        self.culprit: Any = None
        self._deciders: dict[type, Callable[[Any], Reduced]] = {}
        self._makers: dict[int, Any] = {}
        self._sound: set[type] = set(_DATA)
        self._by_base: tuple[tuple[type, Callable[[Any], Reduced]], ...] = (
            (type, self.reduce_class),
            (types.FunctionType, self.reduce_function),
            (types.BuiltinFunctionType, self.reduce_builtin),
            (types.CellType, self._reduce_cell),
            (Source, _reduce_source),
            (Placeholder, Placeholder.__reduce__),
            (definitions.EmptyCell, definitions.EmptyCell.__reduce__),
            (names.Broken, self._reduce_broken),
        )

    def reduce(self, obj: Any) -> Reduced:
        """Return how `obj` is written; called for all but the builtin data types."""
        cls = type(obj)
        if self.banned and id(obj) in self.banned:
            return self.lose(obj, self.banned[id(obj)])
        # A class is named in the midst of its instances; it is they who fail.
        if cls is not type and cls is not types.FunctionType:
            self.last = obj
        reduce = self._deciders.get(cls)
        if reduce is None:
            reduce = self.decide(cls)
        try:
            return reduce(obj)
        except CannotKeep as error:
            return self.lose(obj, str(error))

    # -- what each kind of type gets ------------------------------------------

    def decide(self, cls: type) -> Callable[[Any], Reduced]:
        """Return, and mostly remember, the method that reduces instances of `cls`."""
        reduce, remember = self._decide(cls)
        if remember:
            self._deciders[cls] = reduce
            self.typed_met += names.name_of(cls) is None
        return reduce

    def _decide(self, cls: type) -> tuple[Callable[[Any], Reduced], bool]:
        """Return the method for `cls`, and whether it will be the same for ever."""
        for base, reduce in self._by_base:
            if issubclass(cls, base):
                return reduce, True
        known = strangers.reducers.get(cls)
        if known is None:
            reason = strangers.lost_reason(cls) or self._problem_of_class(cls)
            if reason is not None:
                return (lambda obj: self.lose(obj, reason)), False
        if is_durable_type(cls):
            return self.reduce_durable, True
        known = known or strangers.reducer_by_base(cls)
        immutable = strangers.is_immutable_type(cls)
        if known is None and _is_plain(cls):
            if _is_odd(cls):
                return self._reduce_odd, True
            reduce = self._reduce_frozen if immutable else self._reduce_plain
            self.remember_plain(cls)
            return reduce, True
        reduce = known or (
            generated.reduce_by_names if generated.is_saved_by_order(cls) else _own_reduce
        )
        if immutable and not issubclass(cls, enum.Enum):  # what its members hold is its module's
            reduce = self._looking_into(reduce)
        return self._checked(reduce, cls, immutable=immutable), True

    def remember_plain(self, cls: type) -> None:
        """Take note that instances of the plain class `cls` may go the shortest way."""

    def reduce_durable(self, obj: Any) -> Reduced:
        """Return how a durable object is written."""
        raise NotImplementedError

    def _problem_of_class(self, cls: type) -> str | None:
        """Return why instances of `cls` can't be made again, or None where they can."""
        if (
            names.name_of(cls) is not None
            or cls in _NAMELESS
            or issubclass(cls, STAND_INS)
            or classes.is_made_in_c(cls)  # its own reduction says what it needs
        ):
            return None
        try:
            classes.split_class(cls)
        except CannotKeep as error:
            return f"its class can't be kept: {error}"
        return None

    def _looking_into(self, reduce: Callable[[Any], Reduced]) -> Callable[[Any], Reduced]:
        """Wrap `reduce`, of what can't change itself, so that what can change in it is seen."""

        def looking(obj: Any) -> Reduced:
            reduced = reduce(obj)
            if not self.untracked and type(reduced) is tuple:
                self.untracked = any(_holds_changeable(_parts_of(part)) for part in reduced[1:3])
            return reduced

        return looking

    def _checked(
        self, reduce: Callable[[Any], Reduced], cls: type, *, immutable: bool
    ) -> Callable[[Any], Reduced]:
        """Wrap `reduce` so that what goes wrong in it is a reason to name."""
        odd, base = _is_odd(cls), _base_value(cls)
        is_in_c = not cls.__flags__ & _HEAP_TYPE or classes.is_made_in_c(cls)

        def checked(obj: Any) -> Reduced:
            if not immutable:
                self.untracked = True
            try:
                reduced = reduce(obj)
            except (CannotKeep, MemoryError, RecursionError):
                raise
            except Exception as error:
                raise CannotKeep(f"{type(error).__name__}: {error}") from None
            if type(reduced) is str:
                if names.name_of(obj) is None and not _is_global(obj, reduced):
                    raise CannotKeep(f"it is not found by the name {reduced!r} that it gives")
                return reduced
            _check_shape(reduced)
            make, args = reduced[:2]
            if id(make) not in self._makers:
                self._check_maker(make)
            if is_in_c:
                self._check_parts(args)
            if make is NEWOBJ:
                if base is not None and len(args) > 1:
                    reduced = (names.value_object, (cls, base, base(*args[1:])), *reduced[2:])
                elif odd or len(args) != 1 or args[0] is not cls:
                    reduced = (names.new_object, *reduced[1:])
            if odd and len(reduced) > 2 and reduced[2] is not None:
                parts = (*reduced[2:], None, None)[:3]
                reduced = (*reduced[:2], *parts, rebuild.set_reduced)
            if len(reduced) > 3 and any(type(part) not in _SAFE_ITERATORS for part in reduced[3:5]):
                items = (part and self._guarded(obj, part) for part in reduced[3:5])
                reduced = (*reduced[:3], *items, *reduced[5:])
            return self.finish_reduced(obj, reduced)

        return checked

    def _guarded(self, obj: Any, items: Iterator[Any]) -> Iterator[Any]:
        """Yield `items`; should they fail, it is `obj` that can't be kept, none of them."""
        try:
            yield from items
        except Exception:
            self.culprit = obj
            raise

    def finish_reduced(self, obj: Any, reduced: Reduced) -> Reduced:
        """Return `reduced`, or what this form writes in its place."""
        return reduced

    def _check_parts(self, args: tuple[Any, ...]) -> None:
        """Check what an object of C is made from: it would not take a placeholder."""
        for part in args:
            cls = type(part)
            if cls not in self._sound:
                reason = strangers.lost_reason(cls)
                if reason is not None:
                    raise CannotKeep(f"it is made of a {type_name_of(cls)}: {reason}")
                self._sound.add(cls)

    def _check_maker(self, make: Any) -> None:
        if make not in _NAMELESS and names.name_of(make) is None:
            if type(make) is types.FunctionType or issubclass(type(make), type):
                self._check_definition(make)
            return
        self._makers[id(make)] = make

    def _check_definition(self, definition: Any) -> None:
        if type(definition) is types.FunctionType:
            definitions.split_function(definition)
        else:
            classes.split_class(definition)

    def _reduce_plain(self, obj: Any) -> Reduced:
        self.untracked = True
        return NEWOBJ, (type(obj),), obj.__dict__

    def _reduce_frozen(self, obj: Any) -> Reduced:
        if not self.untracked and _holds_changeable(obj.__dict__.values()):
            self.untracked = True
        return NEWOBJ, (type(obj),), obj.__dict__

    def _reduce_odd(self, obj: Any) -> Reduced:
        """Reduce a plain instance whose class would see pickle look at it."""
        self.untracked = True
        attributes = object.__getattribute__(obj, "__dict__")
        return names.new_object, (type(obj),), attributes, None, None, rebuild.set_plain

    # -- definitions -----------------------------------------------------------

    def reduce_class(self, cls: Any) -> Reduced:
        """Return how a class is written: by name, or by its parts."""
        if cls in _NAMELESS:
            return NotImplemented
        if issubclass(cls, STAND_INS) and cls.broken_name:
            module, _colon, qualname = cls.broken_name.partition(":")
            self.globals.add(cls.broken_name)
            make = names.durable_class if cls.broken_is_durable else names.named
            return make, (module, qualname)
        if issubclass(cls, DurableStandIn) and cls.broken_of is not None:
            return itself, (cls.broken_of,)
        name = names.name_of(cls)
        if name is not None:
            self.globals.add(":".join(name))
            return _class_by_name(cls, name)
        self.untracked = True
        made, state = classes.split_class(cls)
        return classes.make_class, made, state, None, None, classes.set_class

    def reduce_function(self, function: Any) -> Reduced:
        """Return how a function is written: by name, or by its source text."""
        name = names.name_of(function)
        if name is not None:
            self.globals.add(":".join(name))
            return NotImplemented
        outer = names.wrapper_of(function)
        if outer is not None:
            return strangers.wrapped_of, (outer,)
        self.untracked = True
        made, state = definitions.split_function(function)
        return self.with_state(function, definitions.make_function, made, state)

    def with_state(
        self, function: Any, make: Any, made: tuple[Any, ...], state: tuple[Any, ...]
    ) -> Reduced:
        """Return how a function is written whose state may lead back to it."""
        return make, made, state, None, None, definitions.set_function

    def reduce_builtin(self, function: Any) -> Reduced:
        """Return how a function written in C is written."""
        owner = function.__self__
        if owner is None or type(owner) is types.ModuleType:
            name = names.name_of(function)
            if name is None:
                raise CannotKeep("it is not found under its own name")
            self.globals.add(":".join(name))
            return NotImplemented
        return getattr, (owner, function.__name__)

    def _reduce_cell(self, cell: Any) -> Reduced:
        return definitions.new_cell, ()

    def _reduce_broken(self, obj: Any) -> Reduced:
        self.untracked = True
        return obj.broken_reduce()

    # -- losses ----------------------------------------------------------------

    def lose(self, obj: Any, reason: str) -> Reduced:
        """Name `obj` as lost; return how its placeholder is written."""
        if len(reason) > _REASON_MAX:  # it may be a stranger's exception, with all its data
            reason = f"{reason[:_REASON_MAX]}..."
        loss = Loss(self.path_of(obj), type_name_of(type(obj)), reason)
        self.losses.append(loss)
        return Placeholder, (loss.path, loss.type_name, loss.reason)

    def path_of(self, obj: Any) -> str:
        """Return where `obj` is."""
        raise NotImplementedError


_REASON_MAX = 1000
_SAFE_ITERATORS = frozenset(
    map(type, (None, iter([]), iter(()), iter({}.items()), iter(set()), iter(deque())))
)
_VALUES = (int, str, bytes, float, complex, tuple, frozenset)
_NAMELESS = (type(None), type(NotImplemented), type(Ellipsis))


def _class_by_name(cls: Any, name: tuple[str, str]) -> Reduced:
    """Return how a class is written that is found by `name`: with what kind it is."""
    if is_durable_type(cls):
        if not name[0].startswith("tapd."):
            return names.durable_class, name
        return NotImplemented if names.is_own_name(cls, name) else (names.named, name)
    base = names.builtin_base(cls)
    if base and not classes.is_made_in_c(cls) and cls.__flags__ & _HEAP_TYPE:
        return names.value_class, (*name, base)
    return NotImplemented if names.is_own_name(cls, name) else (names.named, name)


def _check_shape(reduced: Any) -> None:
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
        raise CannotKeep("its __reduce_ex__ does not return a tuple as pickle asks for")
    make, args = reduced[:2]
    if type(args) is not tuple or not callable(make):
        raise CannotKeep("its __reduce_ex__ does not return a callable and its arguments")
    for items in reduced[3:5]:
        if items is not None and not hasattr(type(items), "__next__"):
            raise CannotKeep("its __reduce_ex__ gives items that are no iterator")


_CHANGEABLE: frozenset[type] = frozenset({list, dict, set, bytearray})


def _holds_changeable(values: Iterable[Any]) -> bool:
    """Whether a plain container is among `values` or in tuples of theirs.

    The C pickler writes these without asking: what can't change itself may hold them.
    """
    kinds = set(map(type, values))
    while _CHANGEABLE.isdisjoint(kinds) and tuple in kinds:
        inner = [each for each in values if type(each) is tuple]
        values = list(itertools.chain.from_iterable({id(each): each for each in inner}.values()))
        kinds = set(map(type, values))
    return not _CHANGEABLE.isdisjoint(kinds)


def _parts_of(part: Any) -> Iterable[Any]:
    """Return what a part of a reduce tuple holds; the part itself was made for it."""
    if type(part) is dict:
        return part.values()
    if type(part) is list:
        return part
    if type(part) is not tuple:
        return ()
    if len(part) == 2 and part[0] is None and type(part[1]) is dict:  # of one with slots
        return part[1].values()
    return part


_DATA: frozenset[type] = frozenset({
    int, str, bytes, float, bool, type(None), tuple, list, dict, set, frozenset, type,
})  # fmt: skip


def _is_odd(cls: type) -> bool:
    """Whether an instance would see, or mislead, pickle's looking at it."""
    return hasattr(cls, "__getattr__") or "__class__" in _own_names(cls)


def _base_value(cls: type) -> Any:
    """Return the builtin that `cls` adds a ``__new__`` of its own to, if it is such a class."""
    own = _own_names(cls)
    if "__new__" not in own or "__getnewargs__" in own:
        return None
    return next((base for base in _VALUES if issubclass(cls, base)), None)


def _is_global(obj: Any, name: str) -> bool:
    if obj is definitions.EMPTY_CELL:
        return True
    module = getattr(obj, "__module__", None)
    try:
        return names.find_name(module if type(module) is str else "builtins", name) is obj
    except LookupError:
        return False


def _reduce_source(source: Any) -> Reduced:
    parts = (source.filename, source.text, source.symbol, source.flags)
    return definitions.make_source, parts


def _own_reduce(obj: Any) -> Reduced:
    cls = type(obj)
    reduce = copyreg.dispatch_table.get(cls)
    if reduce is not None:
        return reduce(obj)
    own: Any = cls.__reduce_ex__
    return own(obj, PROTOCOL)


def has_usual_hash(cls: Any) -> bool:
    """Whether the hash of a `cls`, if it has one, needs none of its state."""
    return cls.__hash__ is object.__hash__ or cls.__hash__ is None


def _own_names(cls: type) -> set[str]:
    """Return what the classes made in Python above `cls` define."""
    return {name for base in cls.__mro__ if base.__flags__ & _HEAP_TYPE for name in base.__dict__}


def is_plain_type(cls: type) -> bool:
    """Whether an instance of `cls` is saved as its ``__dict__``, and no code of it is run."""
    return (
        cls not in strangers.reducers
        and strangers.lost_reason(cls) is None
        and strangers.reducer_by_base(cls) is None
        and _is_plain(cls)
        and not _is_odd(cls)
    )


def _is_plain(cls: Any) -> bool:
    """Whether an instance of `cls` is its ``__dict__`` and nothing else."""
    return (
        cls.__reduce_ex__ is object.__reduce_ex__
        and cls.__reduce__ is object.__reduce__
        and cls.__getstate__ is object.__getstate__
        and cls.__getattribute__ is object.__getattribute__
        and cls.__basicsize__ <= object.__basicsize__ + 16
        and cls.__dictoffset__ != 0
        and cls not in copyreg.dispatch_table
        and not hasattr(cls, "__getnewargs__")
        and not hasattr(cls, "__getnewargs_ex__")
        and not hasattr(cls, "__setstate__")
        and all(
            base is object
            or (
                base.__flags__ & _HEAP_TYPE
                and not (base.__dict__.keys() & {"__reduce_cython__"})
                and not base.__dict__.get("__slots__")
                and type(base.__dict__.get("__dict__")) in (_GETSET, type(None))
            )
            for base in cls.__mro__
        )
    )
