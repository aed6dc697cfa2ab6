"""Saves classes that are not importable, by their parts, and restores them as they were.

A class is restored in two steps, so that its methods may refer to it: a bare class with the
right metaclass, bases and slots, then all its attributes as they are now. No author's code runs
meanwhile: no ``__new__`` or ``__setattr__`` of a metaclass, no ``__init_subclass__``, no
``__set_name__``, no decorator. What these did when the class was typed is part of the saved
attributes.

Only two parts are recreated, not saved: what the interpreter creates for slots, and what
`typing` adds to protocols and generic named tuples, which differs between Python versions.
"""

from __future__ import annotations

import abc
import contextlib
import enum
import gc
import itertools
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.bare import DESCRIPTORS, HEAP_TYPE, dict_of_class
from tapd.image.code import enums
from tapd.image.code import generated as rewritten
from tapd.image.code.class_text import restore_class_text, text_of_class
from tapd.image.code.definitions import key_of, known_definition, remember_definition
from tapd.image.code.old_classes import make_class, set_class  # TAPs of 0.1.0 refer to them here
from tapd.image.evolution.names import name_of
from tapd.model.durable.namespace import main_names

__all__ = [
    "bare_class", "is_made_in_c", "make_class", "set_class", "set_class_state",
    "split_class",
]  # fmt: skip

_NOT_SAVED = frozenset({"_abc_impl", "__slotnames__", "_value2member_map_", "__class_cell__"})
"""Caches of others', and a table that is saved as pairs."""
_PYTHON = sys.version_info[:2]


class _SomeProtocol(typing.Protocol):
    pass


class _SomeTypedDict(typing.TypedDict):
    pass


_MADE_BY_TYPE = frozenset({
    type, abc.ABCMeta, enum.EnumType, type(_SomeProtocol), type(_SomeTypedDict),
})  # fmt: skip
"""Metaclasses whose whole effect is in the class's attributes."""


