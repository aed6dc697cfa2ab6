"""``tapctl audit``: compare what a kill would restore with a running server's memory."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from tapd.cli.client import calling
from tapd.cli.output import emit
from tapd.cli.progress import Progress
from tapd.cli.taps import JSON, TAP, find_tap


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
    with Progress("auditing"), calling(find_tap(tap)) as call:
        found = call.ask("audit")
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
