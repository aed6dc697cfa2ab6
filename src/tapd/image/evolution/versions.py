"""Class evolution: versions of state, and the upgrades that a load runs.

A class with ``persistence_version = N`` upgrades older state by the methods
``upgrade_to_version_2(self)`` to ``upgrade_to_version_N(self)``. They are called in turn after
the state of every object is set, so that an upgrade may read other objects. A state that can't
be upgraded makes the start fail before any client is served.
"""

from __future__ import annotations

import logging
import types
from typing import Any, NamedTuple

import persistent

from tapd.errors import UpgradeRefused
from tapd.image import hooks
from tapd.image.evolution import registry as collecting
from tapd.image.evolution import replacement as keeping
from tapd.image.evolution import stand_ins
from tapd.image.evolution.names import Broken, BrokenDurable, named, register_rename
from tapd.image.evolution.salvage import Faults
from tapd.image.loss import type_name_of
from tapd.model.durable.persistent import forget_state, is_durable_type
from tapd.model.source_location import describe_origin

_log = logging.getLogger(__name__)

__all__ = [
    "Broken",
    "BrokenDurable",
    "OwnState",
    "Restoration",
    "VersionedState",
    "named",
    "register_rename",
    "split_state",
    "state_of",
    "version_of",
    "versioned",
]  # fmt: skip


class VersionedState:
    """A state and the version of its layout, unless that is 1."""

    __slots__ = ("state", "version")

    def __init__(self, version: int, state: Any) -> None:
        self.version = version
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return VersionedState, (self.version, self.state)


class OwnState:
    """The attributes of a durable object whose own ``__getstate__`` failed."""

    __slots__ = ("state",)

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnState, (self.state,)


def state_of(obj: Any) -> Any:
    """Return the state of a durable object, by its own ``__getstate__`` if possible.

    A typical ``__getstate__`` removes a lock, which fails for an object loaded without one.

    Raises:
        BaseException: anything else that the author's ``__getstate__`` raised.
    """
    try:
        state = obj.__getstate__()
    except (KeyError, AttributeError):
        if not issubclass(type(obj), persistent.Persistent):
            raise
        return OwnState(persistent.Persistent.__getstate__(obj))
    return state if type(state) is not dict else _without_volatile(type(obj), state)


def _without_volatile(cls: Any, state: dict[Any, Any]) -> dict[Any, Any]:
    """Return `state` without volatile attributes: an author's method may copy all there are."""
    getstate = cls.__getstate__
    if type(getstate) is not types.FunctionType or str(getstate.__module__).startswith("tapd."):
        return state  # names in a namespace and keys of a dict are not attributes
    volatile = {name for name in state if type(name) is str and name.startswith("_v_")}
    return {name: value for name, value in state.items() if name not in volatile}


def version_of(cls: type) -> int:
    """Return the layout version that `cls` saves now; 1 by default."""
    version = getattr(cls, "persistence_version", 1)
    return version if type(version) is int else 1


def versioned(obj: Any, state: Any) -> Any:
    """Return `state` of `obj`, with its version unless that is 1."""
    version = version_of(type(obj))
    return state if version == 1 else VersionedState(version, state)


def split_state(state: Any) -> tuple[int, Any]:
    """Return the version and the bare state of a result of `versioned`."""
    if type(state) is VersionedState:
        return state.version, state.state
    return 1, state


class Late(NamedTuple):
    """An instance of a typed class that gets its state when everything is loaded.

    Attributes:
        obj: the instance.
        state: the argument of its ``__setstate__``.
        made: the callable that created it, and its arguments; () for a durable one.
        setter: the function that postponed it.
        given: the argument of that function.
        has_items: the items of a container are not part of `given`.
    """

    obj: Any
    state: Any
    made: tuple[Any, ...] = ()
    setter: Any = None
    given: Any = None
    has_items: bool = False


