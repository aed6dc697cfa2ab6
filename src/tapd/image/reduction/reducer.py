"""Decides, by type, how each object is pickled: the common rules for TAP and journal.

Pickling always uses the C pickler with a ``reducer_override``. The decision is made once for
each class and then looked up. An object that can't be reduced becomes a `Placeholder`, and the
others are saved, whatever a hook of its author raises (`hooks`). Authors' objects are examined
only by `type` and `issubclass`: ``__class__`` may lie or raise.
"""

from __future__ import annotations

import copyreg
import enum
import pickle
import types
from collections.abc import Callable
from typing import Any

from tapd.errors import CannotKeep
from tapd.image import hooks
from tapd.image.bare import HEAP_TYPE
from tapd.image.code import classes, definitions
from tapd.image.code.source import Source
from tapd.image.evolution import dataclass_states as generated
from tapd.image.evolution import names
from tapd.image.evolution.stand_ins import STAND_INS, DurableStandIn, UnfitPlain, itself
from tapd.image.loss import Loss, Placeholder, type_name_of
from tapd.image.reduction import checks as proof
from tapd.image.reduction import kinds, parts, rebuild
from tapd.image.reduction import library_types as strangers
from tapd.image.reduction.instances import (
    attributes_getter,
    filled_slots,
    foundation_of,
    has_own_new,
    is_foundation,
    slots_of,
)
from tapd.image.reduction.plain_classes import (
    base_value,
    has_usual_hash,
    is_odd,
    is_plain,
    is_plain_type,
)
from tapd.image.reduction.reductions import OWN_MAKERS, past_new, settable
from tapd.model.durable.persistent import is_durable_type

__all__ = [
    "NEWOBJ", "RETRIES_MAX", "UNKNOWN", "Reduced", "Reducer", "has_usual_hash", "is_plain_type",
]  # fmt: skip

PROTOCOL = 5
RETRIES_MAX = 100
NEWOBJ = parts.NEWOBJ

Reduced = Any  # a reduce tuple, a global's name, or NotImplemented


