"""``tapctl show``, ``du`` and ``diff``: inspect and compare TAPs without running their code.

They also read TAPs that another key signed. Secrets are masked unless asked for.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from tapd.cli.output import describe_loss, emit, render_size, table
from tapd.cli.progress import Progress
from tapd.cli.tapctl.generations import choose_entry
from tapd.cli.taps import JSON, TAP, find_tap
from tapd.errors import KeyUnusable
from tapd.inspection.comparison import compare_graphs
from tapd.inspection.graph import Graph, printable, read_first_graph, read_graph
from tapd.store.adoption import find_strangers, is_signed
from tapd.store.key import Key, load_key
from tapd.store.layout import Layout, read_bytes
from tapd.store.names import parse_tap_name
from tapd.store.tapfile import Manifest, Tail, split_tap

_LARGE_BYTES = 8_000_000
_CHANGES_MAX = 1000

_GENERATION = click.option(
    "--generation", "-g", type=int, help="Of this generation, not of the newest good one."
)
_SECRETS = click.option(
    "--secrets", "with_secrets", is_flag=True, help="Show passwords, hashes and tokens, too."
)


def read_unverified(tap: str, generation: int | None) -> tuple[Path, memoryview, Tail, Key]:
    """Read a TAP that need not be signed, since nothing of it is run.

    Returns:
        Path, pickle as stored, the rest of the file, and this host's key. It is the
        generation that a start would load; of a TAP that another key signed, the one
        that a start would load after `tapctl trust`.
    """
    path, key = find_tap(tap), _key_or_new()
    if not parse_tap_name(path.name).generation:
        layout = Layout(path, key)
        entries = layout.generations()
        if generation is not None or not path.is_file():
            path = choose_entry(layout, entries, generation, strangers=True).path
        else:
            newest = next((entry.path for entry in entries if entry.error is None), None)
            newest = newest or _newest_stranger(layout)
            if newest and newest != layout.named_path:
                path = newest
    return path, *split_tap(read_bytes(path), str(path)), key


def _newest_stranger(layout: Layout) -> Path | None:
    newest = find_strangers(layout).newest
    return Path(newest.source) if newest else None


def _key_or_new() -> Key:
    """Return this host's key, or, where there is none, a new one: no signature is its own."""
    try:
        return load_key()
    except KeyUnusable as error:
        click.echo(f"tapctl: {error}", err=True)
        return Key(os.urandom(32))


def graph_of(path: Path, stored: memoryview, tail: Tail) -> Graph:
    """Read the whole graph of a TAP."""
    with Progress(f"reading {render_size(tail.stored_bytes)}"):
        return read_graph(tail.decode_pickle(stored), str(path))


@click.command(short_help="What is in a TAP, as a tree; nothing of it is run.")
@TAP
@JSON
@_GENERATION
@_SECRETS
@click.option(
    "--depth",
    "-d",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="How deep to go.",
)
@click.option(
    "--width",
    "-w",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many parts of one object.",
)
@click.option("--all", "-a", "read_all", is_flag=True, help="Read all of a large TAP (as --json).")
def show(
    tap: str,
    as_json: bool,
    generation: int | None,
    with_secrets: bool,
    depth: int,
    width: int,
    read_all: bool,
) -> None:
    """Show what is in TAP, as a tree with sizes; nothing in it is run.

    Of a large TAP the first objects are shown, at once; --all reads all of it.
    """
    path, stored, tail, key = read_unverified(tap, generation)
    manifest, trusted = tail.manifest, is_signed(tail, key)
    if as_json:
        graph = graph_of(path, stored, tail)
        tree = graph.render_tree(depth_max=depth, children_max=width, with_secrets=with_secrets)
        data = {
            "path": str(path),
            "trusted": trusted,
            "key": tail.key_id,
            "manifest": json.loads(tail.manifest_json),
            "names": graph.names,
            "called": graph.called,
            "tree": [{"depth": at, "line": line, "size_bytes": size} for at, line, size in tree],
        }
        emit(as_json, data, list)
        return
    for line in manifest_lines(path, manifest, tail, trusted=trusted):
        click.echo(line)
    sys.stdout.flush()  # show the first screen before a large graph is read
    first = None
    if tail.pickle_bytes > _LARGE_BYTES and not read_all:
        first = read_first_graph(tail.decode_pickle(stored))
    shown = graph_of(path, stored, tail) if first is None else first
    tree = shown.render_tree(depth_max=depth, children_max=width, with_secrets=with_secrets)
    for at, line, size in tree:
        click.echo(f"{'  ' * at}{line}{_size_note(size)}")
    if first is not None:
        click.echo("\nThese are the first objects; sizes and counts are of what was read of")
        click.echo(f"{render_size(tail.pickle_bytes)}. All of it: --all, or tapctl du")
    if not trusted:
        sys.stdout.flush()
        # A partial list of names would hide what an untrusted TAP calls: read all of it.
        whole = shown if first is None else graph_of(path, stored, tail)
        click.echo("\n" + click.style("loading it would call:", fg="red"))
        for name in whole.called:
            click.echo(f"  {printable(name)}")


