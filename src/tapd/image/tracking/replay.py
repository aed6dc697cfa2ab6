"""Applies the changes of journal records to a graph loaded from a TAP."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from tapd.errors import UpgradeRefused
from tapd.image import hooks
from tapd.image.bare import set_number
from tapd.image.evolution.stand_ins import reason_of
from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Placeholder, type_name_of
from tapd.image.pickling.pickler import StartOver, StateLoader, StatePickler
from tapd.image.pickling.shared_objects import Shared
from tapd.image.reduction.reducer import has_usual_hash
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar

_log = logging.getLogger(__name__)


class _Joint:
    """A record with the states of several objects."""

    __slots__ = ("data", "oids")

    def __init__(self, oids: tuple[int, ...], data: bytes) -> None:
        self.oids = oids
        self.data = data


def promote(jar: Jar, objects: Iterable[Any]) -> int:
    """Have the next commit give numbers to objects that were plain and are durable now.

    Each load creates them anew from the state of their holder. So before they change, the
    journal must have them by number, and their holder's state with these numbers.

    Returns:
        How many there are.
    """
    unknown = {id(obj): obj for obj in jar.unknown}
    jar.unknown.clear()
    met: list[Any] = []

    def number_of(obj: Any) -> int:
        met.append(obj)
        return 0

    pickler = StatePickler(number_of)
    found: set[int] = set()
    for obj in [*objects, *unknown.values()]:
        met.clear()
        try:
            pickler.dump_object(obj)
        except Exception:  # its state can't be read, so it can't be rewritten either
            _log.debug("%s does not tell its state", type_name_of(type(obj)))
        held = {id(each) for each in met} & unknown.keys()
        if held and id(obj) not in unknown:
            jar.mark_changed(obj)
        found |= held
    return len(found)


class Replay:
    """Applies the changes of journal records to a graph loaded from a TAP.

    Attributes:
        promoted: how many objects were plain when they were saved and are durable now.

    States stay bytes until `finish`: of a hundred states of one object only the last is
    unpickled.
    """

    def __init__(
        self, objects: dict[int, Any], restoration: Restoration, jar: Jar | None = None
    ) -> None:
        """Begin.

        Args:
            objects: the objects of the TAP, by number (from `Jar.adopt`).
            restoration: the one of the TAP; it is finished here.
            jar: the one that adopted the objects; it adopts new ones as well.
        """
        self._objects = objects
        self._jar = jar
        self._restoration = restoration
        self._states: dict[int, bytes | _Joint] = {}
        self._deltas: dict[int, list[bytes]] = {}
        self._met_own_hash = False
        self._is_last_round = False
        self.promoted = 0
        self._loader = StateLoader(self._resolve, restoration)
        self._loader.shared = self._shared

    def _shared(self) -> list[Shared]:
        return [obj for obj in self._objects.values() if type(obj) is Shared]

    def _resolve(self, oid: int) -> Any:
        obj = self._objects.get(oid)
        if type(obj) is Shared:
            obj = obj.it
        if not has_usual_hash(type(obj)):
            self._met_own_hash = True
            self._loader.may_wait = not self._is_last_round
        if obj is None:
            return Placeholder(f"(object {oid})", "durable object", "it could not be loaded")
        return obj

    def apply(self, changes: Changes) -> None:
        """Take in the changes of one record."""
        for oid, class_data in changes.new:
            obj = self._loader.make(class_data)
            set_number(obj, oid)
            self._objects[oid] = obj
        for oid, class_data in changes.classes:
            if oid in self._objects:
                self._loader.change_class(self._objects[oid], class_data)
        for oid, data in changes.states:
            self._states.pop(oid, None)  # re-insert: the dict is in order of the newest state
            self._states[oid] = data
            self._deltas.pop(oid, None)
        for oids, data in changes.joint:
            joint = _Joint(oids, data)
            for oid in oids:
                self._states.pop(oid, None)
                self._states[oid] = joint
                self._deltas.pop(oid, None)
        for oid, data in changes.deltas:
            self._deltas.setdefault(oid, []).append(data)

    def finish(self) -> int:
        """Set all states and run the upgrades of classes that have changed since.

        Objects without references vanish here. Whatever an upgrade changed is marked as
        changed, so that the next commit writes all of it: half of an upgrade in a journal would
        be worse than none.

        Returns:
            How many objects were upgraded.

        Raises:
            UpgradeRefused: a state can't be brought to the version of the installed code.
        """
        loader = self._loader
        while True:
            try:
                self._restore_states()
                break
            except StartOver:  # one more stand-in each time, so this ends
                self._is_last_round = False
        # Deltas after all states: a delta applies to the last full state.
        for oid, deltas in self._deltas.items():
            obj = self._find(oid)
            if obj is not None:
                for data in deltas:
                    loader.apply_delta(obj, data)
        if self._jar is not None:
            # Join before the upgrades: the jar must see what they change.
            touched = self._states.keys() | self._deltas.keys()
            self._jar.join(
                {oid: self._objects[oid] for oid in sorted(touched & self._objects.keys())}
            )
        upgraded = loader.finish()
        if self._jar is not None:
            if self._jar.unknown:
                self.promoted = promote(self._jar, self._objects.values())
            for obj in self._restoration.upgraded:
                self._jar.mark_changed(obj)
        return upgraded

    def _restore_states(self) -> None:
        """Set all states, in an order that gives durable keys their final hash.

        An author's ``__hash__`` reads the object's state, and perhaps the states of others. So
        objects with such a hash come first, and each state that refers to one is set again once
        all are there. Within that the order is the order of the records: a function or class
        typed at a prompt is one object in all of them, and the newest record has its last
        state.
        """
        units: dict[int | _Joint, list[int]] = {}
        for oid, data in self._states.items():
            units.setdefault(data if isinstance(data, _Joint) else oid, []).append(oid)
        records = list(map(tuple, units.values()))
        hashed = [oids for oids in records if not self._has_usual_hash(oids)]
        again = []
        for oids in [*hashed, *(oids for oids in records if self._has_usual_hash(oids))]:
            self._met_own_hash = False
            error = self._restore(oids)
            if self._met_own_hash:
                again.append(oids)
            elif error is not None:
                self._tell_unset(oids, error)
        self._is_last_round = True
        # The reordering may have left a typed definition with an older state: set all again, in
        # order.
        if (hashed or again) and self._restoration.definitions:
            again = records
        for oids in again:
            error = self._restore(oids)
            if error is not None:
                self._tell_unset(oids, error)

    def _has_usual_hash(self, oids: tuple[int, ...]) -> bool:
        return all(has_usual_hash(type(self._objects.get(oid))) for oid in oids)

    def _restore(self, oids: tuple[int, ...]) -> BaseException | None:
        """Set the states of one record; return what the author's code raised, if it did.

        Args:
            oids: of all objects whose last state is in the record.
        """
        found = [(oid, obj) for oid in oids if (obj := self._find(oid)) is not None]
        data = self._states[oids[0]]
        try:
            if isinstance(data, bytes):
                for _oid, obj in found:
                    self._loader.restore(obj, data)
                return None
            states = dict(zip(data.oids, self._loader.load_state(data.data), strict=True))
        except StartOver:
            raise
        except BaseException as error:
            hooks.check_load(error)
            return error
        last = None
        for oid, obj in found:
            try:
                self._loader.restore_loaded(obj, states[oid])
            except StartOver:
                raise
            except BaseException as error:
                hooks.check_load(error)
                last = error
        return last

    def _tell_unset(self, oids: tuple[int, ...], error: BaseException) -> None:
        # The loader handles errors of an author's code; any other error is ours.
        cls = type(self._objects.get(oids[0]))
        raise UpgradeRefused(
            f"loading a {type_name_of(cls)}: its state in the journal can't be set "
            f"({reason_of(error)}); go back to the code that saved it, and report this"
        ) from error

    def _find(self, oid: int) -> Any:
        obj = self._objects.get(oid)
        if obj is None:
            _log.warning("the journal changes object %d, which could not be loaded; left out", oid)
        return obj
