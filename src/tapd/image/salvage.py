"""Loads a graph in which something fails, leaving out only what fails.

Imports `errors` and `image.loss`. The C unpickler stops at the first exception,
which one constructor of a library that has changed since the save is enough to
raise. So when it stopped, the same bytes are read again by this one, written in
Python and some twenty times slower, in which each step may fail by itself: an
object that can't be made becomes a `Placeholder`, a state that can't be set is
left out, and an entry whose key can't be hashed yet is put in at the end.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Callable
from typing import Any

from tapd.errors import UpgradeRefused
from tapd.image.loss import Placeholder

_log = logging.getLogger(__name__)

_base: Any = pickle._Unpickler  # pickle's own, in Python


class Salvager(_base):  # type: ignore[misc]  # its base has no types
    """An unpickler of which each step may fail by itself."""

    dispatch = dict(_base.dispatch)

    def __init__(
        self, data: bytes, find: Callable[[str, str], Any], persistent_load: Callable[[Any], Any]
    ) -> None:
        """Begin.

        Args:
            data: the pickle.
            find: returns what a module and a qualified name stand for.
            persistent_load: returns what a persistent id stands for.
        """
        super().__init__(io.BytesIO(data))
        self.persistent_load = persistent_load
        self._find = find
        self._waiting: list[tuple[Callable[..., None], Any, Any]] = []

    def find_class(self, module_name: str, qualname: str) -> Any:
        """Return a class or function by name."""
        return self._find(module_name, qualname)

    def load(self) -> Any:
        """Return the graph."""
        root = super().load()
        for put, container, items in self._waiting:
            for item in items:
                try:
                    put(container, item)
                except Exception:
                    _log.warning("an entry of a %s can't be put back", type(container).__name__)
        return root

    def _make(self, make: Callable[[], Any], what: Any) -> Any:
        try:
            return make()
        except (UpgradeRefused, MemoryError):
            raise
        except Exception as error:
            name = getattr(what, "__qualname__", None) or repr(type(what))
            reason = f"making it again failed: {type(error).__name__}: {error}"
            _log.warning("%s: %s", name, reason)
            return Placeholder("(found at load)", str(name), reason)

    def _load_reduce(self) -> None:
        args = self.stack.pop()
        make = self.stack[-1]
        self.stack[-1] = self._make(lambda: make(*args), make)

    def _load_newobj(self) -> None:
        args = self.stack.pop()
        cls = self.stack.pop()
        self.append(self._make(lambda: cls.__new__(cls, *args), cls))

    def _load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        args = self.stack.pop()
        cls = self.stack.pop()
        self.append(self._make(lambda: cls.__new__(cls, *args, **keywords), cls))

    def _load_build(self) -> None:
        stack = list(self.stack)
        try:
            _base.load_build(self)
        except Exception as error:
            self.stack[:] = stack[:-1]
            cls = type(self.stack[-1])
            if cls is not Placeholder:
                _log.warning("the state of a %s can't be set: %s", cls.__qualname__, error)

    def _each(self, items: Any, put: Callable[[Any, Any], None]) -> None:
        container = self.stack[-1]
        if type(container) is Placeholder:
            return
        failed = []
        for item in items:
            try:
                put(container, item)
            except Exception:  # one that fails must not cost the rest
                failed.append(item)
        if failed:
            self._waiting.append((put, container, failed))

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._each(zip(items[::2], items[1::2], strict=True), _put_pair)

    def _load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._each([(key, value)], _put_pair)

    def _load_additems(self) -> None:
        self._each(self.pop_mark(), lambda container, item: container.add(item))

    def _load_appends(self) -> None:
        self._each(self.pop_mark(), lambda container, item: container.append(item))

    def _load_append(self) -> None:
        self._each([self.stack.pop()], lambda container, item: container.append(item))

    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = _load_newobj_ex
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.APPENDS[0]] = _load_appends
    dispatch[pickle.APPEND[0]] = _load_append


def _put_pair(container: Any, pair: tuple[Any, Any]) -> None:
    container[pair[0]] = pair[1]
