"""A graph from bytes: what a TAP's pickle calls, by name, while it loads.

Imports `errors`, `model` and this room's `names`, `definitions`, `evolution` and
`salvage`. The names here are part of the format of TAPs: one that is renamed
needs an entry in the rename map for ever.
"""

from __future__ import annotations

import gc
import io
import logging
import pickle
from typing import Any

from tapd.errors import UpgradeRefused
from tapd.image import definitions, names
from tapd.image.evolution import Restoration, version_of
from tapd.image.loss import Placeholder, type_name_of
from tapd.image.salvage import Salvager
from tapd.model.persistent import TrackedDict, TrackedList

_log = logging.getLogger(__name__)


def set_plain(obj: Any, state: dict[str, Any]) -> None:
    """Give a plain instance its attributes."""
    if issubclass(type(obj), names.Broken):
        obj.__setstate__(state)
    else:
        object.__getattribute__(obj, "__dict__").update(state)


def set_reduced(obj: Any, state: Any) -> None:
    """Give an instance the state that its class's default reduction made."""
    setstate = getattr(type(obj), "__setstate__", None)
    if setstate is not None:
        setstate(obj, state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        object.__getattribute__(obj, "__dict__").update(state)
    for name, value in (slots or {}).items():
        object.__setattr__(obj, name, value)


def set_durable(obj: Any, meta_and_state: tuple[Any, Any]) -> None:
    """Give a durable object with a hash of its own its number and state, at once."""
    meta, state = meta_and_state
    restoration = definitions.current_restoration()
    if restoration is not None:
        restoration.durables.append(obj)
    _apply(obj, meta, state, restoration)


def _apply(obj: Any, meta: Any, state: Any, restoration: Restoration | None) -> None:
    """Give `obj` a state by the rarer ways: `meta` is number and version, or a setter."""
    if type(meta) is not tuple:
        meta(obj, state)
        return
    oid, version = meta
    if oid is not None:
        obj._p_oid = oid
    if state is not None:
        obj.__setstate__(state)
    if restoration is not None:
        restoration.note(obj, version)


_STATELESS = frozenset({type(None), Placeholder})
"""Padding, and what could not be made."""


class StateQueue:
    """Gives objects their states as the unpickler reads them, a thousand items at once.

    Object, meta and state follow each other. What was just read is still in the
    processor's cache, so this takes half of what a loop at the end takes.
    """

    def __init__(self) -> None:
        self.current = definitions.current_restoration()
        self._restoration = self.current or Restoration()
        self._rest: list[Any] = []
        self._up_to_date: set[type] = set()

    def append(self, item: Any) -> None:
        """Take one item (opcode APPEND)."""
        self.extend([item])

    def extend(self, items: list[Any]) -> None:
        """Take `items` (opcode APPENDS), of which the last states may come later."""
        items = self._rest + items
        whole = len(items) // 3 * 3
        self._rest = items[whole:]
        del items[whole:]
        restoration, up_to_date = self._restoration, self._up_to_date
        restoration.durables += items[::3]
        each = iter(items)
        for obj, meta, state in zip(each, each, each, strict=True):
            cls = type(obj)
            try:
                if meta is not None and type(meta) is not int:
                    _apply(obj, meta, state, restoration)
                    continue
                # Before the state: should that fail, the journal still finds the object.
                obj._p_oid = meta
                if cls is TrackedDict:
                    dict.update(obj, state)
                elif cls is TrackedList:
                    list.extend(obj, state)
                elif state is not None:
                    obj.__setstate__(state)
            except Exception as error:  # its neighbours are to be kept
                if cls not in _STATELESS:
                    _log.warning("the state of a %s can't be set: %s", type_name_of(cls), error)
                continue
            if cls not in up_to_date:
                if version_of(cls) == 1:
                    up_to_date.add(cls)
                else:
                    restoration.note(obj, 1)

    def finish(self) -> None:
        """Run the upgrades that are due, unless who loads goes on to a journal."""
        if self._rest:
            raise ValueError("the last state is missing")
        if self.current is None:
            self._restoration.finish()


def finish_graph(root: Any, queue: Any) -> Any:
    """Run upgrades, now that `queue` is at its end, and return `root`.

    Args:
        root: of the graph.
        queue: a `StateQueue`; TAPs of the first kind, and deep ones, have a list.
    """
    if type(queue) is not StateQueue:
        items, queue = queue, StateQueue()
        queue.extend(items)
    queue.finish()
    return root


CONTAINERS: dict[type, Any] = {list: list, dict: dict, set: set}


def fill_container(container: Any, contents: list[Any]) -> None:
    """Give a container that was written by its number its contents."""
    if type(container) is list:
        container.extend(contents)
    else:
        container.update(contents)


def set_whole(obj: Any, whole: tuple[Any, ...]) -> None:
    """Give an object, made already, all else that pickle would have given it at once."""
    state, items, entries, setter = whole
    if items:
        if hasattr(type(obj), "extend"):
            obj.extend(items)
        else:
            for item in items:
                obj.append(item)
    for key, value in entries:
        obj[key] = value
    if state is not None:
        (setter or set_reduced)(obj, state)


def finish_deep_graph(root: Any, items: list[Any]) -> Any:
    """Fill the containers among `items`, then do as `finish_graph`: states may copy them.

    Before all else functions get their cells: the hash of a key may ask for one. What
    is due as a whole comes last, the innermost first, as it would in a pickle.
    """
    rest: list[Any] = []
    whole = []
    containers = []
    each = iter(items)
    for obj, meta, state in zip(each, each, each, strict=True):
        if meta is fill_container:
            containers.append((obj, state))
        elif meta is definitions.set_function:
            definitions.set_function(obj, state)
        elif meta is set_whole:
            whole.append((obj, meta, state))
        else:
            rest += (obj, meta, state)
    for obj, state in containers:
        fill_container(obj, state)
    for entry in reversed(whole):
        rest += entry
    return finish_graph(root, rest)


def finish_nested_graph(_containers: list[Any], root: Any, items: list[Any]) -> Any:
    """Do as `finish_deep_graph`; `_containers`, empty, were made first, for all to refer to."""
    return finish_deep_graph(root, items)


class Containers:
    """What a pickle of deeply nested containers calls by number."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def __call__(self, persistent_id: tuple[Any, ...]) -> Any:
        """Return the container of a number, or the placeholder of what was lost."""
        kind, *rest = persistent_id
        if kind == "lost":
            return Placeholder(*rest)
        makers = {cls.__name__: cls for cls in CONTAINERS}
        return self._made.setdefault(rest[0], makers[kind]())


class _Loader(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._containers = Containers()

    def find_class(self, module_name: str, qualname: str) -> Any:
        return names.named(module_name, qualname)

    def persistent_load(self, pid: Any) -> Any:
        return self._containers(pid)


def load_graph(data: bytes, restoration: Restoration | None = None) -> Any:
    """Return the graph that `dump_graph` pickled, or any graph pickled by `pickle`.

    Classes that can't be found become `Broken` stand-ins.

    Args:
        data: the pickle; authenticated before (promise 7).
        restoration: where journals follow: upgrades then wait for its `finish`.

    Raises:
        UpgradeRefused: state can't be brought to the installed code's version.
    """
    own = restoration or Restoration()
    enabled = gc.isenabled()
    gc.disable()
    try:
        with definitions.restoring(own):
            try:
                root = _Loader(data).load()
            except (UpgradeRefused, MemoryError):
                raise
            except Exception as error:
                _log.warning("loading: %s: %s; reading it piece by piece", type(error), error)
                own.forget()
                root = Salvager(data, names.named, Containers()).load()
        if restoration is None:
            own.finish()
        return root
    finally:
        if enabled:
            gc.enable()
