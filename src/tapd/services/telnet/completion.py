"""Completion of names by Tab: the host's candidates, laid out for a terminal.

Imported when Tab is first pressed.
"""

from __future__ import annotations

from tapd.host.prompt.completion import complete
from tapd.wire.terminal.keys import cells

__all__ = ["complete", "render_columns"]

_SHOWN_MAX = 200


def render_columns(candidates: list[str], width: int) -> str:
    """Lay out `candidates` in columns, by column, ending with a newline."""
    shown = candidates[:_SHOWN_MAX]
    column = max(sum(map(cells, name)) for name in shown) + 2
    count = max(1, width // column)
    rows = -(-len(shown) // count)
    lines = []
    for row in range(rows):
        line = shown[row::rows]
        padded = [name + " " * (column - sum(map(cells, name))) for name in line]
        lines.append("".join(padded).rstrip())
    if len(candidates) > _SHOWN_MAX:
        lines.append(f"... and {len(candidates) - _SHOWN_MAX} more")
    return "\n".join(lines) + "\n"
