"""The result of an audit: sent by the child process, logged, shown by `tapctl status`."""

from __future__ import annotations

from typing import Any

from tapd.image.likeness.differences import Difference
from tapd.values import Value


class Audited(Value):
    """What an audit found.

    Attributes:
        generation: that was saved right before it: this is what is compared.
        base: the generation from which a kill would have restored.
        objects: how many were compared.
        parts: 1 where all was compared; else one of so many parts, another one each time.
        differences: what a kill would have restored as something else; the first ones.
        lasting: paths of those that the new generation has as well.
        reason: why it did not get to its end; "" where it did.
        duration_s: how long it took.
        processor_s: the processor's time of that.
        memory_bytes: what it took at most, beyond what the child had.
    """

    generation: int
    base: int
    objects: int = 0
    parts: int = 1
    differences: tuple[Difference, ...] = ()
    lasting: tuple[str, ...] = ()
    reason: str = ""
    duration_s: float = 0.0
    processor_s: float = 0.0
    memory_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return self.as_dict() | {"differences": [each.as_dict() for each in self.differences]}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Audited:
        """Return what `as_json` described."""
        differences = tuple(Difference(**each) for each in fields["differences"])
        return cls(**(fields | {"differences": differences, "lasting": tuple(fields["lasting"])}))

    @property
    def is_whole(self) -> bool:
        """Whether all was compared."""
        return not self.reason
