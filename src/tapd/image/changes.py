"""What one commit found, as bytes: from the jar to the journal, and from there to a replay."""

from __future__ import annotations


class Changes:
    """What one commit found.

    Attributes:
        new: number and class of each durable object met for the first time.
        states: number and pickled state of each object that changed.
        deltas: number and pickled delta of containers of which little changed.
    """

    __slots__ = ("deltas", "new", "states")

    def __init__(
        self,
        new: list[tuple[int, bytes]] | None = None,
        states: list[tuple[int, bytes]] | None = None,
        deltas: list[tuple[int, bytes]] | None = None,
    ) -> None:
        self.new = [] if new is None else new
        self.states = [] if states is None else states
        self.deltas = [] if deltas is None else deltas

    def __bool__(self) -> bool:
        return bool(self.new or self.states or self.deltas)
