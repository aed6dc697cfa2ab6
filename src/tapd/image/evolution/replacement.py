"""Turns existing objects into stand-ins, and back.

Others refer to such an object already, so it can't be replaced: it keeps its identity and
changes its class.
"""

from __future__ import annotations

import weakref
from typing import Any

from tapd.errors import UpgradeRefused
from tapd.image.bare import set_class
from tapd.image.evolution.registry import note
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
    """Return a stand-in class with the layout of `cls` whose instances keep states of `version`.

    For plain objects `version` is None.
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
            # Bypass the author's metaclass: its hooks may raise.
            known[version] = type.__new__(type(cls), cls.__name__, (Unfit, cls), attributes)
    return known[version]


def _plain_type(cls: Any, attributes: dict[str, Any]) -> Any:
    """Return a stand-in class with the layout of the plain `cls`, which must be its first base."""
    ours = {**vars(Silent), **vars(Refusing), **vars(UnfitPlain)}
    attributes = {name: ours[name] for name in ours.keys() - _OWN_NAMES} | attributes
    # Creating a subclass would run the author's hook: replace it meanwhile.
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
    """An ``__init_subclass__`` that does nothing."""


_OWN_NAMES = frozenset(vars(type("_", (), {"__slots__": ()}))) | {"__annotations__"}


def keep(obj: Any, version: int, state: Any, reason: str) -> None:
    """Turn the durable `obj` into a stand-in that keeps `state`; its current contents are dropped.

    Args:
        obj: keeps its identity, so that all references lead to the stand-in.
        version: of the state's layout.
        state: as it was saved.
        reason: why its class can't take it.

    Raises:
        UpgradeRefused: its class is written in C, and its instances can't change class.
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
    """Turn the plain `obj`, which others hold already, into a stand-in.

    Args:
        obj: keeps its identity and the items that it has by now.
        made: the callable that created it, and its arguments.
        setter: the function that would set its state.
        state: the argument of that function.
        reason: why its class can't take it.
        has_items: its items are not part of `state`.

    Raises:
        UpgradeRefused: its instances can't change class.
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
    """Turn a stand-in back into a bare object of its class, for a later state that may fit.

    Returns:
        Whether it is a bare object now.
    """
    cls = type(obj)
    if not issubclass(cls, Unfit):
        return False
    try:
        set_class(obj, cls.broken_of)
    except TypeError:  # its layout is different
        return False
    clear(obj)
    return True


def change_class(obj: Any, cls: Any) -> None:
    """Change the class of the durable `obj` to `cls`, or to a stand-in for it.

    Args:
        obj: the object whose class was changed when it was live.
        cls: the class as it was loaded; perhaps no durable class any more.
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
