"""What a save wrote and what a load found: plain values, handed across rooms.

Imports `model` and the rest of `image`.
"""

from __future__ import annotations

from pathlib import Path

from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Loss
from tapd.model.application import Application
from tapd.store.tapfile import Manifest
from tapd.values import Value


class SaveReport(Value):
    """What a save wrote.

    Attributes:
        path: the generation's file (for a clean stop: the shutdown TAP).
        generation: its number.
        size_bytes: of the file.
        losses: what could not be kept.
        duration_s: how long it took, syncing included.
    """

    path: Path
    generation: int
    size_bytes: int
    losses: tuple[Loss, ...]
    duration_s: float


class Loaded(Value):
    """What a load found.

    Attributes:
        application: as it was saved.
        manifest: of the TAP that it came from.
        generation: the TAP's.
        path: of the TAP.
        pickle_bytes: how much was unpickled.
        saved_at: when, in UTC by ISO 8601.
        skipped: newer or named TAPs that could not be loaded, and why.
        restoration: to be handed to the loading of the journals that follow, and
            finished after it; it is finished already where none were said to.
    """

    application: Application
    manifest: Manifest
    generation: int
    path: Path
    pickle_bytes: int
    saved_at: str
    skipped: tuple[tuple[Path, Exception], ...]
    restoration: Restoration
