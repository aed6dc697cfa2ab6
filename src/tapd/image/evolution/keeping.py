"""Turns objects that are made already into stand-ins, and back.

Imports `errors` and this room's `bare`, `collecting` and `stand_ins`. Others hold such an object,
so it stays itself and changes its class.
"""

from __future__ import annotations

import weakref
from typing import Any

from tapd.errors import UpgradeRefused
from tapd.image.bare import set_class
from tapd.image.evolution.collecting import note
from tapd.image.evolution.stand_ins import (
    DurableStandIn,
    Refusing,
    Silent,
    Unfit,
    UnfitPlain,
    broken_durable_type,
    broken_durable_type_of,
    clear,
    hold,
    kept_of,
    name_of_class,
    reason_of,
)
from tapd.image.loss import type_name_of
from tapd.model.durable.persistent import is_durable_type

_unfit_types: weakref.WeakKeyDictionary[type, dict[int | None, type]] = weakref.WeakKeyDictionary()


def _unfit_type(cls: Any, version: int | None) -> Any:
    """Return a class of the layout of `cls` whose instances keep states of `version`.

    That of plain objects is None.
    """
    known = _unfit_types.setdefault(cls, {})
    if version not in known:
        attributes = {
            "__slots__": (), "__module__": __name__, "broken_of": cls,
            "broken_name": name_of_class(cls),
        }  # fmt: skip
        if version is None:
            known[version] = _plain_type(cls, attributes)
        else:
            attributes["persistence_version"] = version
            # Not the metaclass's own way: it may have a hook that raises.
            known[version] = type.__new__(type(cls), cls.__name__, (Unfit, cls), attributes)
    return known[version]


def _plain_type(cls: Any, attributes: dict[str, Any]) -> Any:
    """Return a class of the layout of the plain `cls`, which has to be its first base for that."""
    ours = {**vars(Silent), **vars(Refusing), **vars(UnfitPlain)}
    attributes = {name: ours[name] for name in ours.keys() - _OWN_NAMES} | attributes
    hook = vars(cls).get("__init_subclass__")
    type.__setattr__(cls, "__init_subclass__", classmethod(_tell_nobody))
    try:
        return type.__new__(type(cls), cls.__name__, (cls, UnfitPlain), attributes)
    finally:
        if hook is None:
            type.__delattr__(cls, "__init_subclass__")
        else:
            type.__setattr__(cls, "__init_subclass__", hook)


def _tell_nobody(_cls: Any, /, **_kwargs: Any) -> None:
    """Stand in for an author's ``__init_subclass__``."""


_OWN_NAMES = frozenset(vars(type("_", (), {"__slots__": ()}))) | {"__annotations__"}


def keep(obj: Any, version: int, state: Any, reason: str) -> None:
    """Turn the durable `obj` into a stand-in that keeps `state`, whatever it has by now.

    Args:
        obj: stays the same object, so that whoever refers to it finds the stand-in.
        version: of the state's layout.
        state: as it was saved.
        reason: why its class can't take it.

    Raises:
        UpgradeRefused: it is of a type of C, whose instances can be nothing else.
    """
    cls: Any = type(obj)
    try:
        if not issubclass(cls, DurableStandIn):
            set_class(obj, _unfit_type(cls, version))
        elif version != cls.persistence_version:
            other = (
                _unfit_type(cls.broken_of, version)
                if issubclass(cls, Unfit)
                else broken_durable_type(cls.broken_name, cls.broken_why, version)
            )
            set_class(obj, other)
        hold(obj, state, reason)
    except TypeError as error:
        raise _no_way(cls, reason) from error
    note(obj)


def _no_way(cls: Any, reason: str) -> UpgradeRefused:
    return UpgradeRefused(
        f"loading a {type_name_of(cls)}: it can't take its saved state ({reason}), and there "
        "is no other way to keep it; go back to the code that saved it"
    )


def keep_plain(
    obj: Any, made: tuple[Any, ...], setter: Any, state: Any, reason: str, *, has_items: bool
) -> None:
    """Turn the plain `obj` into a stand-in, though it is made and others hold it.

    Args:
        obj: stays the same object, with the items that it has by now.
        made: what made it, and of which arguments.
        setter: the function that would give it its state.
        state: what that would get.
        reason: why its class can't take that.
        has_items: its items are none of that.

    Raises:
        UpgradeRefused: Python does not let its instances be of another class.
    """
    cls = type(obj)
    try:
        set_class(obj, _unfit_type(cls, None))
    except TypeError as error:
        raise _no_way(cls, reason) from error
    kept = kept_of(obj)
    kept.clear()
    kept.update(
        broken_made=made, broken_state=state, broken_setter=setter, broken_reason=reason,
        broken_has_items=has_items,
    )  # fmt: skip
    note(obj)


def revive(obj: Any) -> bool:
    """Give a stand-in its class back, bare, for a later state that may fit.

    Returns:
        Whether it is a bare object now.
    """
    cls = type(obj)
    if not issubclass(cls, Unfit):
        return False
    try:
        set_class(obj, cls.broken_of)
    except TypeError:  # its instances are of another layout
        return False
    clear(obj)
    return True


def change_class(obj: Any, cls: Any) -> None:
    """Have the durable `obj` be of `cls`, or a stand-in for one of that class.

    Args:
        obj: whose class was changed when it lived.
        cls: as it was loaded: it may be no class of durable objects any more.
    """
    if not (issubclass(type(cls), type) and is_durable_type(cls)):
        cls = broken_durable_type_of(cls)
    try:
        set_class(obj, cls)
    except TypeError as error:
        bare: Any = type(obj).broken_of if issubclass(type(obj), Unfit) else type(obj)
        attributes = {
            "__slots__": (), "__module__": __name__, "broken_of": cls,
            "broken_name": getattr(cls, "broken_name", "") or name_of_class(cls),
        }  # fmt: skip
        other: Any = type.__new__(type(bare), cls.__name__, (Unfit, bare), attributes)
        set_class(obj, other)
        hold(obj, None, f"it can't change its class: {reason_of(error)}")
        note(obj)
