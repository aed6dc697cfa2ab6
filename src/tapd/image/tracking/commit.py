"""Working state of the jar during one commit."""

from __future__ import annotations

from typing import Any

from tapd.image.loss import Loss
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.polling import Watched


class Looks:
    """What one commit finds out about the watched objects.

    Attributes:
        before: digest and part ids of each dumped object, from before this commit.
        entries: each object to watch from now on, with what is known of it.
        due: the states that must be written.
        unchanged: the objects whose state is the same as before.
        forced: numbers of objects to write even if their state is the same.
    """

    __slots__ = ("before", "due", "entries", "forced", "unchanged")

    def __init__(self) -> None:
        self.before: dict[int, tuple[bytes | None, list[int] | None]] = {}
        self.entries: dict[int, tuple[Any, Watched]] = {}
        self.due: dict[int, bytes] = {}
        self.unchanged: list[tuple[Any, Watched]] = []
        self.forced: set[int] = set()

    def has_other_parts(self, oid: int) -> bool:
        """Whether the set of plain objects that the object holds has changed."""
        entry = self.entries.get(oid)
        return entry is not None and entry[1].part_ids != self.before[oid][1]


class Commit:
    """What one commit gathers.

    Attributes:
        begun: where the delta of a container begins that is marked as unchanged but not
            dumped yet.
        changes: the result.
        losses: the objects that can't be saved.
    """

    __slots__ = ("_looks", "begun", "changes", "losses")

    def __init__(self) -> None:
        self.changes = Changes()
        self.begun: dict[int, Any] = {}
        self.losses: list[Loss] = []
        self._looks: Looks | None = None

    @property
    def has_looks(self) -> bool:
        """Whether any watched object was examined."""
        return self._looks is not None

    @property
    def looks(self) -> Looks:
        """The findings about watched objects; created at the first use."""
        if self._looks is None:
            self._looks = Looks()
        return self._looks
