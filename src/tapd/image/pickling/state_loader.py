"""Loads the states of journal records back into objects; what does not fit becomes a stand-in.

The counterpart of `states`: references to durable objects, and to shared plain ones, are
resolved by number.
"""

from __future__ import annotations

import functools
import io
import logging
import pickle
from collections.abc import Callable, Iterable
from typing import Any

from tapd.errors import NotStorable, UpgradeRefused
from tapd.image import hooks
from tapd.image.bare import (
    attributes_of,
    bare_object,
    builtin_base,
    check_kind,
    object_setattr,
    set_class,
)
from tapd.image.code import definitions
from tapd.image.evolution import names, stand_ins
from tapd.image.evolution import replacement as keeping
from tapd.image.evolution.salvage import Faults, Salvager, unhashable_in
from tapd.image.evolution.versions import Restoration, split_state, state_of, version_of
from tapd.image.pickling.loading import Containers, fast_class, give_up, load_in_rounds
from tapd.image.pickling.shared_objects import Shared, make_shared
from tapd.image.pickling.states import PRELUDE
from tapd.image.reduction.rebuild import give_state, set_plain
from tapd.model.durable.persistent import forget_state, is_durable_type, own_dict
from tapd.model.durable.tracked import TrackedSet

_log = logging.getLogger(__name__)

_REFERENCE = "tapd.image.pickling.states", "durable_reference"  # as in `PRELUDE`


class StartOver(Exception):
    """A shared plain object became a stand-in: its holders must be loaded again."""


class _NameReader(pickle.Unpickler):
    """Reads the name in a class reference; imports nothing."""

    def find_class(self, module_name: str, qualname: str) -> Any:
        if module_name == names.__name__:
            return lambda module, name, *_base: f"{module}:{name}"
        return f"{module_name}:{qualname}"


def _name_in(class_data: bytes) -> str:
    [name] = _NameReader(io.BytesIO(PRELUDE + class_data[2:])).load()
    return str(name)


def _check_plain(cls: Any) -> None:
    """Check that an instance of `cls` may be created bare and given attributes later.

    Raises:
        TypeError: it may not.
    """
    check_kind(cls)
    if not issubclass(type(cls), type) or hasattr(cls, "__setstate__") > is_durable_type(cls):
        raise TypeError("it was a class of plain objects and is none now")
    if base := builtin_base(cls):
        raise TypeError(f"it was no kind of {base} when it was saved")


def _set_plain(obj: Any, state: dict[str, Any]) -> None:
    """Give a plain object exactly these attributes.

    Raises:
        AttributeError: it has no place for one.
    """
    if issubclass(type(obj), names.Broken):
        set_plain(obj, state)
        return
    try:
        attributes = attributes_of(obj)
    except TypeError:
        for name, value in state.items():
            object_setattr(obj, name, value)
    else:
        attributes.clear()
        attributes.update(state)


class _StateUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, resolve: Callable[[int], Any]) -> None:
        super().__init__(io.BytesIO(PRELUDE + data[2:]))
        self._resolve = resolve
        self._containers: Containers | None = None

    def persistent_load(self, pid: Any) -> Any:
        if self._containers is None:
            self._containers = Containers()
        return self._containers(pid)

    def find_class(self, module_name: str, qualname: str) -> Any:
        if qualname == _REFERENCE[1] and module_name == _REFERENCE[0]:
            return self._resolve
        return fast_class(module_name, qualname)


