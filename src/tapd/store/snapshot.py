"""An application as the bytes of a TAP, and back.

Imports `errors`, `model` and the rest of `image`. Here the pickler meets the
file format; what is on the disk is `store`'s business.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tapd
from tapd.errors import TapDamaged, TapdError
from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Loss
from tapd.image.pickling.pickler import detached_finder, dump_graph, load_graph
from tapd.image.unfit import kept_of
from tapd.model.application import Application
from tapd.store.key import Key
from tapd.store.tapfile import Manifest, first_losses, render_tail
from tapd.values import Value

_UNFIT_MAX = 200


class Snapshot(Value):
    """A TAP, ready to be written.

    Attributes:
        chunks: its bytes, in two pieces, so that a large pickle is not copied.
        manifest: what it says of itself.
        losses: what could not be kept.
    """

    chunks: tuple[bytes | memoryview, bytes]
    manifest: Manifest
    losses: tuple[Loss, ...]

    @property
    def size_bytes(self) -> int:
        """The size of the file that it makes."""
        return sum(map(len, self.chunks))


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
        tapd=tapd.__version__,
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
    """Return what the code that runs `application` can't take, and keeps as it was saved."""
    kept = kept_of(application)
    return [] if kept is None else kept.losses()


def load_application(
    pickle: memoryview,
    path: Path,
    restoration: Restoration | None = None,
    python_path: Sequence[str] = (),
) -> Application:
    """Unpickle what was verified; the author's code runs here, and may raise anything.

    Args:
        pickle: the bytes that were verified.
        path: names them in errors.
        restoration: where journals follow: upgrades then wait for its `finish`.
        python_path: of the manifest, which was verified, too: looked into first from
            now on, for as long as this process lives.
    """
    sys.path[:0] = [directory for directory in python_path if directory not in sys.path]
    # The pickle is at the beginning of its bytes and says itself where it ends: no copy.
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
