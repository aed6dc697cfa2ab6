"""What the jar gathers while it commits."""

from __future__ import annotations

from typing import Any

from tapd.image.loss import Loss
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.watching import Watched


class Looks:
    """What one commit finds of the objects that are looked at.

    Attributes:
        before: digest and ids of parts of each that was dumped, as they were.
        entries: each that is watched from now on, with what is known of it.
        due: the states of those that have to be written.
        unchanged: those of which the state is as it was.
        forced: numbers of those that have to be written all the same.
    """

    __slots__ = ("before", "due", "entries", "forced", "unchanged")

    def __init__(self) -> None:
        self.before: dict[int, tuple[bytes | None, list[int] | None]] = {}
        self.entries: dict[int, tuple[Any, Watched]] = {}
        self.due: dict[int, bytes] = {}
        self.unchanged: list[tuple[Any, Watched]] = []
        self.forced: set[int] = set()

    def has_other_parts(self, oid: int) -> bool:
        """Whether the object holds other plain objects than it did."""
        entry = self.entries.get(oid)
        return entry is not None and entry[1].part_ids != self.before[oid][1]


class Commit:
    """What one commit gathers.

    Attributes:
        begun: where the deltas begin of those that count as unchanged and were not dumped yet.
        changes: what it will return.
        losses: what can't be kept.
    """

    __slots__ = ("_looks", "begun", "changes", "losses")

    def __init__(self) -> None:
        self.changes = Changes()
        self.begun: dict[int, Any] = {}
        self.losses: list[Loss] = []
        self._looks: Looks | None = None

    @property
    def has_looks(self) -> bool:
        """Whether any object was looked at."""
        return self._looks is not None

    @property
    def looks(self) -> Looks:
        """What was found; made when it is first asked for."""
        if self._looks is None:
            self._looks = Looks()
        return self._looks
