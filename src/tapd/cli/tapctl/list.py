"""``tapctl list`` and ``history``: list all TAPs, or the generations of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tapd.cli.output import emit, render_time, table
from tapd.cli.tapctl.generations import entry_data, entry_row, verify_all
from tapd.cli.tapctl.status import sleep_data
from tapd.cli.taps import JSON, TAP, find_tap, installed_directories, taps_in
from tapd.store.key import load_key
from tapd.store.layout import Layout
from tapd.store.lock import holder_of


@click.command("list", short_help="The TAPs of a directory, or those installed and here.")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False))
@JSON
def list_taps(directory: str | None, as_json: bool) -> None:
    """List the TAPs of DIRECTORY, or those installed and those here."""
    directories = [Path(directory)] if directory else [*installed_directories(), Path()]
    key = load_key()
    layouts = [Layout(path, key) for place in directories for path in taps_in(place)]
    # Each once: a directory may be listed twice, or lead to another by a symbolic link.
    found = [_tap_data(each) for each in {layout.tap_path: layout for layout in layouts}.values()]
    rows = [
        [
            data["name"], str(data["generation"] or "?"),
            render_time(data["saved_at_s"]) if data["saved_at_s"] else "",
            _state(data), ", ".join(data["ports"]),
            data["error"] or data["path"],
        ]
        for data in found
    ]  # fmt: skip
    header = ("NAME", ">GENERATION", "SAVED", "STATE", "PORTS", "TAP")
    emit(as_json, found, lambda: table(header, rows) if rows else ["no TAPs here"])


def _state(data: dict[str, Any]) -> str:
    if data["running"]:
        return "running"
    if "asleep_since_s" not in data:
        return "stopped"
    due_s = data.get("wakes_at_s")
    return f"sleeping until {render_time(due_s)}" if due_s else "sleeping"


def _tap_data(layout: Layout) -> dict[str, Any]:
    """Return what is listed of one TAP."""
    entries = layout.generations()
    good = next((entry for entry in entries if entry.manifest), None)
    manifest = good.manifest if good else None
    error = entries[0].error if entries and manifest is None else None
    pid = holder_of(layout.journal_directory)
    ports = [str(port["address"]) for port in manifest.ports] if manifest else []
    return {
        "name": layout.name,
        "path": str(layout.tap_path),
        "generation": good.generation if good else None,
        "saved_at": manifest.saved_at if manifest else None,
        "saved_at_s": good.saved_at_s if good else None,
        "ports": ports,
        "running": pid is not None,
        "pid": pid,
        "error": str(error) if error else None,
        **(sleep_data(layout.journal_directory, ports) if pid is None else {}),
    }


@click.command(short_help="The generations of a TAP, newest first.")
@TAP
@JSON
@click.option("--verify", is_flag=True, help="Check every byte of each.")
def history(tap: str, as_json: bool, verify: bool) -> None:
    """List the generations of TAP, newest first."""
    layout = Layout(find_tap(tap), load_key())
    entries = verify_all(layout) if verify else layout.generations()
    emit(
        as_json,
        [entry_data(entry) for entry in entries],
        lambda: table(
            (">GENERATION", "SAVED", ">SIZE", "FILE", "NOTES"),
            [entry_row(entry) for entry in entries],
        ),
    )