def split_class(cls: type) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of `bare_class` and the state for `set_class_state`.

    Raises:
        CannotKeep: a class of this kind can't be restored.
    """
    names = dict_of_class(cls)
    if is_made_in_c(cls):
        raise CannotKeep("it is not written in Python and not found by its name")
    if main_names().get("__file__") and _is_in_main(cls):
        raise CannotKeep("it is defined in a script; move it to a module that can be imported")
    made_by = next(each for each in _mro_of(type(cls)) if not each.__flags__ & HEAP_TYPE)
    if made_by is not type:
        raise CannotKeep(f"a class made by {type(cls).__qualname__} can't be made again")
    is_enum = issubclass(type(cls), enum.EnumType)
    more = {"slots": _slots_of(cls, names), "members": enums.new_args(cls) if is_enum else None}
    if "__orig_bases__" in names:
        more["orig_bases"] = names["__orig_bases__"]
    module = names.get("__module__")
    made = (
        key_of(cls), type(cls), cls.__bases__, cls.__name__, cls.__qualname__,
        module if type(module) is str else None, more,
    )  # fmt: skip
    state: dict[str, Any] = {"python": _PYTHON}
    spec = rewritten.note_rewritten(cls)
    shared: dict[str, Any] = {}
    if spec is not None:
        shared = rewritten.shared_names(cls, spec)
        state["shared"] = spec, tuple(shared)
    state["attributes"] = {
        name: value
        for name, value in names.items()
        if name not in shared and _is_carried(cls, name, value)
    }
    state["registered"] = _registered(cls)
    state["text"] = text_of_class(cls)
    if is_enum:
        enums.put_state(cls, state)
    return made, state


def _mro_of(cls: type) -> tuple[type, ...]:
    return type.__dict__["__mro__"].__get__(cls)  # type: ignore[no-any-return]


def _is_carried(cls: type, name: str, value: Any) -> bool:
    """Whether an attribute is saved; the others come with the bare class."""
    if name in _NOT_SAVED or (type(value) in DESCRIPTORS and value.__objclass__ is cls):
        return False
    function = getattr(value, "__func__", value)
    if type(function) is not types.FunctionType or function.__module__ != "typing":
        return True
    return not _gets_from_typing(cls)


def _gets_from_typing(cls: type) -> bool:
    """Whether `typing` adds functions of its own to the bare class."""
    names = dict_of_class(cls)
    return "_is_protocol" in names or (issubclass(cls, tuple) and "_fields" in names)


def _slots_of(cls: type, names: Any) -> tuple[str, ...] | None:
    """Return the slots of `cls`, name-mangled; None if it has an ordinary dict."""
    if "__slots__" not in names:
        return None
    own = [
        value.__name__
        for value in names.values()
        if type(value) is types.MemberDescriptorType and value.__objclass__ is cls
    ]
    own += [
        name
        for name in ("__dict__", "__weakref__")
        if type(names.get(name)) is types.GetSetDescriptorType
    ]
    return tuple(own)


def _registered(cls: type) -> tuple[type, ...]:
    """Return the classes registered by ``cls.register``."""
    dump: Any = getattr(abc, "_get_dump", None)
    if dump is None or not issubclass(type(cls), abc.ABCMeta):
        return ()
    found = [refer() for refer in dump(cls)[0]]
    return tuple(sorted(filter(None, found), key=lambda each: (each.__module__, each.__qualname__)))


def is_made_in_c(cls: type) -> bool:
    """Whether `cls` is an extension type, which can be found only by its name."""
    names = dict_of_class(cls)
    made = names.get("__new__")
    return (type(made) is types.BuiltinFunctionType and made.__self__ is cls) or any(
        type(value) in (types.WrapperDescriptorType, types.MethodDescriptorType)
        and value.__objclass__ is cls
        for value in names.values()
    )


def _is_in_main(cls: type) -> bool:
    first, *rest = cls.__qualname__.split(".")
    found: Any = main_names().get(first)
    for name in rest:
        found = getattr(found, name, None)
    return found is cls


# --- made again: part of the format ------------------------------------------


def bare_class(
    key: bytes,
    metaclass: Any,
    bases: tuple[Any, ...],
    name: str,
    qualname: str,
    module: str | None,
    more: dict[str, Any],
) -> Any:
    """Return a bare class; `set_class_state` gives it its attributes.

    Args:
        key: of the definition.
        metaclass: its type.
        bases: the classes that it derives from.
        name: ``__name__``.
        qualname: ``__qualname__``.
        module: ``__module__``, where that is a text.
        more: ``slots``, ``orig_bases`` where the class has such, and what an
            enum's ``members`` are made from.
    """
    cls = known_definition(key)
    if cls is None:
        names: dict[str, Any] = {"__qualname__": qualname}
        if module is not None:
            names["__module__"] = module
        if more["slots"] is not None:
            names["__slots__"] = more["slots"]
        if "orig_bases" in more:
            names["__orig_bases__"] = more["orig_bases"]
        cls = _make(metaclass, name, bases, names)
        remember_definition(key, cls)
    else:
        _rename(cls, name, qualname, bases)
    if more["members"] is not None:
        enums.make_members(cls, more["members"])
    return cls


def _rename(cls: Any, name: str, qualname: str, bases: tuple[Any, ...]) -> None:
    """Update what was changed of a class after it was first saved."""
    if cls.__bases__ != bases:
        type.__setattr__(cls, "__bases__", bases)
    if cls.__name__ != name:
        type.__setattr__(cls, "__name__", name)
    if cls.__qualname__ != qualname:
        type.__setattr__(cls, "__qualname__", qualname)


def _make(metaclass: Any, name: str, bases: tuple[Any, ...], names: dict[str, Any]) -> Any:
    """Create a class without running typed code: metaclass methods or hooks of bases.

    A library's metaclass is called normally, since its module may register the class; but not
    if it needs arguments that are unknown here.
    """
    library = next((each for each in metaclass.__mro__ if name_of(each) is not None), type)
    if library not in _MADE_BY_TYPE:
        with contextlib.suppress(Exception), _hooks_of(bases):
            cls = library.__new__(metaclass, name, bases, dict(names))
            library.__init__(cls, name, bases, dict(names))
            if isinstance(cls, type):
                return cls
    with _hooks_of(bases):
        cls = type.__new__(metaclass, name, bases, names)
    begin: Any = getattr(abc, "_abc_init", None)
    if begin is not None and issubclass(metaclass, abc.ABCMeta):
        begin(cls)
    return cls


@contextlib.contextmanager
def _hooks_of(bases: tuple[Any, ...]) -> Iterator[None]:
    """Suppress typed ``__init_subclass__`` hooks; hooks of libraries are called.

    The original keyword arguments are unknown, so a library's hook that requires some is
    suppressed as well.
    """
    above = dict.fromkeys(itertools.chain.from_iterable(base.__mro__ for base in bases))
    owners = [each for each in above if _has_hook(each)]
    library = next((each for each in owners if name_of(each) is not None), None)
    hook = None if library is None else dict_of_class(library)["__init_subclass__"]

    def tell(cls: Any) -> None:
        if hook is not None:
            with contextlib.suppress(Exception):
                hook.__get__(None, cls)()

    silenced = []
    for index, owner in enumerate(owners):
        if (index == 0 or name_of(owner) is None) and _can_be_set(owner):
            silenced.append((owner, dict_of_class(owner)["__init_subclass__"]))
            stand_in = tell if index == 0 else _tell_nobody
            type.__setattr__(owner, "__init_subclass__", classmethod(stand_in))
    try:
        yield
    finally:
        for owner, own in silenced:
            type.__setattr__(owner, "__init_subclass__", own)


def _tell_nobody(_cls: Any) -> None:
    """An ``__init_subclass__`` that does nothing."""


def _has_hook(cls: type) -> bool:
    return cls is not object and "__init_subclass__" in dict_of_class(cls)


def _can_be_set(cls: type) -> bool:
    return bool(cls.__flags__ & HEAP_TYPE) and not cls.__flags__ & _IMMUTABLE_TYPE


_IMMUTABLE_TYPE = 1 << 8


def set_class_state(cls: Any, state: dict[str, Any]) -> None:
    """Set the attributes of a bare class, or update those of a known one."""
    same_python = tuple(state["python"]) == _PYTHON
    for each in state["registered"]:  # before the class gets its own `register`
        if isinstance(each, type):  # else it is a placeholder
            with contextlib.suppress(Exception):
                abc.ABCMeta.register(cls, each)
    attributes = state["attributes"]
    if not same_python:
        foreign = _FOREIGN | _PROTOCOL_TABLES
        attributes = {name: each for name, each in attributes.items() if name not in foreign}
    spec, shared = state.get("shared", (None, ()))
    if same_python:
        _delete_others(cls, {*attributes, *shared, "_new_member_", enums.MAKING})
    for name, value in attributes.items():
        _set(cls, name, value)
    if spec is not None:
        for name, value in rewritten.shared_attributes(spec).items():
            if name in shared or not (same_python or name in attributes):
                type.__setattr__(cls, name, value)
    if "members" in state:
        enums.set_state(cls, state, same_python=same_python)
    _complete_named_tuple(cls)
    if not same_python:
        _complete(cls)
    if state["text"] is not None:
        restore_class_text(cls, *state["text"])


def _delete_others(cls: type, names: set[str]) -> None:
    """Delete attributes that the class has and its saved state has not."""
    for name, value in list(dict_of_class(cls).items()):
        if name not in names and _is_carried(cls, name, value):
            _delete(cls, name)


_OWN_SETTERS = frozenset({
    "__module__", "__doc__", "__abstractmethods__", "__annotations__", "__type_params__",
})  # fmt: skip
"""Attributes whose setter in `type` stores the value where it is saved from."""


def _is_diverted(cls: type, name: str) -> bool:
    """Whether setting this attribute would reach one of the metaclass with the same name."""
    if name in _OWN_SETTERS:
        return False
    for base in _mro_of(type(cls)):
        found = dict_of_class(base).get(name)
        if found is not None:
            return hasattr(type(found), "__set__") or hasattr(type(found), "__delete__")
    return False


def _set(cls: type, name: str, value: Any) -> None:
    if not _is_diverted(cls, name):
        type.__setattr__(cls, name, value)
        return
    # Write to the class's own dict directly, where the class body put the value.
    [own] = gc.get_referents(dict_of_class(cls))
    own[name] = value
    _touch(cls)


def _delete(cls: type, name: str) -> None:
    if not _is_diverted(cls, name):
        type.__delattr__(cls, name)
        return
    [own] = gc.get_referents(dict_of_class(cls))
    del own[name]
    _touch(cls)


def _touch(cls: type) -> None:
    """Invalidate the interpreter's attribute cache of `cls`."""
    type.__setattr__(cls, "_touched_", None)
    type.__delattr__(cls, "_touched_")