class Reducer(pickle.Pickler):
    """The common rules of both picklers, for TAP and journal."""

    def __init__(self, write_to: Any) -> None:
        super().__init__(write_to, PROTOCOL)
        self.losses: list[Loss] = []
        self.globals: set[str] = set()
        # How many typed classes are in the tables below, which keep them alive.
        self.typed_met = 0
        self.banned: dict[int, str] = {}
        self.last: Any = None
        # Whether objects are written inside of their holders, so that the pickler recurses.
        self.nests = True
        self.maker: Any = None  # whose parts are being written, where an author says which
        self._begun: dict[int, list[Any]] = {}
        # Checked forms and shapes: True if they restore the object, else the problem.
        self._proven: dict[Any, Any] = {}
        self._deciders: dict[type, Callable[[Any], Reduced]] = {}
        self.makers: dict[int, Any] = {}
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
            (UnfitPlain, self._reduce_broken),
        )

    def reduce(self, obj: Any) -> Reduced:
        """Return how `obj` is written; called for everything but builtin data types."""
        cls = type(obj)
        if self.banned and id(obj) in self.banned:
            return self.lose(obj, self.banned[id(obj)])
        # A class is written as part of an instance; on an error ban the instance.
        if cls is not type and cls is not types.FunctionType:
            self.last = obj
        try:
            reduce = self._deciders.get(cls)
            if reduce is None:
                reduce = self.decide(cls)
            return reduce(obj)
        except BaseException as error:
            return self.lose_for(obj, error)

    def lose_for(self, obj: Any, error: BaseException) -> Reduced:
        """Report `obj` as lost because of `error`, raised while it was reduced."""
        if type(error) is CannotKeep:
            return self.lose(obj, str(error))
        hooks.check(error, nests=self.nests)
        return self.lose(obj, hooks.describe(error))

    # -- what each kind of type gets ------------------------------------------

    def decide(self, cls: type) -> Callable[[Any], Reduced]:
        """Return the method that reduces `cls` instances, and remember it if possible."""
        reduce, remember = self._decide(cls)
        if remember:
            self._deciders[cls] = reduce
            self.typed_met += names.name_of(cls) is None
        return reduce

    def _decide(self, cls: type) -> tuple[Callable[[Any], Reduced], bool]:
        """Return the method for `cls`, and whether the answer is final."""
        for base, reduce in self._by_base:
            if issubclass(cls, base):
                return reduce, True
        # The order matters: an explicit entry for the type beats all general rules, and a class
        # that can't be restored is found before any rule for its instances applies.
        known: Callable[[Any], Reduced] | None = strangers.reducers.get(cls)
        if known is None:
            reason = strangers.lost_reason(cls) or self._problem_of_class(cls)
            if reason is not None:
                return (lambda obj: self.lose(obj, reason)), False
        if is_durable_type(cls):
            return self.reduce_durable, True
        known = known or strangers.reducer_by_base(cls)
        if known is None and is_plain(cls):
            # Pickle's default would call the author's hooks.
            if is_odd(cls) or has_own_new(cls):
                return self._reduce_odd, True
            self.remember_plain(cls)
            return self._reduce_plain, True
        by_names = generated.reduce_by_names if generated.is_saved_by_order(cls) else None
        taken = known or by_names or self._by_parts(cls)
        reduce = taken or _own_reduce
        # A library's reduction may not know this subclass's attributes.
        if taken is None and not proof.is_of_library(cls) and proof.says_library(cls, parts.HOOKS):
            reduce = self._proving(reduce, cls)
        return self._checked(reduce, cls), True

    def _by_parts(self, cls: type) -> Callable[[Any], Reduced] | None:
        """Return a reducer by parts, unless the author or C defines the reduction."""
        if issubclass(cls, enum.Enum):
            return None
        if is_foundation(cls) and not parts.falls_short(cls):
            return None  # its reduction in C is complete
        return parts.reducer_by_parts(cls, parts.word_of(cls))

    def _proving(self, reduce: Callable[[Any], Reduced], cls: type) -> Callable[[Any], Reduced]:
        """Wrap `reduce`, which comes from C or a library, to check it once for each shape."""
        get, slots = attributes_getter(cls), slots_of(cls)
        if get is None and not slots:
            return reduce

        by_parts = parts.reducer_by_parts(cls, frozenset())

        def proving(obj: Any) -> Reduced:
            reduced = reduce(obj)
            if type(reduced) is not tuple:
                return reduced
            attributes = {} if get is None else get(obj)
            filled = filled_slots(obj, slots)
            shape = cls, *attributes, *filled
            # Without attributes there is nothing to lose.
            if len(shape) == 1 or self._proven.get(shape) is True:
                return reduced
            if shape not in self._proven:
                proof.check_shape(obj, reduced)
                if not proof.is_small(reduced) or not proof.runs_nothing(cls, reduced):
                    return reduced
                self._proven[shape] = problem = proof.difference(obj, reduced) or True
            else:
                problem = self._proven[shape]
            if problem is True:
                return reduced
            # The reduction loses attributes: save the parts instead, or add the attributes to it.
            if by_parts is not None:
                return by_parts(obj)
            if any(part is not None for part in reduced[2:]):
                raise CannotKeep(problem)
            more = object, None, attributes, filled
            return *reduced[:2], more, None, None, parts.set_parts

        return proving

    def remember_plain(self, cls: type) -> None:
        """Note that instances of the plain class `cls` may take the fast path."""

    def reduce_durable(self, obj: Any) -> Reduced:
        """Return how a durable object is written."""
        raise NotImplementedError

    def _problem_of_class(self, cls: type) -> str | None:
        """Return why instances of `cls` can't be restored; None if they can."""
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

    def _checked(self, reduce: Callable[[Any], Reduced], cls: type) -> Callable[[Any], Reduced]:
        """Wrap `reduce` so that an object no load could restore is reported as lost now."""
        odd, base = is_odd(cls), base_value(cls)
        is_in_c = not cls.__flags__ & HEAP_TYPE or classes.is_made_in_c(cls)
        if is_in_c and kinds.kind_of(cls) is not None:
            return self._trusted(reduce)
        is_own = not proof.is_of_library(cls)
        makes_anew = (
            has_own_new(cls)
            and foundation_of(cls) is object
            and not parts.word_of(cls) & parts.REDUCES
        )

        def checked(obj: Any) -> Reduced:
            reduced = reduce(obj)
            if type(reduced) is str:
                if names.name_of(obj) is None and not _is_global(obj, reduced):
                    raise CannotKeep(f"it is not found by the name {reduced!r} that it gives")
                return reduced
            if makes_anew and proof.leads_to(obj, reduced[1:2]):
                # ``__new__`` got an argument that refers to the object by now: a cycle that
                # pickle can't write. Create it bare instead.
                reduced = (parts.new_bare, (cls,), *reduced[2:])
            proof.check_shape(obj, reduced)
            make = reduced[0]
            if id(make) not in self.makers:
                self._check_maker(make)
            if not self.nests:
                self._begin(obj)
            # Names a loss inside of parts that a hook made up.
            if is_own:
                self.maker = obj
            if is_in_c and (*reduced[5:], None)[0] is None:
                self._check_parts(reduced[1])
            if make is NEWOBJ:
                reduced = past_new(cls, base, reduced, odd=odd)
            self._check_making(cls, reduced)
            return self.finish_reduced(obj, settable(cls, reduced, odd=odd))

        return checked

    def _trusted(self, reduce: Callable[[Any], Reduced]) -> Callable[[Any], Reduced]:
        """Wrap `reduce` of a C class that is known to be right for its own instances."""

        def trusted(obj: Any) -> Reduced:
            reduced: Any = reduce(obj)
            self._check_parts(reduced[1])
            if not self.nests:
                self._begin(obj)
            return self.finish_reduced(obj, reduced)

        return trusted

    def _check_making(self, cls: type, reduced: Any) -> None:
        """Check, once for each form, that the callable of a reduction works."""
        make, args = reduced[:2]
        form = make, cls, len(args)
        if form in self._proven:
            return
        proof.check_made(make, args)
        made = args[0] if make in OWN_MAKERS and args else make
        if made in cls.__mro__ and proof.is_small(reduced) and proof.runs_nothing(cls, reduced):
            try:
                make(*args)
            except Exception as error:
                raise CannotKeep(f"making it again fails: {hooks.describe(error)}") from None
        self._proven[form] = True

    def _begin(self, obj: Any) -> None:
        """Note that `obj` is being reduced; an object built from itself never ends."""
        begun = self._begun.setdefault(id(obj), [obj, 0])
        begun[1] += 1
        if begun[1] > _BEGUN_MAX:
            raise CannotKeep("it is made from itself")

    def finish_reduced(self, obj: Any, reduced: Reduced) -> Reduced:
        """Return `reduced`, or what this pickler writes instead."""
        return reduced

    def _check_parts(self, args: tuple[Any, ...]) -> None:
        """Check the arguments of a C object, which would not accept a placeholder."""
        for part in args:
            cls = type(part)
            if cls not in self._sound:
                reason = strangers.lost_reason(cls)
                if reason is not None:
                    raise CannotKeep(f"it is made of a {type_name_of(cls)}: {reason}")
                self._sound.add(cls)

    def _check_maker(self, make: Any) -> None:
        if type(make) in (types.BuiltinFunctionType, types.MethodType):
            _check_owner(make.__self__)
        if make not in _NAMELESS and names.name_of(make) is None:
            if type(make) is types.FunctionType or issubclass(type(make), type):
                self._check_definition(make)
            return
        self.makers[id(make)] = make

    def _check_definition(self, definition: Any) -> None:
        if type(definition) is types.FunctionType:
            definitions.split_function(definition)
        else:
            classes.split_class(definition)

    def _reduce_plain(self, obj: Any) -> Reduced:
        return NEWOBJ, (type(obj),), obj.__dict__

    def _reduce_odd(self, obj: Any) -> Reduced:
        """Reduce a plain instance whose class would notice pickle's access or creation."""
        cls = type(obj)
        make = parts.new_bare if has_own_new(cls) else names.new_object
        attributes = object.__getattribute__(obj, "__dict__")
        return make, (cls,), attributes, None, None, rebuild.set_plain

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
        if issubclass(cls, (DurableStandIn, UnfitPlain)) and cls.broken_of is not None:
            return itself, (cls.broken_of,)
        name = names.name_of(cls)
        if name is not None:
            self.globals.add(":".join(name))
            return _class_by_name(cls, name)
        made, state = classes.split_class(cls)
        return classes.bare_class, made, state, None, None, classes.set_class_state

    def reduce_function(self, function: Any) -> Reduced:
        """Return how a function is written: by name, or by its source text."""
        name = names.name_of(function)
        if name is not None:
            self.globals.add(":".join(name))
            return NotImplemented
        outer = names.wrapper_of(function)
        if outer is not None:
            return strangers.wrapped_of, (outer,)
        made, state = definitions.split_function(function)
        return self.with_state(function, definitions.make_function, made, state)

    def with_state(
        self, function: Any, make: Any, made: tuple[Any, ...], state: tuple[Any, ...]
    ) -> Reduced:
        """Return how a function is written whose state may refer back to it."""
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
        _check_owner(owner)
        return getattr, (owner, function.__name__)

    def _reduce_cell(self, cell: Any) -> Reduced:
        return definitions.new_cell, definitions.key_of_cell(cell)

    def _reduce_broken(self, obj: Any) -> Reduced:
        return obj.broken_reduce()

    # -- losses ----------------------------------------------------------------

    def lose(self, obj: Any, reason: str) -> Reduced:
        """Report `obj` as lost; return how its placeholder is written."""
        reason = hooks.shortened(reason)
        loss = Loss(self._place_of(obj), type_name_of(type(obj)), reason)
        self.losses.append(loss)
        return Placeholder, (loss.path, loss.type_name, loss.reason)

    def _place_of(self, obj: Any) -> str:
        """Return the path of `obj`; if a hook made it up, the path of the hook's object."""
        try:
            path = self.path_of(obj)
            if path.endswith(UNKNOWN) and self.maker is not None and self.maker is not obj:
                path = f"{self.path_of(self.maker)}.<part>"
        except BaseException as error:
            hooks.check(error, nests=self.nests)
            return UNKNOWN
        return path

    def path_of(self, obj: Any) -> str:
        """Return the path of `obj`; it ends in `UNKNOWN` if it can't be found."""
        raise NotImplementedError


UNKNOWN = ".<...>"
_BEGUN_MAX = 3
_NAMELESS = (type(None), type(NotImplemented), type(Ellipsis))


def _class_by_name(cls: Any, name: tuple[str, str]) -> Reduced:
    """Return how an importable class is written: its name and its kind."""
    if is_durable_type(cls):
        if not name[0].startswith("tapd."):
            return names.durable_class, name
        return NotImplemented if names.is_own_name(cls, name) else (names.named, name)
    base = names.builtin_base(cls)
    if base and not classes.is_made_in_c(cls) and cls.__flags__ & HEAP_TYPE:
        return names.value_class, (*name, base)
    return NotImplemented if names.is_own_name(cls, name) else (names.named, name)


def _check_owner(owner: Any) -> None:
    """Check that the object of a bound method can be saved."""
    reason = strangers.lost_reason(type(owner))
    if reason is not None:
        raise CannotKeep(f"it is a method of a {type_name_of(type(owner))}: {reason}")


_DATA: frozenset[type] = frozenset({
    int, str, bytes, float, bool, type(None), tuple, list, dict, set, frozenset, type,
})  # fmt: skip


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
