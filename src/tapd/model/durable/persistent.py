"""Base of durable objects, which a TAP and the journal can restore.

An object that derives from `Persistent` reports its first attribute write of a turn to
its *jar* (see `image.tracking.jar`), in C, in some 80 ns. Containers report through the
classes of `model.durable.tracked`, all of which are `Tracked`.

The attributes ``_p_jar``, ``_p_oid`` and ``_p_changed`` mean the same on every
durable object, as in ZODB: the jar that it reports to (None while it belongs to none),
its number within the application, and whether it was reported since the last
commit. Attributes whose names start with ``_v_`` are volatile: never saved,
and writing them reports nothing.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import persistent


class Jar(Protocol):
    """What a durable object needs of its jar."""

    def register(self, obj: Any) -> None:
        """Note the first change of `obj` since the last commit."""


class _Attributes(persistent.Persistent):  # type: ignore[misc]  # untyped in its package
    """Holds the ``__dict__`` of durable objects, which `Persistent` exposes.

    Also holds, hidden from users of that dict, the jar's notes about an object that
    contains plain containers.
    """

    __slots__ = ("__dict__", "__weakref__", "_p_watched")


# `persistent` looks through the slots that are named there at each ``__getstate__``.
type.__delattr__(_Attributes, "__slots__")

_own_dict: Any = _Attributes.__dict__["__dict__"]
_setstate: Any = persistent.Persistent.__setstate__
_set_attribute: Any = persistent.Persistent.__setattr__
own_dict: Callable[[Any], dict[str, Any]] = _own_dict.__get__
"""Return the ``__dict__`` of a `Persistent` without reporting; for reading only."""


def set_mark(obj: Any, name: str, value: Any) -> None:
    """Set one of the ``_p_`` attributes of a durable object, bypassing its ``__setattr__``."""
    if issubclass(type(obj), persistent.Persistent):
        _set_attribute(obj, name, value)
    else:
        object.__setattr__(obj, name, value)


def forget_state(obj: Any) -> None:
    """Clear the state of a durable object, except its ``_p_`` attributes."""
    cls = type(obj)
    if not issubclass(cls, Persistent):
        return  # the ``__setstate__`` of a container replaces all of it
    if cls.__setstate__ is not _setstate:  # which replaces all attributes
        attributes = own_dict(obj)
        for name in [name for name in attributes if not name.startswith("_v_")]:
            del attributes[name]
    for member in _slots_of(cls):  # type: ignore[arg-type]  # a class can be hashed
        with contextlib.suppress(AttributeError):
            member.__delete__(obj)


def has_slots(cls: Any) -> bool:
    """Whether a durable `cls` has attributes besides those in its ``__dict__``."""
    return bool(_slots_of(cls))


@functools.lru_cache(maxsize=256)
def _slots_of(cls: Any) -> tuple[Any, ...]:
    return tuple(
        member
        for base in cls.__mro__
        for member in base.__dict__.values()
        if type(member) is types.MemberDescriptorType and member.__name__ != "_p_watched"
    )


def has_usual_setattr(cls: Any) -> bool:
    """Whether assigning to an attribute of a `cls` runs no code of its author."""
    return cls.__setattr__ in (_set_attribute, object.__setattr__)


def attributes_of(obj: Any) -> dict[str, Any] | None:
    """Return the ``__dict__`` of any durable object, for reading only; None if it has none."""
    if issubclass(type(obj), Persistent):
        return own_dict(obj)
    return getattr(obj, "__dict__", None)


class Persistent(_Attributes):
    """Base of durable objects; attribute writes are tracked.

    Code that reads ``__dict__`` (or `vars`) may write to it, so reading it counts as a
    change. While a reference to it exists, the jar polls the object in each turn.

    Attributes:
        persistence_version: the version of the state's layout. When a class
            raises it to N it adds ``upgrade_to_version_N(self)``, which is
            called for state that was saved below N.
    """

    persistence_version: ClassVar[int] = 1
    _p_convert: ClassVar[bool] = True  # whether plain containers may be replaced by tracked ones

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have an attrs class save and restore its state as any other does.

        The methods that attrs generates for classes with slots omit attributes outside of
        slots, and set attributes in a way that durable objects refuse.
        """
        super().__init_subclass__(**kwargs)
        for name in ("__getstate__", "__setstate__"):
            code = getattr(vars(cls).get(name), "__code__", None)
            if code is not None and code.co_name == f"slots_{name.strip('_')}":
                type.__delattr__(cls, name)

    @property
    def __dict__(self) -> dict[str, Any]:
        if self._p_jar is not None:
            _set_attribute(self, "_p_changed", True)
        return own_dict(self)

    @__dict__.setter
    def __dict__(self, attributes: dict[str, Any]) -> None:
        if self._p_jar is not None:
            _set_attribute(self, "_p_changed", True)
        _own_dict.__set__(self, attributes)

    def __repr__(self) -> str:
        cls = type(self)
        number = f"at {id(self):#x}" if self._p_oid is None else str(self._p_oid)
        return f"<{cls.__module__}.{cls.__qualname__} object {number}>"


class Tracked:
    """Base of the tracked containers (`model.durable.tracked`); not for direct use."""

    __slots__ = ()
    _p_jar: Jar | None
    _p_oid: int | None
    _p_changed: bool
    _p_delta: Any
    _p_watched: Any  # the jar's notes, if it contains plain objects

    def begin_delta(self) -> Any:
        """Mark it unchanged; return where its delta begins, None if all of it must be written.

        In this order: code that runs in between (a signal handler, a ``__del__``) reports its
        changes, and they belong to the next delta.
        """
        begin = self._p_delta
        self._p_changed = False  # type: ignore[misc]  # a slot of each subclass
        return None if self._p_delta is None else begin

    def delta_since(self, begin: Any) -> Any:
        """Return the changes from `begin` to `begin_delta`, None if all of it must be written."""
        return None

    def apply_delta(self, delta: Any) -> None:
        """Apply a delta that `delta_since` returned elsewhere."""
        raise NotImplementedError

    def __copy__(self) -> Any:
        return type(self)(self)  # type: ignore[call-arg]  # a container's own constructor

    def __getstate__(self) -> Any:
        raise NotImplementedError

    def __setstate__(self, state: Any) -> None:
        raise NotImplementedError


def is_durable_type(cls: type) -> bool:
    """Whether instances of `cls` have an identity of their own in the journal."""
    return issubclass(cls, persistent.Persistent | Tracked)
