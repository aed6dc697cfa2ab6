"""The changes found by one commit, pickled for the journal."""

from __future__ import annotations


class Changes:
    """What one commit found.

    Attributes:
        new: number and class of each durable object met for the first time.
        states: number and pickled state of each changed object.
        deltas: number and pickled delta of each container that changed only a little.
        classes: number and class of each object whose class was changed, or that is
            written for the first time since it was loaded.
        joint: numbers of objects that share plain ones, and all their states, pickled
            as one tuple.
    """

    __slots__ = ("classes", "deltas", "joint", "new", "states")

    def __init__(
        self,
        new: list[tuple[int, bytes]] | None = None,
        states: list[tuple[int, bytes]] | None = None,
        deltas: list[tuple[int, bytes]] | None = None,
        classes: list[tuple[int, bytes]] | None = None,
        joint: list[tuple[tuple[int, ...], bytes]] | None = None,
    ) -> None:
        self.new = [] if new is None else new
        self.states = [] if states is None else states
        self.deltas = [] if deltas is None else deltas
        self.classes = [] if classes is None else classes
        self.joint = [] if joint is None else joint

    def __bool__(self) -> bool:
        return bool(self.new or self.states or self.deltas or self.classes or self.joint)
