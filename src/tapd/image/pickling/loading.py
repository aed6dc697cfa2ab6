"""Reads pickles: in C where that goes, and in rounds where something does not fit.

Imports `errors` and this room's `definitions`, `evolution`, `rebuild` and `salvage`.
"""

from __future__ import annotations

import gc
import io
import logging
import pickle
from collections.abc import Callable
from typing import Any

from tapd.errors import BugError
from tapd.image import hooks
from tapd.image.bare import HEAP_TYPE, mute
from tapd.image.code import definitions
from tapd.image.evolution import names
from tapd.image.evolution.salvage import Faults, Salvager
from tapd.image.evolution.stand_ins import reason_of
from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Placeholder
from tapd.image.reduction.rebuild import CONTAINERS
from tapd.model.durable.persistent import Tracked

_log = logging.getLogger(__name__)


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
        return fast_class(module_name, qualname)

    def persistent_load(self, pid: Any) -> Any:
        return self._containers(pid)


def fast_class(module_name: str, qualname: str) -> Any:
    """Return what has this name, where the C unpickler may make instances of it.

    Raises:
        TypeError: it is a class of values, or of tracked containers, and it was none when
            this was saved, or that was not told: the `Salvager` makes no value of nothing.
    """
    found = names.named(module_name, qualname)
    if (type(found) is type or issubclass(type(found), type)) and found.__flags__ & HEAP_TYPE:
        is_container = issubclass(found, Tracked) and not module_name.startswith("tapd.")
        if is_container or names.value_base(found):
            raise TypeError(f"{qualname} may have been another kind of class")
    return found


def load_graph(data: bytes, restoration: Restoration | None = None) -> Any:
    """Return the graph that `dump_graph` pickled, or any graph pickled by `pickle`.

    What can't be brought into today's classes becomes a stand-in (`restoration.stand_ins`).

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
            root = load_in_rounds(
                lambda faults: (
                    _Loader(data)
                    if faults is None
                    else Salvager(data, names.named, Containers(), faults)
                ),
                own,
                own.forget,
            )
        if restoration is None:
            own.finish()
        return root
    finally:
        if enabled:
            gc.enable()


def load_in_rounds(
    make_loader: Callable[[Any], Any],
    restoration: Restoration,
    forget: Callable[[], None],
    *,
    in_c: bool = True,
) -> Any:
    """Load until nothing fails that was not known to fail.

    Args:
        make_loader: is given None, and returns what loads in C; or `Faults`, and returns
            a `Salvager`.
        restoration: the one that runs.
        forget: what a round that was given up has left is of no use.
        in_c: try it in C first.
    """
    faults = restoration.faults = Faults()
    in_c = in_c and hooks.announce is None  # which only what is written in Python can call
    try:
        while True:
            was_in_c = in_c
            loader: Any = make_loader(None if in_c else faults)
            restoration.stand_ins.is_read_in_c = in_c
            known, faults.grew = faults.count, False
            try:
                loaded = loader.load()
            except BaseException as error:
                hooks.check_load(error)
                if not in_c:
                    raise
                _log.debug("loading: %s; reading it piece by piece", reason_of(error))
                in_c, faults.grew = False, True
            if not faults.grew:
                return loaded
            if not was_in_c and faults.count == known:
                raise BugError("loading: what fails was known to fail")
            loaded = None
            give_up(loader)
            forget()
    finally:
        restoration.faults = None
        restoration.stand_ins.is_read_in_c = False


def give_up(loader: Any) -> None:
    """Let go of what an attempt has made, without running any ``__del__`` of it."""
    memo = loader.memo
    for obj in list((memo if type(memo) is dict else memo.copy()).values()):
        mute(obj)
    memo.clear()
