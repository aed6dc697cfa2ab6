"""Serialises an application to the bytes of a TAP, and loads it back.

Joins the pickler and the file format. `store.generations` reads and writes the files, and
returns `SaveReport` and `Loaded`.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapd.errors import TapDamaged, TapdError
from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Loss
from tapd.image.pickling.pickler import detached_finder, dump_graph, load_graph
from tapd.image.unfit import kept_of
from tapd.model.application import Application
from tapd.store.key import Key
from tapd.store.tapfile import Manifest, first_losses, render_tail
from tapd.values import Value
from tapd.version import __version__

_UNFIT_MAX = 200


class Snapshot(Value):
    """A TAP, ready to be written.

    Attributes:
        chunks: its bytes, in two pieces, so that a large pickle is not copied.
        manifest: its manifest.
        losses: objects that could not be saved.
    """

    chunks: tuple[bytes | memoryview, bytes]
    manifest: Manifest
    losses: tuple[Loss, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the file that it makes."""
        return sum(map(len, self.chunks))


class SaveReport(Value):
    """The result of a save.

    Attributes:
        path: the generation's file (for a clean stop: the shutdown TAP).
        generation: its number.
        size_bytes: of the file.
        losses: objects that could not be saved.
        duration_s: of the save, including fsync.
    """

    path: Path
    generation: int
    size_bytes: int
    losses: tuple[Loss, ...]
    duration_s: float


class Loaded(Value):
    """The result of a load.

    Attributes:
        application: as it was saved.
        manifest: of the TAP that it came from.
        generation: the TAP's.
        path: of the TAP.
        pickle_bytes: the size of the pickle.
        saved_at: the time of the save, in UTC by ISO 8601.
        skipped: newer or named TAPs that could not be loaded, and the reasons.
        restoration: for the replay of the journals that follow, and to be finished after
            it; already finished where the caller said that none follow.
    """

    application: Application
    manifest: Manifest
    generation: int
    path: Path
    pickle_bytes: int
    saved_at: str
    skipped: tuple[tuple[Path, Exception], ...]
    restoration: Restoration


def take_snapshot(
    application: Application,
    generation: int,
    key: Key,
    *,
    clean: bool = False,
    journal: Mapping[str, Any] | None = None,
) -> Snapshot:
    """Pickle and sign `application`; it must not change meanwhile."""
    dump = dump_graph(application, None if clean else detached_finder(application))
    losses = tuple(dump.losses)
    unfit = kept_in(application)
    manifest = Manifest(
        generation=generation,
        lineage=application.lineage,
        name=application.name,
        saved_at=now_iso(),
        python=sys.version.split()[0],
        tapd=__version__,
        ports=tuple(
            {"address": str(port.address), "service": port.service.name}
            for port in application.ports
        ),
        services=tuple(
            {"name": name, "type": f"{type(service).__module__}:{type(service).__qualname__}"}
            for name, service in application.services.items()
        ),
        python_path=tuple(application.python_path),
        globals=tuple(sorted(dump.globals)),
        unfit=tuple(loss.as_dict() for loss in unfit[:_UNFIT_MAX]),
        unfit_count=len(unfit),
        clean=clean,
        journal=dict(journal or {}),
        **first_losses(loss.as_dict() for loss in losses),
    )
    return Snapshot((dump.data, render_tail(dump.data, manifest, key)), manifest, losses)


def kept_in(application: Application) -> list[Loss]:
    """Return objects that the installed code can't load, and that are kept as they were saved."""
    kept = kept_of(application)
    return [] if kept is None else kept.losses()


def load_application(
    pickle: memoryview,
    path: Path,
    restoration: Restoration | None = None,
    python_path: Sequence[str] = (),
) -> Application:
    """Unpickle verified bytes; authors' code runs here, and may raise anything.

    Args:
        pickle: the bytes that were verified.
        path: names them in errors.
        restoration: where journals follow: upgrades then wait for its `finish`.
        python_path: of the verified manifest; put first on `sys.path` for the rest of this
            process.
    """
    sys.path[:0] = [directory for directory in python_path if directory not in sys.path]
    # The pickle is at the beginning of the bytes and marks its own end: no copy is needed.
    whole = pickle.obj if isinstance(pickle.obj, bytes) else bytes(pickle)
    try:
        application = load_graph(whole, restoration)
    except TapdError:
        raise
    except Exception as error:
        raise TapDamaged(
            f"{path}: can't be loaded ({type(error).__name__}: {error}); check with tapctl verify"
        ) from error
    if not isinstance(application, Application):
        raise TapDamaged(
            f"{path}: holds a {type(application).__name__}, not an Application; make it with"
            " tapd-mktap"
        )
    return application


def now_iso() -> str:
    """Return the time, in UTC by ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