def _size_note(size_bytes: int) -> str:
    return click.style(f"  {render_size(size_bytes)}", dim=True) if size_bytes >= 1000 else ""


def manifest_lines(path: Path, manifest: Manifest, tail: Tail, *, trusted: bool) -> list[str]:
    """Return the manifest of a TAP as lines of text."""
    signed = f"key {tail.key_id}" if trusted else f"a stranger's key {tail.key_id}: not trusted"
    ports = ", ".join(str(port.get("address")) for port in manifest.ports) or "none"
    lines = [
        ("file", f"{path} ({render_size(tail.file_bytes)})"),
        ("application", f"{manifest.name}, generation {manifest.generation}"),
        ("saved", f"{manifest.saved_at} by tapd {manifest.tapd}, Python {manifest.python}"),
        ("signed with", signed),
        ("ports", ports),
    ]
    if manifest.python_path:
        lines.append(("code from", ", ".join(map(str, manifest.python_path))))
    lines.append(("lost", str(manifest.loss_count)))
    shown = [f"{name + ':':<13}{printable(value)}" for name, value in lines]
    if not trusted:
        shown[3] = click.style(shown[3], fg="red")
    shown += [f"  {describe_loss(loss)}" for loss in manifest.losses[:20]]
    if manifest.loss_count > 20:
        shown.append(f"  and {manifest.loss_count - 20} more: --json has them")
    if manifest.unfit_count:
        shown.append(f"{'unfit:':<13}{manifest.unfit_count}, kept as they were saved")
        shown += [f"  {describe_loss(loss)}" for loss in manifest.unfit[:20]]
    return [*shown, ""]


@click.command(short_help="Where the bytes of a TAP are.")
@TAP
@JSON
@_GENERATION
@click.option("--types", is_flag=True, help="By type, not by path.")
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many to name.",
)
def du(tap: str, as_json: bool, generation: int | None, types: bool, count: int) -> None:
    """Show where the bytes of TAP are; nothing in it is run."""
    path, stored, tail, _key = read_unverified(tap, generation)
    graph = graph_of(path, stored, tail)
    data: list[dict[str, Any]]
    if types:
        kinds = graph.by_type()[:count]
        data = [{"size_bytes": size, "count": many, "type": name} for size, many, name in kinds]
        rows = [[render_size(size), str(many), name] for size, many, name in kinds]
        emit(as_json, data, lambda: table((">SIZE", ">COUNT", "TYPE"), rows))
        return
    parts = graph.largest(count)
    data = [{"size_bytes": size, "path": where, "type": kind} for size, where, kind in parts]
    rows = [[render_size(size), where, kind] for size, where, kind in parts]
    emit(as_json, data, lambda: table((">SIZE", "PATH", "TYPE"), rows))


@click.command(short_help="What changed between two generations.")
@TAP
@click.argument("old", type=int)
@click.argument("new", type=int, required=False)
@JSON
@_SECRETS
def diff(tap: str, old: int, new: int | None, as_json: bool, with_secrets: bool) -> None:
    """Show what changed from generation OLD to NEW (default: the newest); nothing is run."""
    layout = Layout(find_tap(tap), load_key())
    entries = layout.generations()
    graphs = []
    for generation in (old, new):
        entry = choose_entry(layout, entries, generation)
        with Progress(f"reading generation {entry.generation}"):
            graphs.append(read_graph(layout.read(entry)[0], str(entry.path)))
    changes = list(compare_graphs(*graphs, count_max=_CHANGES_MAX + 1, with_secrets=with_secrets))
    data = [{"path": path, "change": change} for path, change in changes]
    colours = {"+": "green", "-": "red"}

    def lines() -> list[str]:
        told = [
            f"{path}: {click.style(text, fg=colours.get(text[0]))}"
            for path, text in changes[:_CHANGES_MAX]
        ]
        if len(changes) > _CHANGES_MAX:
            told.append(f"... and more than these {_CHANGES_MAX}")
        return told or ["nothing changed"]

    emit(as_json, data, lines)
