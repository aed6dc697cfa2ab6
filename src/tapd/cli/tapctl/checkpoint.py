"""``tapctl checkpoint`` and ``reload``: have a running server save itself."""

from __future__ import annotations

from typing import Any

import click

from tapd.cli.client import call_next, calling
from tapd.cli.output import emit, render_size
from tapd.cli.progress import Progress
from tapd.cli.taps import JSON, TAP, find_tap
from tapd.host.upgrade import name_modules


@click.command(short_help="Have a running server save itself now.")
@TAP
@JSON
def checkpoint(tap: str, as_json: bool) -> None:
    """Have the running server of TAP save itself now, and wait until that is done."""
    with calling(find_tap(tap)) as call:
        report = call.ask("checkpoint")
    emit(as_json, report, lambda: _saved_lines(report))


def _saved_lines(report: dict[str, Any]) -> list[str]:
    saved = (
        f"saved generation {report['generation']}: {render_size(report['size_bytes'])} "
        f"in {report['duration_s']:.2f} s"
    )
    losses = [
        f"not saved: {loss['path']} ({loss['type_name']}): {loss['reason']}"
        for loss in report["losses"]
    ]
    return [saved, *losses]


@click.command("reload", short_help="Have a running server go on with the code installed now.")
@TAP
@JSON
def reload_code(tap: str, as_json: bool) -> None:
    """Save the running server of TAP and have it go on with the code installed now.

    New code is tried first, in another process that loads what was saved. Where that
    fails the old code serves on, and this says why; else it waits until the new code
    serves. Connections are kept. Without new code the server is only saved.
    """
    path = find_tap(tap)
    with Progress("reloading"):
        with calling(path) as call:
            report = call.ask("reload")
            changed: list[str] = report["changed"]
            if changed:
                call.wait_until_ended()
        if changed:
            with call_next(path) as call:
                report["pid"] = call.ask("status")["pid"]

    def lines() -> list[str]:
        told = "no code has changed"
        if changed:
            told = f"process {report['pid']} goes on with new code of {name_modules(changed)}"
        return [*_saved_lines(report), told]

    emit(as_json, report, lines)
