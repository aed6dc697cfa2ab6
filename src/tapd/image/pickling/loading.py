"""Loads a pickled graph: by the C unpickler, or by the `Salvager` if an object fails."""

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
    """Creates the containers of a deep pickle, by their persistent ids."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def __call__(self, persistent_id: tuple[Any, ...]) -> Any:
        """Return the container of this number, or the placeholder of a lost object."""
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
    """Return the object of this name, if the C unpickler may create instances of it.

    Raises:
        TypeError: it is a class of values or of tracked containers now, and may have been
            another kind of class when this was saved. The `Salvager` decides such cases.
    """
    found = names.named(module_name, qualname)
    if (type(found) is type or issubclass(type(found), type)) and found.__flags__ & HEAP_TYPE:
        is_container = issubclass(found, Tracked) and not module_name.startswith("tapd.")
        if is_container or names.value_base(found):
            raise TypeError(f"{qualname} may have been another kind of class")
    return found


def load_graph(data: bytes, restoration: Restoration | None = None) -> Any:
    """Return the graph that `dump_graph` pickled, or any graph pickled by `pickle`.

    What the current classes can't take becomes a stand-in (`restoration.stand_ins`).

    Args:
        data: the pickle; already authenticated (promise 7).
        restoration: pass one if journals follow: upgrades then wait for its `finish`.

    Raises:
        UpgradeRefused: a state can't be brought to the version of the installed code.
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
    """Load again and again, until a round meets no new failure.

    Args:
        make_loader: returns a loader: the C unpickler for None, a `Salvager` for `Faults`.
        restoration: the current one.
        forget: discards what an abandoned round has registered.
        in_c: try the C unpickler first.
    """
    faults = restoration.faults = Faults()
    in_c = in_c and hooks.announce is None  # only the Salvager can announce calls
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
            # Each round must note at least one new failure, otherwise this would never end.
            if not was_in_c and faults.count == known:
                raise BugError("loading: what fails was known to fail")
            # Drop every reference to the abandoned objects before they are created again.
            loaded = None
            give_up(loader)
            forget()
    finally:
        restoration.faults = None
        restoration.stand_ins.is_read_in_c = False


def give_up(loader: Any) -> None:
    """Drop what an abandoned attempt has created, without running any ``__del__`` of it."""
    memo = loader.memo
    for obj in list((memo if type(memo) is dict else memo.copy()).values()):
        mute(obj)
    memo.clear()