class StateLoader:
    """Loads what a `StatePickler` pickled.

    Attributes:
        may_wait: the last loaded state has keys whose hash needs states that may come
            later; failures are then retried. Set by `resolve`, per state.
    """

    def __init__(
        self, resolve: Callable[[int], Any], restoration: Restoration | None = None
    ) -> None:
        """Begin.

        Args:
            resolve: returns the durable object of a number.
            restoration: the one that `load_graph` was given, if any.
        """
        self._resolve = resolve
        self.restoration = restoration or Restoration()
        self.may_wait = False
        self.shared: Callable[[], Iterable[Shared]] = tuple

    def load_state(self, data: bytes) -> Any:
        """Return one state (or a delta), with stand-ins for what can't be created any more.

        Raises:
            UpgradeRefused: there is no way to keep its contents.
        """
        self.may_wait = False
        restoration = self.restoration
        count = len(restoration.definitions)
        unpickler = _StateUnpickler(data, self._resolve)
        with definitions.restoring(restoration):
            # The C unpickler can't announce its calls.
            if hooks.announce is not None:
                return self._load_by_piece(data, count)
            restoration.stand_ins.is_read_in_c = True
            try:
                return unpickler.load()
            except BaseException as error:
                hooks.check_load(error)
                _log.debug("loading: %s; reading it piece by piece", stand_ins.reason_of(error))
            finally:
                restoration.stand_ins.is_read_in_c = False
            give_up(unpickler)
            # Otherwise a function of this attempt would share its cell with no other.
            restoration.forget_since(count)
            return self._load_by_piece(data, count)

    def _load_by_piece(self, data: bytes, count: int) -> Any:
        """Return one state, loaded by a `Salvager`, whose every step may fail.

        Args:
            data: the pickle.
            count: how many definitions there were before.
        """
        while True:
            loaders: list[Any] = []

            def make(faults: Faults, made: list[Any] = loaders) -> Any:
                made.append(self._salvager(data, faults))
                return made[-1]

            forget = functools.partial(self.restoration.forget_since, count)
            state = load_in_rounds(make, self.restoration, forget, in_c=False)
            # A durable object, or one with a number, was not created here: it must change its
            # class before the state can be loaded again.
            unhashable = loaders[-1].unhashable
            if not unhashable or self.may_wait:
                return state
            for obj in unhashable:
                self._keep_key(obj)

    def _salvager(self, data: bytes, faults: Faults) -> Salvager:
        def find(module_name: str, qualname: str) -> Any:
            if (module_name, qualname) == _REFERENCE:
                return self._resolve
            return names.named(module_name, qualname)

        return Salvager(PRELUDE + data[2:], find, Containers(), faults, self._resolve)

    def load_class(self, data: bytes) -> Any:
        """Return the class that `StatePickler.dump_class` or `class_reference` pickled."""
        return self.load_state(data)

    def make(self, class_data: bytes) -> Any:
        """Return a bare durable object of a pickled class, or a stand-in."""
        cls = self.load_class(class_data)
        if type(cls) is tuple:  # the class of a shared plain object
            return make_shared(self._make_plain(cls[0], class_data))
        if not (issubclass(type(cls), type) and is_durable_type(cls)):
            cls = stand_ins.broken_durable_type_of(cls)
        obj = bare_object(cls)
        if issubclass(cls, stand_ins.STAND_INS):
            self.restoration.stand_ins.add(obj)
        return obj

    def _make_plain(self, cls: Any, class_data: bytes) -> Any:
        """Return a bare plain object, or a stand-in."""
        with definitions.restoring(self.restoration):
            if issubclass(type(cls), type) and issubclass(cls, names.Broken):
                return cls.__new__(cls)
            try:
                _check_plain(cls)
                return bare_object(cls) if is_durable_type(cls) else object.__new__(cls)
            except TypeError as error:
                return self._plain_stand_in(_name_in(class_data), stand_ins.reason_of(error))

    def _plain_stand_in(self, name: str, reason: str) -> Any:
        made = stand_ins.broken_object(name, None, (), {}, called=False)
        made._p_broken["reason"] = reason
        return made

    def replace_plain(self, shared: Shared, reason: str) -> None:
        """Replace a shared plain object by a stand-in.

        Raises:
            StartOver: always: its holders must be loaded again.
        """
        name = ":".join(names.name_of(type(shared.it)) or ("", ""))
        with definitions.restoring(self.restoration):
            own_dict(shared)["it"] = self._plain_stand_in(name, reason)
        raise StartOver(reason)

    def change_class(self, obj: Any, class_data: bytes) -> None:
        """Change the class of `obj` to the pickled one, or to a stand-in for it."""
        cls = self.load_class(class_data)
        if type(cls) is tuple:
            if type(obj.it) is not cls[0]:
                try:
                    _check_plain(cls[0])
                    set_class(obj.it, cls[0])
                except TypeError:
                    own_dict(obj)["it"] = self._make_plain(cls[0], class_data)
            return
        if type(obj) is cls:
            return
        with definitions.restoring(self.restoration):
            keeping.change_class(obj, cls)

    def restore(self, obj: Any, data: bytes) -> None:
        """Set the state of `obj`; an upgrade waits for `finish`."""
        self.restore_loaded(obj, self.load_state(data))

    def restore_loaded(self, obj: Any, versioned_state: Any) -> None:
        """Set the state of `obj` (from `load_state`); if it does not fit, keep it in a stand-in.

        Raises:
            UpgradeRefused: there is no way to keep the state.
        """
        if type(obj) is Shared:
            try:
                _set_plain(obj.it, versioned_state)
            except (TypeError, AttributeError) as error:
                self.replace_plain(obj, f"its state can't be set: {stand_ins.reason_of(error)}")
            return
        version, state = split_state(versioned_state)
        if keeping.revive(obj):  # an earlier state did not fit; this one may
            self.restoration.stand_ins.discard(obj)
        forget_state(obj)  # an author's ``__setstate__`` may only add to it
        try:
            hooks.enter(obj)
            give_state(obj, version, state, self.restoration)
        except BaseException as error:
            hooks.check_load(error)
            # A key's hash may need a state that comes later: `Replay` tries again.
            if self.may_wait:
                raise
            reason = stand_ins.reason_of(error)
            # One bad member costs itself, not the whole set.
            is_set = issubclass(type(obj), TrackedSet) and type(state) is list
            if is_set and (keys := unhashable_in(tuple(state))):
                obj.__setstate__([self._as_key(each, keys, reason) for each in state])
                return
            self.restoration.keep(obj, version, state, f"its state can't be set: {reason}")

    def _as_key(self, obj: Any, unhashable: list[Any], reason: str) -> Any:
        """Return a member of a set; a stand-in for one that can't be hashed any more."""
        if all(obj is not each for each in unhashable):
            return obj
        reason = f"it can't be a key: {reason}"
        if is_durable_type(type(obj)):
            self.keep_as_it_is(obj, reason)
            return obj
        return stand_ins.broken_copy(obj, reason)

    def apply_delta(self, obj: Any, data: bytes) -> None:
        """Apply a delta to `obj`; if that fails, keep the resulting state in a stand-in.

        Raises:
            UpgradeRefused: there is no way to keep it.
        """
        delta = self.load_state(data)
        try:
            hooks.enter(obj)
            obj.apply_delta(delta)
        except BaseException as error:
            hooks.check_load(error)
            self.keep_as_it_is(obj, f"it can't be changed: {stand_ins.reason_of(error)}")
            obj.apply_delta(delta)

    def _keep_key(self, obj: Any) -> None:
        """Turn a durable or shared object into a stand-in, which can be a key."""
        reason = "it can't be a key any more"
        for shared in self.shared():
            if shared.it is obj:
                self.replace_plain(shared, reason)
        if is_durable_type(type(obj)):
            self.keep_as_it_is(obj, reason)
            return
        raise UpgradeRefused(
            f"loading: a {type(obj).__qualname__} can't be a key any more; fix the class, or go "
            "back to the code that saved it"
        )

    def keep_as_it_is(self, obj: Any, reason: str) -> None:
        """Turn `obj` into a stand-in that keeps its current state.

        Raises:
            UpgradeRefused: its state can't be read.
        """
        try:
            state = state_of(obj)
        except BaseException as error:
            raise UpgradeRefused(
                f"loading a {type(obj).__qualname__}: {reason}, and its __getstate__ fails "
                f"({stand_ins.reason_of(error)}); fix the class, or go back to the code that "
                "saved it"
            ) from error
        self.restoration.keep(obj, version_of(type(obj)), state, reason)

    def finish(self) -> int:
        """Run the upgrades that are due; return how many objects were upgraded.

        Raises:
            UpgradeRefused: see `Restoration.finish`.
        """
        return self.restoration.finish()


def load_class(
    data: bytes,
    resolve: Callable[[int], Any] | None = None,
    restoration: Restoration | None = None,
) -> Any:
    """Return the class that `class_reference` pickled; typed classes need `resolve`."""

    def refuse(oid: int) -> Any:
        raise NotStorable(f"a class typed at a prompt needs durable object {oid}: pass resolve")

    return StateLoader(resolve or refuse, restoration).load_class(data)
