"""The classes of durable objects, as a journal has them.

Imports `model` and this room's `changes`, `names`, `shared` and `states`.
"""

from __future__ import annotations

import weakref
from typing import Any

from tapd.image.bare import HEAP_TYPE
from tapd.image.evolution.names import name_of
from tapd.image.pickling.shared import Shared
from tapd.image.pickling.states import StatePickler
from tapd.image.tracking.changes import Changes
from tapd.model.durable.persistent import set_mark


class ClassRecords:
    """References to classes, pickled once, and tags by which an object's change of class is seen.

    Attributes:
        tags: of the classes that are found by name.
    """

    def __init__(self, pickler: StatePickler) -> None:
        self.tags: dict[type, bytes] = {}
        self._pickler = pickler
        self._last_tag = 0
        self._references: dict[type, bytes] = {}
        # They go when nobody has them any more: those of a prompt come and go for years.
        self._typed_references: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
        self._typed_tags: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()

    def reference(self, obj: Any) -> bytes:
        """Return what names the class of `obj` in a journal."""
        cls = type(obj)
        if cls is Shared:
            return self._pickler.dump_shared_class(type(obj.it))
        known = self._references.get(cls)
        if known is None:
            known = self._typed_references.get(cls)
        if known is None:
            known = self._pickler.dump_class(cls)
            (self._references if name_of(cls) else self._typed_references)[cls] = known
        return known

    def mark(self, obj: Any) -> None:
        """Take note that the journal has the class of `obj`."""
        set_mark(obj, "_p_serial", self.tag_of(obj))

    def note(self, obj: Any, changes: Changes) -> None:
        """Write the class of `obj` where it may be another than the journal says."""
        tag = self.tag_of(obj)
        if obj._p_serial != tag:
            changes.classes.append((obj._p_oid, self.reference(obj)))
            set_mark(obj, "_p_serial", tag)

    def tag_of(self, obj: Any) -> bytes:
        """Return eight bytes that stand for the class of `obj` in its ``_p_serial``.

        What an object has of its own there, zeros, is that of each class written in C, none of
        which can be changed.
        """
        cls = type(obj.it) if type(obj) is Shared else type(obj)
        tag = self.tags.get(cls)
        if tag is None:
            tag = self._typed_tags.get(cls)
        if tag is None:
            self._last_tag += bool(cls.__flags__ & HEAP_TYPE)
            tag = self._last_tag.to_bytes(8, "big") if cls.__flags__ & HEAP_TYPE else bytes(8)
            (self.tags if name_of(cls) else self._typed_tags)[cls] = tag
        return tag
