"""The names that every program may use: what an author would import.

In the twin's world `tapd.Persistent` is a plain class, and so is all else of tapd's.
"""

from __future__ import annotations

import array
import bisect
import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import heapq
import io
import itertools
import operator
import random
import struct
import threading
import types
import typing
from typing import Any, Self

import attrs
import BTrees
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet

from tapd import Persistent


class _PlainPersistent:
    """What `Persistent` is in a Python without tapd.

    As there, arguments are no error, and its layout is not that of a plain class, so
    that no instance can become one of the other kind.
    """

    __slots__ = ("__dict__", "__weakref__", "_p_layout")

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        return super().__new__(cls)


_PlainPersistent.__name__ = _PlainPersistent.__qualname__ = "Persistent"


class Descriptor:
    """A data descriptor of the usual kind: keeps its value beside, in the `__dict__`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = f"kept_{name}"

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        return self if obj is None else obj.__dict__.get(self.key)

    def __set__(self, obj: Any, value: Any) -> None:
        obj.__dict__[self.key] = value


def name_of(each: Any) -> str:
    """Return what to sort `each` by: its text may have an address in it."""
    name = getattr(each, "name", "")
    return name if isinstance(name, str) else ""


def join(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Return what it is called with: a function for partials."""
    return (*args, *kwargs.values())


NAMES: dict[str, Any] = {
    "Any": Any, "BTrees": BTrees, "Descriptor": Descriptor, "IOBTree": IOBTree,
    "OOBTree": OOBTree, "OOTreeSet": OOTreeSet, "array": array, "attrs": attrs, "bisect": bisect,
    "collections": collections, "copy": copy, "dataclasses": dataclasses, "datetime": dt,
    "decimal": decimal, "enum": enum, "fractions": fractions, "functools": functools,
    "heapq": heapq, "io": io, "itertools": itertools, "join": join, "operator": operator,
    "random": random, "struct": struct, "threading": threading, "types": types, "typing": typing,
}  # fmt: skip
UNDER_TAPD = {**NAMES, "Persistent": Persistent}
WITHOUT = {**NAMES, "Persistent": _PlainPersistent}