def _complete(cls: Any) -> None:
    """Add what this Python's libraries expect to a class saved by another version."""
    names = dict_of_class(cls)
    if "__required_keys__" in names and type(cls) is type(_SomeTypedDict):
        for name, value in (
            ("__readonly_keys__", frozenset()),
            ("__mutable_keys__", names["__required_keys__"] | names["__optional_keys__"]),
        ):
            if name not in names and name in dict_of_class(_SomeTypedDict):
                type.__setattr__(cls, name, value)
    if "_is_protocol" in names:
        _complete_protocol(cls)
    is_named_tuple = issubclass(cls, tuple) and "_fields" in names
    if is_named_tuple and "__replace__" not in names and _PYTHON >= (3, 13):
        type.__setattr__(cls, "__replace__", names["_replace"])


def _complete_named_tuple(cls: Any) -> None:
    """Make a generic named tuple subscriptable in the way of this Python version."""
    bases = cls.__bases__
    if tuple in bases and typing.Generic in bases and "_fields" in dict_of_class(cls):
        function: Any = getattr(typing, "_generic_class_getitem", None)
        if function is None:
            function = typing.Generic.__class_getitem__.__func__  # type: ignore[attr-defined]
        type.__setattr__(cls, "__class_getitem__", classmethod(function))


_PROTOCOL_TABLES = frozenset({
    "__protocol_attrs__", "__callable_proto_members_only__", "__non_callable_proto_members__",
})  # fmt: skip
_FOREIGN = frozenset(
    name
    for name, since in (
        ("__static_attributes__", (3, 13)), ("__firstlineno__", (3, 13)),
        ("__type_params__", (3, 12)),
    )
    if since > _PYTHON
)  # fmt: skip
"""Added to classes by later interpreters; this one would take them for the author's."""


def _complete_protocol(cls: Any) -> None:
    """Make `typing` recompute the members of a protocol in the way of this Python version."""
    members: Any = getattr(typing, "_get_protocol_attrs", None)
    tables = dict_of_class(_SomeProtocol)
    if "__protocol_attrs__" in tables and members is not None:
        cls.__protocol_attrs__ = members(cls)
    if "__callable_proto_members_only__" in tables:
        cls.__callable_proto_members_only__ = all(
            callable(getattr(cls, name, None)) for name in cls.__protocol_attrs__
        )
    if dict_of_class(cls).get("_is_runtime_protocol"):
        typing.runtime_checkable(cls)
