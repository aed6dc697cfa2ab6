"""Saves the members of typed enums and restores them without running their code.

A member is an instance of its class. It is created without ``__new__`` and ``__init__`` and
gets its saved attributes; the tables of `enum` are attributes of the class like any other. So
values, aliases, ``_missing_``, ``boundary`` and attributes set on members survive. Combinations
of flags that were used are members too and are saved, since ``F(3) is F(3)``.
"""

from __future__ import annotations

import copyreg
import enum
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.bare import HEAP_TYPE, dict_of_class
from tapd.image.evolution.names import name_of

MAKING = "_members_being_made_"
"""An attribute of a class that is being restored; its tables are set later."""


def is_typed_enum(cls: type) -> bool:
    """Whether `cls` is an enum that is not importable."""
    return issubclass(type(cls), enum.EnumType) and name_of(cls) is None


def members_of(cls: type) -> list[Any]:
    """Return every member of `cls` once, in a stable order."""
    names: Any = type.__dict__["__dict__"].__get__(cls)
    found = {
        id(member): member
        for table in ("_member_map_", "_value2member_map_")
        for member in names.get(table, {}).values()
        if type(member) is cls
    }
    return list(found.values())


def new_args(cls: type) -> tuple[tuple[Any, ...], ...]:
    """Return the arguments each member is created from: the value of its ``int`` or ``str``.

    Raises:
        CannotKeep: its base does not give its arguments.
    """
    return tuple(_new_args(cls, member) for member in members_of(cls))


def _base_in_c(cls: type) -> Any:
    return next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)


def _new_args(cls: type, member: Any) -> tuple[Any, ...]:
    base = _base_in_c(cls)
    if base is object:
        return ()
    if hasattr(base, "__getnewargs__"):
        return base.__getnewargs__(member)  # type: ignore[no-any-return]  # a tuple, by its contract
    reduced = base.__reduce_ex__(member, 2)
    if type(reduced) is tuple and reduced[0] is cls:
        return reduced[1]  # type: ignore[no-any-return]  # a tuple, by its contract
    raise CannotKeep(f"its members are each a {base.__qualname__}, which can't be made again")


def make_members(cls: Any, args: tuple[tuple[Any, ...], ...]) -> None:
    """Create the missing members of `cls`, bare."""
    members = members_of(cls)
    new = _base_in_c(cls).__new__
    members += [new(cls, *each) for each in args[len(members) :]]
    type.__setattr__(cls, MAKING, members)


def typed_member(cls: Any, index: int) -> Any:
    """Return a member of a typed enum. Part of the format."""
    members = type.__dict__["__dict__"].__get__(cls).get(MAKING)
    return (members_of(cls) if members is None else members)[index]


def reduce_member(member: Any) -> tuple[Any, ...]:
    """Reduce a member of a typed enum, as a part of the class."""
    cls = type(member)
    for index, each in enumerate(members_of(cls)):
        if each is member:
            return typed_member, (cls, index)
    raise CannotKeep(f"it is no member of {cls.__qualname__} any more")


def put_state(cls: type, state: dict[str, Any]) -> None:
    """Add the state of the members, and the table of values, to the state of a class."""
    state["members"] = _states_of(cls)
    state["by_value"] = list(dict_of_class(cls).get("_value2member_map_", {}).items())
    maker = _inherited_maker(cls)
    if maker is not None:
        state["maker"] = maker
        del state["attributes"]["_new_member_"]
    if getattr(dict_of_class(cls).get("_value_repr_"), "__module__", None) == "enum":
        del state["attributes"]["_value_repr_"]  # not every Python has it


def _inherited_maker(cls: type) -> tuple[type, str] | None:
    """Return the base that creates new members of `cls`, and the attribute with its function.

    It is ``__new__`` under another name: `enum` puts its own there.
    """
    own = dict_of_class(cls).get("_new_member_")
    for base in cls.__mro__[1:]:
        if own is not None and dict_of_class(base).get("__new_member__") is own:
            return base, "__new_member__"
    return None


def _states_of(cls: type) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the attributes and slots of each member."""
    slotnames: Any = getattr(copyreg, "_slotnames")(cls)  # noqa: B009 - private to type checkers
    states = []
    for member in members_of(cls):
        slots = {}
        for name in slotnames:
            try:
                slots[name] = object.__getattribute__(member, name)
            except AttributeError:
                continue  # an empty slot
        states.append((object.__getattribute__(member, "__dict__"), slots))
    return states


def set_state(cls: Any, state: dict[str, Any], *, same_python: bool) -> None:
    """Set the attributes of the members, then build the table of values, which hashes them."""
    if "maker" in state:
        base, attribute = state["maker"]
        type.__setattr__(cls, "_new_member_", dict_of_class(base)[attribute])
    for index, (attributes, slots) in enumerate(state["members"]):
        member = typed_member(cls, index)
        own = object.__getattribute__(member, "__dict__")
        own.clear()
        own.update(attributes)
        for name, value in slots.items():
            object.__setattr__(member, name, value)
    if "_value_repr_" not in dict_of_class(cls):
        find: Any = enum.EnumType._find_data_repr_  # type: ignore[attr-defined]
        type.__setattr__(cls, "_value_repr_", find.__func__(type(cls), cls.__name__, cls.__bases__))
    type.__setattr__(cls, "_value2member_map_", dict(state["by_value"]))
    if MAKING in dict_of_class(cls):
        type.__delattr__(cls, MAKING)
    if not same_python:
        _complete(cls)


def _complete(cls: Any) -> None:
    """Create the tables that this Python version has and the saving one had not."""
    members = cls._member_map_
    by_name: dict[str, list[Any]] = {
        name: [each._value_] for name, each in members.items() if not _is_hashable(each._value_)
    }
    for name, value in (
        ("_unhashable_values_", [value for values in by_name.values() for value in values]),
        ("_unhashable_values_map_", by_name),
        ("_hashable_values_", [v._value_ for v in members.values() if _is_hashable(v._value_)]),
    ):
        if name not in dict_of_class(cls):
            type.__setattr__(cls, name, value)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
