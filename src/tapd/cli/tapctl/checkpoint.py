"""``tapctl checkpoint``, ``reload`` and ``audit``: make a running server save its state.

A reload then switches to new code; an audit compares what a kill would restore with
what is in memory.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from tapd.cli.client import connect_next, connected
from tapd.cli.output import emit, render_size
from tapd.cli.progress import Progress
from tapd.cli.taps import JSON, TAP, find_tap
from tapd.host.upgrade import name_modules


@click.command(short_help="Have a running server save itself now.")
@TAP
@JSON
def checkpoint(tap: str, as_json: bool) -> None:
    """Have the running server of TAP save itself now, and wait until that is done."""
    with connected(find_tap(tap)) as client:
        report = client.ask("checkpoint")
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
        with connected(path) as client:
            report = client.ask("reload")
            changed: list[str] = report["changed"]
            if changed:
                client.wait_until_ended()
        if changed:
            with connect_next(path) as client:
                report["pid"] = client.ask("status")["pid"]

    def lines() -> list[str]:
        told = "no code has changed"
        if changed:
            told = f"process {report['pid']} goes on with new code of {name_modules(changed)}"
        return [*_saved_lines(report), told]

    emit(as_json, report, lines)


@click.command(short_help="Have a running server compare what a kill would restore.")
@TAP
@JSON
def audit(tap: str, as_json: bool) -> None:
    """Save the running server of TAP, and compare what a kill would have restored.

    The state that the generation before and its journal restore is compared with what
    is in memory, all of it, by a child at low priority: the server serves on. What
    differs is named; from the save on, a kill restores what is in memory. Exits with 0
    where there is no difference, with 1 where there is one, and with 75 where the audit
    did not get to its end.
    """
    with Progress("auditing"), connected(find_tap(tap)) as client:
        found = client.ask("audit")
    emit(as_json, found, lambda: _audit_lines(found))
    sys.exit(1 if found["differences"] else os.EX_TEMPFAIL if found["reason"] else 0)


def _audit_lines(found: dict[str, Any]) -> list[str]:
    """Return all that an audit found, as lines of text."""
    lines = [f"audited: {describe_audit(found)}, in {found['duration_s']:.2f} s"]
    for each in found["differences"]:
        lines.append(f"{each['path'] or 'the application'} (in a {each['owner']}):")
        if each["other_path"] is not None:
            restored = "one object, not two" if each["is_one"] else "two objects, not one"
            lines.append(f"  and {each['other_path']}: a kill would have restored {restored}")
        else:
            lines += [f"  in memory     {each['other']}", f"  after a kill  {each['one']}"]
        if each["path"] in found["lasting"]:
            lines.append(f"  generation {found['generation']} has it like that, too")
    return lines


def describe_audit(found: dict[str, Any]) -> str:
    """Return what an audit found, in one line."""
    if not found["objects"] and found["reason"]:
        return f"generation {found['generation']}, nothing compared: {found['reason']}"
    count = len(found["differences"])
    many = "no difference" if not count else f"{count} difference{'s' * (count > 1)}"
    objects = f"{found['objects']:,} object{'s' * (found['objects'] != 1)}"
    if found["parts"] > 1:
        objects += f" (one of {found['parts']} parts, another one each time)"
    text = f"generation {found['generation']}, {objects}, {many}"
    return f"{text}; not all of it: {found['reason']}" if found["reason"] else text