class Restoration:
    """The state of one load: a TAP and the journals after it.

    Pass the same one to `load_graph` and to `StateLoader`, then call `finish`.

    Attributes:
        definitions: typed functions and classes created so far, and the cells of such
            functions, by key, so that a journal's state finds those of the TAP.
        cell_keys: the keys of those cells, by id; `definitions` keeps the ids valid.
        durables: every durable object of the TAP, in the order of the file, and a few
            others. `Jar.adopt` then need not search for them.
        late: instances of typed classes whose ``__setstate__`` waits for `finish`, by id.
        upgraded: the objects that `finish` has upgraded.
        stand_ins: the objects that current classes can't take.
        faults: the failures in the pickle being loaded.
    """

    def __init__(self) -> None:
        self.definitions: dict[bytes, Any] = {}
        self.cell_keys: dict[int, bytes] = {}
        self.durables: list[Any] = []
        self.upgraded: list[Any] = []
        self.late: dict[int, Late] = {}
        self.stand_ins = collecting.Registry()
        self.faults: Faults | None = None
        self._outdated: dict[int, tuple[Any, int]] = {}
        self._versions: dict[type, int] = {}

    def forget(self) -> None:
        """Start over: the graph being loaded was abandoned."""
        self.definitions.clear()
        self.cell_keys.clear()
        self.durables.clear()
        self.late.clear()
        self.stand_ins.clear()
        self._outdated.clear()

    def forget_since(self, count: int) -> None:
        """Remove the definitions added since there were `count`: their attempt was abandoned."""
        while len(self.definitions) > count:
            _key, definition = self.definitions.popitem()
            self.cell_keys.pop(id(definition), None)

    def keep(self, obj: Any, version: int, state: Any, reason: str) -> None:
        """Turn a durable object into a stand-in, since its class can't take its state.

        Raises:
            UpgradeRefused: see `replacement.keep`.
        """
        keeping.keep(obj, version, state, reason)
        self.stand_ins.add(obj)
        self._outdated.pop(id(obj), None)

    def _keep_late(self, late: Late, reason: str) -> None:
        obj = late.obj
        if is_durable_type(type(obj)):
            _obj, version = self._outdated.get(id(obj), (obj, version_of(type(obj))))
            self.keep(obj, version, late.state, reason)
            return
        keeping.keep_plain(
            obj, late.made, late.setter, late.given, reason, has_items=late.has_items
        )
        self.stand_ins.add(obj)

    def note(self, obj: Any, version: int) -> None:
        """Note that the state of `obj` was set and has this version."""
        cls = type(obj)
        now = self._versions.get(cls)
        if now is None:
            now = self._versions[cls] = version_of(cls)
        if now != version and not issubclass(cls, stand_ins.STAND_INS):
            self._outdated[id(obj)] = (obj, version)
        elif self._outdated:
            self._outdated.pop(id(obj), None)

    def finish(self) -> int:
        """Run pending upgrades; return how many objects were upgraded.

        Raises:
            UpgradeRefused: a class lacks an upgrade, its upgrade failed, or the
                state is newer than the class. The graph is unusable then.
        """
        late, self.late = self.late, {}
        for each in late.values():
            try:
                hooks.enter(each.obj)
                _set_late(each)
            except BaseException as error:  # one failure must not cost the other objects
                hooks.check_load(error)
                self._keep_late(each, f"its state can't be set: {stand_ins.reason_of(error)}")
        before = len(self.upgraded)
        # An upgrade may load further outdated objects.
        while self._outdated:
            outdated, self._outdated = self._outdated, {}
            for obj, version in outdated.values():
                _upgrade(obj, version)
                self.upgraded.append(obj)
        return len(self.upgraded) - before


def _set_late(late: Late) -> None:
    obj = late.obj
    if is_durable_type(type(obj)):
        forget_state(obj)  # it was set without ``__setstate__``, in case its hash is needed
    type(obj).__setstate__(obj, late.state)


def _upgrade(obj: Any, version: int) -> None:
    cls = type(obj)
    now = version_of(cls)
    name = type_name_of(cls)
    if version > now:
        raise UpgradeRefused(
            f"upgrading {name}: its saved state has version {version}, the installed code "
            f"has {now}; install the newer code again, or roll back to an older generation"
        )
    for step in range(version + 1, now + 1):
        upgrade = getattr(cls, f"upgrade_to_version_{step}", None)
        if upgrade is None:
            raise UpgradeRefused(
                f"upgrading {name} from version {version} to {now}: it has no "
                f"upgrade_to_version_{step}; add it, or go back to the code that saved this"
            )
        try:
            hooks.enter(obj)
            getattr(obj, f"upgrade_to_version_{step}")()
        except BaseException as error:  # even SystemExit, which would end the server silently
            hooks.check_load(error)
            raise UpgradeRefused(
                f"upgrading {name} from version {version} to {now}: upgrade_to_version_{step} "
                f"failed: {stand_ins.reason_of(error)}{describe_origin(error)}; everything "
                "is as it was: fix the upgrade, or go back to the code that saved this"
            ) from error
