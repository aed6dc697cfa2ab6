"""Records the classes of durable objects in the journal.

A class is named in the journal once per object, and again when ``obj.__class__`` was assigned.
An eight-byte tag for the class, in ``_p_serial``, makes it cheap to detect that.
"""

from __future__ import annotations

import weakref
from typing import Any

from tapd.image.bare import HEAP_TYPE
from tapd.image.evolution.names import name_of
from tapd.image.pickling.shared_objects import Shared
from tapd.image.pickling.states import StatePickler
from tapd.image.tracking.changes import Changes
from tapd.model.durable.persistent import set_mark


class ClassRecords:
    """Pickled class references, cached, and the tags that reveal a change of class.

    Attributes:
        tags: tags of the importable classes.
    """

    def __init__(self, pickler: StatePickler) -> None:
        self.tags: dict[type, bytes] = {}
        self._pickler = pickler
        self._last_tag = 0
        self._references: dict[type, bytes] = {}
        # Weak keys: classes typed at a prompt come and go for years.
        self._typed_references: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
        self._typed_tags: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()

    def reference(self, obj: Any) -> bytes:
        """Return the pickled reference that names the class of `obj` in a journal."""
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
        """Note that the journal has the class of `obj`."""
        set_mark(obj, "_p_serial", self.tag_of(obj))

    def note(self, obj: Any, changes: Changes) -> None:
        """Write the class of `obj` if the journal may have another one."""
        tag = self.tag_of(obj)
        if obj._p_serial != tag:
            changes.classes.append((obj._p_oid, self.reference(obj)))
            set_mark(obj, "_p_serial", tag)

    def tag_of(self, obj: Any) -> bytes:
        """Return the eight bytes that stand for the class of `obj` in its ``_p_serial``.

        All classes written in C share the tag zero, the initial value of ``_p_serial``:
        ``__class__`` can't be assigned on their instances.
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
