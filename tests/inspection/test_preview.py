"""The first objects of a large TAP: shown at once, certain as far as they go, and harmless."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tapd.image.pickling.pickler import dump_graph
from tapd.image.tracking.jar import Jar
from tapd.inspection.graph import read_first_graph, read_graph
from tapd.inspection.preview import read_beginning
from tapd.model.application import Application
from tapd.model.durable.tracked import TrackedDict, TrackedList
from tapd.model.service import Service

READ = 200_000


def application_of(data: Any) -> Application:
    application = Application("large")
    application.add_service(Service(), "data").data = data
    jar = Jar()
    jar.adopt(application)
    return application


def lines_of(data: bytes) -> list[str]:
    graph = read_first_graph(data, READ)
    assert graph is not None
    return [line for _at, line, _size in graph.render_tree(depth_max=4, children_max=20)]


def test_the_first_objects_of_a_large_graph_are_shown() -> None:
    rows = TrackedList((number, str(number), [number], None) for number in range(40_000))
    lines = lines_of(dump_graph(application_of(rows)).data)
    assert lines[0].startswith("application: tapd.model.application:Application of ")
    assert ".name = 'large'" in lines
    listed = next(line for line in lines if line.startswith(".data: "))
    assert listed.startswith(".data: tapd.model.durable.tracked:TrackedList of ")
    assert listed.endswith("000 or more")
    assert any(line.startswith("... at least ") for line in lines)


def test_what_was_not_read_is_said_to_be_so() -> None:
    rows: list[Any] = TrackedList()
    rows += [TrackedDict(number=number) for number in range(30_000)]
    data = dump_graph(application_of(rows)).data
    graph = read_first_graph(data, READ)
    assert graph is not None
    # With the whole list of rows read, most of the rows themselves are not.
    lines = [line for _at, line, _size in graph.render_tree(depth_max=4, children_max=10**6)]
    unread = [line for line in lines if line.endswith("TrackedDict, not read")]
    assert len(unread) > 1000
    assert not [line for line in tree_of(read_graph(data, "t")) if "not read" in line]


def tree_of(graph: Any) -> list[str]:
    return [line for _at, line, _size in graph.render_tree(depth_max=4, children_max=10**6)]


@pytest.mark.parametrize("data", [b"", b"junk", b"\x80\x05]" + b"]a" * 10, b"(" * 300_000])
def test_what_is_of_no_taps_shape_is_left_to_the_whole_reading(data: bytes) -> None:
    assert read_first_graph(data, READ) is None


def test_a_small_tap_is_read_as_a_whole() -> None:
    assert read_first_graph(dump_graph(application_of([1, 2])).data) is None


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=5)
        | st.tuples(inner, inner, inner, inner)
        | st.lists(inner, max_size=5).map(TrackedList)
    ),
    max_leaves=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(values, min_size=3), st.data())
def test_what_is_shown_of_a_beginning_is_so_in_the_whole(data: list[Any], draw: Any) -> None:
    dumped = dump_graph(application_of(TrackedList(data))).data
    # Without frames it can be cut anywhere.
    unframed = bytearray(dumped)
    if unframed[2:3] == b"\x95" and int.from_bytes(unframed[3:11], "little") == len(dumped) - 11:
        del unframed[2:11]
    preview = read_beginning(
        bytes(unframed), draw.draw(st.integers(len(unframed) // 2, len(unframed) - 2))
    )
    assume(preview is not None)
    assert preview is not None
    whole = read_graph(dumped, "t").root
    agree(preview.root, whole, preview.cut, set())


def agree(part: Any, whole: Any, cut: int, seen: set[int]) -> None:
    """Check that `part` is `whole`, but for what was not read."""
    if id(part) in seen:
        return
    if not hasattr(part, "state"):
        assert type(part) is type(whole)
        if isinstance(part, list | tuple):
            assert len(part) == len(whole)
            for one, other in zip(part, whole, strict=True):
                agree(one, other, cut, seen)
        elif isinstance(part, dict):
            assert part.keys() == whole.keys()
            for key in part:
                agree(part[key], whole[key], cut, seen)
        elif not isinstance(part, type):
            assert part == whole
        return
    seen.add(id(part))
    assert type(part).reference == type(whole).reference
    if part.state is None or type(part.state) is not type(whole.state):
        assert part.state is None
    elif id(part) == cut:
        pairs = zip(part.state, whole.state, strict=False)  # the beginning of it
        for one, other in pairs:
            agree(one, other, cut, seen)
            if isinstance(part.state, dict):
                agree(part.state[one], whole.state[other], cut, seen)
    else:
        agree(part.state, whole.state, cut, seen)


def hostile(proof: Path) -> list[bytes]:
    """Return pickles of a TAP's shape that would run a command while they load, and never end."""
    command = f"S'touch {proof}'\n".encode()
    calls = [
        b"cos\nsystem\n(" + command + b"tR",
        b"(" + command + b"ios\nsystem\n",
        b"(cos\nsystem\n" + command + b"o",
        b"ctapd.image.names\nnamed\n(S'os'\nS'system'\ntR(" + command + b"tR",
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(" + command + b"tR",
        b"cos\nsystem\n)\x81(dS'__class__'\ncos\nsystem\nsb",
        b"cos\nsystem\n)\x81(N(dS'__setstate__'\ncos\nsystem\nstb",
        b"ccopyreg\n_reconstructor\n(cos\nsystem\ncbuiltins\nobject\nNtR",
        b"(dS'x'\ncos\nsystem\nsQ",
    ]
    head = (
        b"\x80\x05ctapd.image.rebuild\nfinish_graph\nctapd\nApplication\n)\x81cbuiltins\nlist\n)R("
    )
    triple = b"ctapd\nRoom\n)\x81N}"
    return [head + triple * 3 + call + b"N}" + triple * 20_000 for call in calls]


def test_nothing_of_a_hostile_tap_runs(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    modules = set(sys.modules)
    shown = 0
    for data in hostile(proof):
        graph = read_first_graph(data, READ)
        if graph is not None:
            shown += 1
            assert all(line.isprintable() for line in tree_of(graph))
    assert shown >= 6
    assert not proof.exists()
    assert set(sys.modules) == modules


def test_a_damaged_beginning_is_shown_or_left_never_a_crash() -> None:
    rows = TrackedList((number, str(number), [number], None) for number in range(20_000))
    data = dump_graph(application_of(rows)).data
    chosen = random.Random(7)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[chosen.randrange(900)] = chosen.randrange(256)
        preview = read_beginning(bytes(damaged), 3000)
        assert preview is None or preview.root is not None


def test_a_long_text_at_the_beginning_hides_nothing() -> None:
    application = application_of(TrackedList(TrackedDict(n=n) for n in range(30_000)))
    application.big = b"x" * 20_000_000
    lines = lines_of(dump_graph(application).data)
    assert any(line.startswith(".data: ") for line in lines)


def test_what_follows_the_beginning_is_not_looked_at() -> None:
    """However much follows: so the first screen takes no longer for a larger TAP."""
    rows = TrackedList((number, str(number), [number], None) for number in range(40_000))
    data = dump_graph(application_of(rows)).data
    assert len(data) > 3 * READ
    assert lines_of(data[: 2 * READ] + b"junk" * 1000) == lines_of(data)
