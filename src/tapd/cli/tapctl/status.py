"""``tapctl status``: show the status of a running or stopped server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tapd.cli.client import connect
from tapd.cli.output import describe_loss, emit, render_duration, render_size, render_time
from tapd.cli.tapctl.checkpoint import describe_audit
from tapd.cli.taps import JSON, TAP, find_tap
from tapd.errors import TapMissing
from tapd.host.sleep.file import sleep_fields
from tapd.image.unfit import NAMED_MAX
from tapd.model.address import parse_address
from tapd.store.key import load_key
from tapd.store.layout import Layout

_UNFIT_SHOWN = 5
_STATE_COLOURS = {"running": "green", "stalled": "red"}


@click.command(short_help="How a server is: its saves, its connections.")
@TAP
@JSON
def status(tap: str, as_json: bool) -> None:
    """Show how the server of TAP is: running, asleep or stopped, its saves, its connections."""
    path = find_tap(tap)
    client = connect(path)
    if client is None:
        data = _stopped_data(path)
    else:
        with client:
            data = client.ask("status")
    emit(as_json, data, lambda: _status_lines(data))


def _stopped_data(path: Path) -> dict[str, Any]:
    """Return the status of a server that does not run, from its newest good TAP."""
    layout = Layout(path, load_key())
    good = next((entry for entry in layout.generations() if entry.manifest), None)
    if good is None or good.manifest is None:
        raise TapMissing(f"{path}: there is no good TAP; see tapctl verify")
    manifest = good.manifest
    ports = [str(port["address"]) for port in manifest.ports]
    sleep = sleep_data(layout.journal_directory, ports)
    return {
        "name": layout.name,
        "state": "sleeping" if sleep else "stopped",
        "ports": ports,
        "generation": good.generation,
        "saved_at_s": good.saved_at_s,
        "losses": manifest.loss_count,
        "unfit": [dict(loss) for loss in manifest.unfit[:NAMED_MAX]],
        "unfit_count": manifest.unfit_count,
        "clean": manifest.clean,
        **sleep,
    }


def _status_lines(data: dict[str, Any]) -> list[str]:
    state = click.style(data["state"], fg=_STATE_COLOURS.get(data["state"]), bold=True)
    saved_at_s = data["saved_at_s"]
    ago = render_duration(max(0.0, time.time() - saved_at_s))
    rows = [("ports", ", ".join(data["ports"]) or "none")]
    if asleep_since_s := data.get("asleep_since_s"):
        slept = render_duration(max(0.0, time.time() - asleep_since_s))
        state += f" for {slept} with nothing to do"
        if due_s := data.get("wakes_at_s"):
            rows.append(("wakes", f"{render_time(due_s)}, for a timer; or for a client"))
        else:
            rows.append(("wakes", "for a client"))
    if "pid" in data:
        state += f" for {render_duration(data['uptime_s'])} (process {data['pid']})"
        people = str(data["connections"])
        if data["unprotected"]:
            people += click.style(f", {data['unprotected']} would not outlive it", fg="red")
        many = "record" if data["records_since"] == 1 else "records"
        since = f"{data['records_since']} {many} since, {render_size(data['journal_bytes'])}"
        rows += [("connections", people), ("journal", since)]
    rows.append(
        ("generation", f"{data['generation']}, saved {render_time(saved_at_s)} ({ago} ago)")
    )
    if data.get("clean") is False and data["generation"] > 1:
        rows.append(("", "not after a clean stop: the journal goes on from it"))
    lost = str(data["losses"])
    rows.append(("lost", click.style(lost, fg="red") if data["losses"] else lost))
    if count := data.get("unfit_count"):
        text = f"{count}, kept as saved; tapctl verify --upgrade tells why each does not fit"
        rows.append(("unfit", click.style(text, fg="red")))
        rows += [("", describe_loss(loss)) for loss in data["unfit"][:_UNFIT_SHOWN]]
    if audited := data.get("audited"):
        colour = "red" if audited["differences"] or audited["reason"].startswith("gen") else None
        rows.append(("audited", click.style(describe_audit(audited), fg=colour)))
    if (found := data.get("audit_found")) and found != audited:
        text = f"{describe_audit(found)}, {render_time(found['at_s'])}; see the log"
        rows.append(("", click.style(text, fg="red")))
    if data.get("deaths"):
        text = f"{data['deaths']} in a row, before it had settled; see the log"
        rows.append(("killed", click.style(text, fg="red")))
    if "tapd" in data:
        rows.append(("runs on", f"tapd {data['tapd']}, Python {data['python']}"))
    head = f"{click.style(data['name'], bold=True)}: {state}"
    return [head, *(f"  {name:>11}  {value}" for name, value in rows)]


def sleep_data(directory: Path, ports: Sequence[str]) -> dict[str, float]:
    """Return since when a server sleeps and when its timer wakes it; {} for one that was stopped.

    A server sleeps only while its service manager has its ports open. To close them
    (`systemctl stop`, Ctrl-C) stops the server, and no process of it runs that could note it.

    Args:
        directory: of its journal.
        ports: where it listens, as text.
    """
    fields = sleep_fields(directory)
    if fields and ports:
        from tapd.host.manager.binding import is_open  # noqa: PLC0415 - slow, and few servers sleep

        addresses = [address for port in ports for address in parse_address(port)]
        if not any(map(is_open, addresses)):
            return {}
    return fields
