"""Stand-ins for saved objects that the current code can't load; their state is kept unchanged.

The class may be gone (`names` does not find it), or it no longer accepts what was saved: an
enum member was renamed, a constructor wants another argument, ``__setstate__`` raises. Nothing
is thrown away. A stand-in has the name of the class, the constructor arguments, the state and
the reason. It is saved back unchanged, so that repaired code gets the object back. Any other
use raises `LostObject`.

A plain object is replaced by a `Broken` while the graph is read. A durable object has a number
that others refer to, so it keeps its identity and changes its class (`replacement`).
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import persistent

from tapd.errors import LostObject, UpgradeRefused
from tapd.image.bare import attributes_of, check_kind, object_setattr
from tapd.image.evolution.registry import note
from tapd.image.loss import type_name_of
from tapd.model.durable.persistent import Persistent

_REASON_MAX = 300
_OURS = "tapd.image."
GONE = "it can't be found"


def reason_of(error: BaseException) -> str:
    """Return the text of `error`, short enough for a line in the log."""
    try:
        said = str(error)
    except BaseException:  # the ``__str__`` of an author's exception may fail too
        said = "(no message)"
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return text if len(text) <= _REASON_MAX else f"{text[:_REASON_MAX]}..."


# --- for plain objects --------------------------------------------------------


class _BrokenType(type):
    """Tells ``cls(*args)`` from ``cls.__new__(cls, *args)``, so that either is saved as it was."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        make: Any = cls.__new__
        self = make(cls, *args, **kwargs)
        self._p_broken_called = True
        return self


