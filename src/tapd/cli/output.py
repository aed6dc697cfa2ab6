"""Output of commands: tables and colour for people, JSON for programs.

click drops colour where the output is no terminal.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from tapd.inspection.graph import printable


def emit(as_json: bool, data: Any, lines: Callable[[], Sequence[str]]) -> None:
    """Print `data` as JSON, or `lines` for people."""
    if as_json:
        click.echo(json.dumps(data, indent=2, default=str))
    else:
        for line in lines():
            click.echo(line)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return `header` and `rows` in columns; ">" before a name aligns its column right."""
    names = [name.removeprefix(">") for name in header]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if name.startswith(">") else cell.ljust(width)
            for name, cell, width in zip(header, cells, widths, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [click.style(line(names), bold=True), *map(line, rows)]


def describe_loss(loss: Mapping[str, Any]) -> str:
    """Return path, class and reason of an object that was not saved or does not load."""
    return printable(f"{loss.get('path')} ({loss.get('type_name')}): {loss.get('reason')}")


def render_size(size_bytes: float) -> str:
    """Return a size with its unit, such as ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def render_time(saved_at_s: float) -> str:
    """Return a time, given in seconds since the epoch, as local date and time."""
    return dt.datetime.fromtimestamp(saved_at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def render_duration(seconds: float) -> str:
    """Return a duration in one unit, such as ``3 h``."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
