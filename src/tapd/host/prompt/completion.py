"""Completes names at Tab.

Avoids running code of objects: attributes are looked up statically. A property is completed but
never evaluated to complete what follows it. Imported at the first Tab.
"""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
import types
from collections.abc import Collection
from typing import Any

_WORD = re.compile(r"(?:[^\W\d]\w*\.)*(?:[^\W\d]\w*)?\Z")
_MISSING = object()


def complete(before: str, names: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what can follow `before`.

    Returns:
        The text to insert now, the common prefix of all candidates; and the
        candidates, if there are several.
    """
    match = _WORD.search(before)
    word = match[0] if match else ""
    if not word or before[: -len(word)].endswith((".", ")", "]")):
        return "", []
    path, _, stem = word.rpartition(".")
    candidates = _attributes(path, names) if path else _names(names)
    found = sorted({name for name in candidates if name.startswith(stem)})
    if not stem.startswith("_"):
        found = [name for name in found if not name.startswith("_")]
    if len(found) < 2:
        return "".join(found)[len(stem) :], []
    first, last = found[0], found[-1]  # sorted: a prefix of both is a prefix of all
    size = len(stem)
    while size < len(first) and first[size] == last[size]:
        size += 1
    return first[len(stem) : size], found


def _names(names: dict[str, Any]) -> list[str]:
    strings = [name for name in names if isinstance(name, str)]
    return [*strings, *dir(builtins), *keyword.kwlist]


def _attributes(path: str, names: dict[str, Any]) -> list[str]:
    first, *rest = path.split(".")
    value = names.get(first, getattr(builtins, first, _MISSING))
    for name in rest:
        value = _look(value, name)
    return [] if value is _MISSING else _dir(value)


def _look(value: Any, name: str) -> Any:
    """Return an attribute's value if that needs no code."""
    if value is _MISSING:
        return _MISSING
    found = inspect.getattr_static(value, name, _MISSING)
    if isinstance(found, types.MemberDescriptorType):  # a slot
        try:
            return found.__get__(value, type(value))
        except AttributeError:
            return _MISSING
    if isinstance(found, staticmethod | classmethod):
        return found.__func__
    if inspect.isdatadescriptor(found):
        return _MISSING
    return found


def _dir(value: Any) -> list[str]:
    """Return the result of `dir`, without asking the object."""
    bases = value.__mro__ if issubclass(type(value), type) else type(value).__mro__
    found = {name for base in bases for name in base.__dict__}
    return [name for name in found.union(_own_names(value)) if isinstance(name, str)]


def _own_names(value: Any) -> Collection[str]:
    """Return the names in an object's own ``__dict__``, if it has an ordinary one."""
    for base in type(value).__mro__:
        descriptor = base.__dict__.get("__dict__")
        if isinstance(descriptor, types.GetSetDescriptorType | types.MemberDescriptorType):
            attributes = descriptor.__get__(value, type(value))
            return list(attributes) if isinstance(attributes, dict) else ()
    return ()