class Broken(metaclass=_BrokenType):
    """Stand-in for a plain instance that can't be created or filled.

    Attributes:
        broken_name: ``module:qualname`` of the class or function that created it; "" if
            that itself is kept instead of a name.
        broken_state: the argument of its ``__setstate__``.
    """

    broken_name: ClassVar[str] = ""
    broken_is_durable: ClassVar[bool] = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        kept = {"args": args, "kwargs": kwargs, "list": [], "items": []}
        object.__setattr__(self, "_p_broken", kept)
        note(self)
        return self

    _p_broken_called = False
    _p_broken: dict[str, Any]

    @property
    def broken_state(self) -> Any:
        """The saved state; None if there was none."""
        return self._p_broken.get("state")

    @property
    def broken_reason(self) -> str:
        """Why the object could not be loaded."""
        return self._p_broken.get("reason") or GONE

    def __setstate__(self, state: Any) -> None:
        self._p_broken["state"] = state

    def broken_set(self, setter: Any, state: Any) -> None:
        """Keep a state, and the function that would have set it."""
        self._p_broken["state"] = state
        self._p_broken["setter"] = setter

    def append(self, item: Any) -> None:
        """Keep an item of a list-like object."""
        self._p_broken["list"].append(item)

    def extend(self, items: Any) -> None:
        """Keep items of a list-like object."""
        self._p_broken["list"].extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._p_broken["items"].append((key, value))

    def __repr__(self) -> str:
        return _describe(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        _refuse(self, name)

    def broken_reduce(self) -> tuple[Any, ...]:
        """Return the reduce tuple that the object was saved as."""
        kept = self._p_broken
        maker: Any = type(self) if self.broken_name else kept["maker"]
        args, kwargs = kept["args"], kept["kwargs"]
        new: tuple[Any, ...] = (maker, args)
        if not self._p_broken_called:
            new = (new_object, (maker, *args))
            if kwargs:
                new = (new_object_with, (maker, args, kwargs))
        if "made" in kept:  # created by a function that got the class as an argument
            make, rest = kept["made"]
            new = (make, (type(self), *rest))
        items: Iterator[Any] | None = iter(kept["list"]) if kept["list"] else None
        pairs: Iterator[Any] | None = iter(kept["items"]) if kept["items"] else None
        setter = (kept["setter"],) if kept.get("setter") is not None else ()
        return (*new, kept.get("state"), items, pairs, *setter)


def broken_object(
    name: str, maker: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, called: bool
) -> Any:
    """Return a stand-in for an object that could not be created.

    Args:
        name: ``module:qualname`` of the callable that creates it; "" if it has no name.
        maker: the callable itself; kept if it has no name.
        args: positional arguments.
        kwargs: keyword arguments.
        called: it is created by a call, not by ``__new__``.
    """
    cls: Any = broken_type(name) if name else Broken
    self = cls.__new__(cls, *args, **kwargs)
    if called:
        self._p_broken_called = True
    if not name:
        self._p_broken["maker"] = maker
    return self


def broken_copy(obj: Any, reason: str) -> Any:
    """Return a stand-in for the plain `obj`, which was created but is unusable.

    Raises:
        UpgradeRefused: it can't be pickled again.
    """
    cls = type(obj)
    try:
        made, args, *more = obj.__reduce_ex__(4)
    except BaseException as error:
        raise UpgradeRefused(
            f"loading a {type_name_of(cls)}: {reason}, and it can't be kept ({reason_of(error)}); "
            "fix the class, or go back to the code that saved it"
        ) from error
    is_new = getattr(made, "__name__", "") == "__newobj__"
    maker = args[0] if is_new else made
    stand_in = broken_object(
        name_of_class(maker), maker, args[1:] if is_new else args, {}, called=not is_new
    )
    state, items, entries = (*more, None, None, None)[:3]
    stand_in._p_broken.update(
        reason=reason, state=state, list=list(items or ()), items=list(entries or ())
    )
    return stand_in


@functools.cache
def broken_type(name: str) -> Any:
    """Return the class of stand-ins for plain instances of ``module:qualname``."""
    return _BrokenType(_last(name), (Broken,), {"broken_name": name, "__module__": __name__})


def _last(name: str) -> str:
    return name.rpartition(":")[2].rpartition(".")[2]


def _describe(obj: Any) -> str:
    name = label_of(obj) or name_of_typed(obj) or "a class that can't be made"
    reason = obj.broken_reason
    if reason == GONE:
        return f"<broken: an instance of {name}, which can't be found>"
    return f"<unfit: an instance of {name}, kept as it was saved: {reason}>"


def _refuse(obj: Any, name: str) -> Any:
    if obj.broken_reason == GONE:
        raise LostObject(
            f"{name} of {obj!r}: install the module it comes from, or register a rename"
        )
    raise LostObject(f"{name} of {obj!r}: fix the class so that it takes what was saved")


# --- for durable objects, and for others that can't be replaced ----------------


class Silent:
    """Base of stand-in classes derived from an author's class: suppresses the author's hooks.

    Attributes:
        broken_of: the object's own class; None if there is none.
    """

    __slots__ = ()
    broken_name: ClassVar[str] = ""
    broken_of: ClassVar[Any] = None

    def __init_subclass__(cls, **_kwargs: Any) -> None:
        """Suppress the author's hook."""

    def __del__(self) -> None:
        """Suppress the author's finalizer."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __repr__ = _describe


class DurableStandIn(Silent):
    """Base of all stand-ins for durable objects."""

    __slots__ = ()
    broken_is_durable: ClassVar[bool] = True
    persistence_version: ClassVar[int] = 1
    _p_convert = False

    def __setstate__(self, state: Any) -> None:
        hold(self, state, GONE)

    def __getstate__(self) -> Any:
        return attributes_of(self).get("broken_state")

    def apply_delta(self, delta: Any) -> None:
        """Apply a delta to the kept state, as the container would have done."""
        kept = attributes_of(self)
        kept["broken_state"] = _with_delta(kept.get("broken_state"), delta)


class BrokenDurable(DurableStandIn, Persistent):
    """Stand-in for a durable object whose class can't be found, or is not durable any more."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        self = persistent.Persistent.__new__(cls)
        note(self)
        return self

    @property
    def broken_state(self) -> Any:
        """The saved state."""
        return attributes_of(self).get("broken_state")

    @property
    def broken_reason(self) -> str:
        """Why the object could not be loaded."""
        return str(type(self).broken_why or attributes_of(self).get("broken_reason") or GONE)

    broken_why: ClassVar[str] = ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _refuse(self, name)


class Refusing(Silent):
    """First base of a class whose instances are stand-ins; refuses all use of them."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith(("_", "broken_")) or name in _OPEN:
            return object.__getattribute__(self, name)
        return _refuse(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith(("_p_", "_v_")):
            _refuse(self, name)
        object_setattr(self, name, value)

    @property
    def broken_state(self) -> Any:
        """The saved state."""
        return kept_of(self).get("broken_state")

    @property
    def broken_reason(self) -> str:
        """Why the object could not be loaded."""
        return str(kept_of(self).get("broken_reason") or GONE)


class Unfit(Refusing, DurableStandIn):
    """Stand-in for a durable object whose class does not accept its state."""

    __slots__ = ()


class UnfitPlain(Refusing):
    """Stand-in for a plain object that others hold already; also keeps how it was created."""

    __slots__ = ()
    broken_is_durable: ClassVar[bool] = False

    def broken_reduce(self) -> tuple[Any, ...]:
        """Return the reduce tuple that the object was saved as."""
        kept = kept_of(self)
        items, entries = _items_of(self) if kept["broken_has_items"] else (None, None)
        return *kept["broken_made"], kept["broken_state"], items, entries, kept["broken_setter"]


_OPEN = frozenset({"apply_delta", "begin_delta", "delta_since", "persistence_version"})
STAND_INS = (Broken, DurableStandIn, UnfitPlain)


def label_of(stand_in: Any) -> str:
    """Return ``module:qualname`` of the class of the lost object; "" if it has none.

    The callable that creates it may be a function of `image`, with the class as first argument.
    """
    cls: Any = type(stand_in)
    if cls.broken_name.startswith(_OURS) and issubclass(cls, Broken):
        args = stand_in._p_broken["args"]
        name = getattr(args[0], "broken_name", "") if args else ""
        return name or (name_of_class(args[0]) if args and issubclass(type(args[0]), type) else "")
    return str(cls.broken_name)


def name_of_typed(stand_in: Any) -> str:
    """Return ``module.qualname`` of the typed class of the lost object; "" if it is not typed."""
    cls: Any = getattr(type(stand_in), "broken_of", None)
    return type_name_of(cls) if issubclass(type(cls), type) else ""


def is_stand_in(obj: Any) -> bool:
    """Whether `obj` is a stand-in."""
    return issubclass(type(obj), STAND_INS)


@functools.cache
def broken_durable_type(name: str, why: str = "", version: int = 1) -> Any:
    """Return the class of stand-ins for durable instances of ``module:qualname``.

    Args:
        name: of the class.
        why: why it can't be used; "" if it can't be found.
        version: of the states that they keep.
    """
    attributes = {
        "broken_name": name, "broken_why": why, "persistence_version": version,
        "__module__": __name__,
    }  # fmt: skip
    return type(_last(name), (BrokenDurable,), attributes)


def broken_durable_type_of(maker: Any) -> Any:
    """Return the class of stand-ins for durable instances of a class that can't be created."""
    why = f"its class can't be made: {getattr(maker, 'broken_reason', maker)}"
    attributes = {"broken_of": maker, "broken_why": why, "__module__": __name__}
    return type("BrokenDurable", (BrokenDurable,), attributes)


def _items_of(obj: Any) -> tuple[Any, Any]:
    """Return iterators over the items of a sequence and over the pairs of a mapping."""
    sequence: Any = next((base for base in _SEQUENCES if isinstance(obj, base)), None)
    mapping: Any = next((base for base in _MAPPINGS if isinstance(obj, base)), None)
    return sequence and sequence.__iter__(obj), mapping and iter(mapping.items(obj))


_SEQUENCES = (list, collections.deque)
_MAPPINGS = (collections.OrderedDict, dict)
_without_dict: dict[int, tuple[Any, dict[str, Any]]] = {}
"""Saved data of stand-ins without a ``__dict__``; never freed, but such are rare."""


def kept_of(obj: Any) -> dict[str, Any]:
    """Return the dict in which a stand-in keeps what was saved."""
    try:
        return attributes_of(obj)
    except TypeError:
        return _without_dict.setdefault(id(obj), (obj, {}))[1]


def name_of_class(cls: Any) -> str:
    """Return ``module:qualname``; "" if the class can't be found by it."""
    module, name = cls.__module__, cls.__qualname__
    return "" if "<" in name or module == "__main__" else f"{module}:{name}"


def hold(obj: Any, state: Any, reason: str) -> None:
    """Make a durable stand-in keep `state`, and nothing else."""
    clear(obj)
    attributes_of(obj).update(broken_state=state, broken_reason=reason)


def clear(obj: Any) -> None:
    """Empty a durable object: a state that failed half-way may have left something in it."""
    for base in (list, dict, set, bytearray, collections.deque):
        if issubclass(type(obj), base):
            base.clear(obj)
    if isinstance(obj, persistent.Persistent):
        persistent.Persistent.__setstate__(obj, {})
    attributes_of(obj).clear()


def _with_delta(state: Any, delta: Any) -> Any:
    """Return the `state` of a tracked container with a delta applied."""
    if type(state) is list:
        return [*state, *delta]
    if type(state) is dict:
        items, deleted = delta
        return {key: value for key, value in state.items() if key not in deleted} | dict(items)
    if type(state) is tuple and len(state) == 2 and type(state[0]) is list:
        return list(collections.deque([*state[0], *delta], state[1])), state[1]
    raise UpgradeRefused(
        "loading: a journal appends to a container whose kept state is of another kind; go back "
        "to the code that saved it"
    )


# --- part of the format ------------------------------------------------------


def new_object(cls: Any, *args: Any) -> Any:
    """Return a bare instance, for classes that lie about their own. Part of the format.

    Raises:
        TypeError: `cls` would silently ignore `args`.
    """
    if args and getattr(cls, "__new__", None) is object.__new__:
        raise TypeError(f"{cls.__qualname__}.__new__ takes no arguments, {len(args)} were saved")
    check_kind(cls)
    return cls.__new__(cls, *args)


def new_object_with(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a bare instance created with keyword arguments. Part of the format."""
    check_kind(cls)
    return cls.__new__(cls, *args, **kwargs)


def itself(thing: Any) -> Any:
    """Return `thing`, which stands for a class in the pickle. Part of the format."""
    return thing
