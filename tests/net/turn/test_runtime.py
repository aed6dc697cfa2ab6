"""An application's runtime is not part of the TAP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tapd.image.pickling.pickler import dump_graph
from tapd.image.tracking.jar import Jar
from tapd.model.access.seal import Sealer
from tapd.model.application import Application, Runtime
from tapd.model.durable.persistent import Persistent
from tapd.net.turn.turn import Turn
from tapd.systemd.vault import Vault


class Keeper(Persistent):
    kept: Any


def names() -> list[str]:
    return ["", *(name for name in vars(Runtime) if not name.startswith("_"))]


@pytest.mark.parametrize("name", names())
def test_a_kept_runtime_is_lost_and_said(name: str) -> None:
    application, jar = Application("a"), Jar()
    with asyncio.Runner() as runner:
        turn = Turn(application, jar, Vault(None), Sealer(b"k" * 32), runner.get_loop())
        keeper = Keeper()
        keeper.kept = getattr(turn.runtime, name) if name else turn.runtime
        losses = [loss.reason for loss in dump_graph(keeper).losses]
        turn.close()
    if name in ("now_s", "sealer"):  # `time.time`; and values
        assert losses == []
    else:
        (reason,) = losses
        assert reason.endswith("it belongs to one process; ask application.runtime for it")
