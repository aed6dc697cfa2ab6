"""Looking inside: everything is shown, nothing is run."""

from __future__ import annotations

import collections
import datetime as dt
import os
import pickle
import random
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.errors import TapDamaged
from tapd.image.pickling.pickler import dump_graph
from tapd.image.tracking.jar import Jar
from tapd.inspection.comparison import compare_graphs
from tapd.inspection.graph import Graph, printable, read_first_graph, read_graph
from tapd.inspection.stubs import StubType
from tapd.model.application import Application
from tapd.model.durable.namespace import Namespace
from tapd.model.service import Service


def make_application() -> Application:
    application = Application("telnet")
    application.listen("127.0.0.1:4040", Service())
    application.space = Namespace()
    application.space.names.update(
        {
            "x": [1, {"k": (2, 3)}],
            "when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
            "big": "y" * 50_000,
        }
    )
    return application


def graph_of(obj: object) -> Graph:
    return read_graph(dump_graph(obj).data, "t.tap")


def tree(graph: Graph, depth: int = 9) -> list[str]:
    return [
        f"{'  ' * at}{line}"
        for at, line, _size in graph.render_tree(depth_max=depth, children_max=50)
    ]


def test_an_application_is_shown_by_its_own_names() -> None:
    lines = tree(graph_of(make_application()))
    assert lines[0].startswith("application: tapd.model.application:Application of ")
    assert "  .name = 'telnet'" in lines
    assert "    ['service']: tapd.model.service:Service of 2" in lines
    assert "      .application: tapd.model.application:Application, see application" in lines
    assert "    ['x']: list of 2" in lines
    assert "      [1]: dict of 1" in lines
    assert "          [0] = 2" in lines
    assert any("yyy'... (50000 long)" in line for line in lines)
    assert [line.strip() for line in lines if ".host" in line or ".port =" in line] == [
        ".host = '127.0.0.1'",
        ".port = 4040",
    ]


def test_what_was_lost_is_shown_with_the_reason() -> None:
    application = make_application()
    application.space.names["stream"] = sys.stdout.buffer
    assert any("['stream']: lost " in line for line in tree(graph_of(application)))


def test_typed_classes_and_their_instances_are_shown() -> None:
    application = make_application()
    application.space.names["__name__"] = "__main__"
    exec("class C:\n    limit = 5\nc = C()\nc.x = 17", application.space.names)
    lines = tree(graph_of(application))
    assert any("['C']: typed class " in line and line.endswith("C") for line in lines)
    assert any("['c']: " in line and "C of 1" in line for line in lines)
    assert any(".x = 17" in line for line in lines)


class Bomb:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def hostile_pickles(proof: Path) -> list[bytes]:
    command = f"touch {proof}"
    nested = f"cos\nsystem\n(S'{command}'\ntR.".encode()
    return [
        pickle.dumps(Bomb(os.system, command), 5),
        pickle.dumps({"a": [Bomb(os.system, command)]}, 2),
        pickle.dumps(Bomb(exec, f"open({str(proof)!r}, 'w')"), 4),
        nested,
        f"(S'{command}'\nios\nsystem\n.".encode(),  # INST
        f"(cos\nsystem\nS'{command}'\no.".encode(),  # OBJ
        # Our own finder of names, called to find something else.
        f"ctapd.image.names\nnamed\n(S'os'\nS'system'\ntR(S'{command}'\ntR.".encode(),
        # A stub's class is given attributes, then used.
        f"cos\nsystem\n(dS'__new__'\ncos\nsystem\nsb(S'{command}'\ntR.".encode(),
        f"cfunctools\npartial\n(cos\nsystem\nS'{command}'\ntR(tR.".encode(),
        f"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'{command}'\ntR.".encode(),
        f"ctapd.image.names\nnamed\n(dS'_find'\ncos\nsystem\nsb(S'{command}'\ntR.".encode(),
    ]


def test_a_hostile_pickle_is_read_and_nothing_of_it_runs(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    modules = set(sys.modules)
    shown = 0
    for data in hostile_pickles(proof):
        try:
            graph = read_graph(data, "t.tap")
        except TapDamaged:
            continue
        shown += 1
        assert graph.called
        tree(graph)
        graph.largest(5)
        graph.by_type()
    assert shown >= 8
    assert not proof.exists()
    assert set(sys.modules) == modules
    pickle.loads(hostile_pickles(proof)[0])  # they are what they claim to be
    assert proof.exists()


def test_every_value_that_is_read_is_a_stub_or_plain_data() -> None:
    class_names = ["os:system", "builtins:eval", "tapd.store.key:Key", "no.such:thing"]
    for name in class_names:
        module, _, qualname = name.partition(":")
        graph = read_graph(f"c{module}\n{qualname}\n.".encode(), "t")
        assert type(graph.root) is StubType
        assert graph.names == (name,)


@pytest.mark.parametrize("data", [b"", b".", b"junk", b"\x80\x05", b"\x80\xff.", b"(" * 10 + b"."])
def test_what_is_no_pickle_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(TapDamaged, match=r"t\.tap: its pickle can't be read"):
        read_graph(data, "t.tap")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05Nr\xff\xff\xff\x0f.",
        b"\x80\x05Np268435455\n.",
        b"\x80\x05\x96" + (1 << 32).to_bytes(8, "little") + b".",
    ],
    ids=["LONG_BINPUT", "PUT", "BYTEARRAY8"],
)
def test_a_few_bytes_can_not_have_all_memory(data: bytes) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(TapDamaged):
        read_graph(data, "t")
    assert read_first_graph(data) is None
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 1 << 20


def test_a_damaged_pickle_is_an_error_or_a_graph_never_a_crash() -> None:
    data = dump_graph(make_application()).data
    chosen = random.Random(7)
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[chosen.randrange(900)] = chosen.randrange(256)
        try:
            graph = read_graph(bytes(damaged), "t")
            tree(graph)
            graph.largest(3)
        except TapDamaged:
            pass


def test_the_text_of_a_stranger_cannot_drive_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
    for obj in (evil, [evil], {evil: evil}, {evil: [evil]}, {(evil,): [evil]}):
        for line in tree(read_graph(pickle.dumps(obj), "t")):
            assert line.isprintable()
    class_line = tree(read_graph(b"c\x1b[31mevil\nna\x07me\n.", "t"))
    assert all(line.isprintable() for line in class_line)
    assert printable("grün 中\x1b") == "grün 中\\x1b"


def test_cycles_and_shared_parts_are_shown_once() -> None:
    shared = ["shared" * 100]
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    graph = read_graph(pickle.dumps(loop), "t")
    lines = tree(graph)
    assert "  [1]: list, see application[0]" in lines
    assert "  [2]: list, see application" in lines
    assert len(graph) == 2


def test_a_chain_of_a_hundred_thousand_objects_is_walked() -> None:
    parts = b"\x80\x05" + b"]" * 100_000 + b"a" * 99_999 + b"."
    graph = read_graph(parts, "t")
    assert len(graph) == 100_000
    assert len(tree(graph, depth=3)) == 4
    paths = [path for _size, path, _kind in graph.largest(20)]
    assert paths[0].startswith("application[0][0]")
    assert max(map(len, paths)) < 300  # not as long as the chain
    assert paths[-1].endswith(" more)... " + "[0]" * 30)


def test_sizes_add_up_to_about_the_size_of_the_pickle() -> None:
    for obj in (
        make_application(),
        {f"key {number}": [number, str(number) * 9, 1.5] for number in range(2000)},
        [b"z" * 1000 for _ in range(100)],
    ):
        data = dump_graph(obj).data
        graph = read_graph(data, "t")
        assert 0.6 < graph.size_bytes(graph.root) / len(data) < 1.5


def test_du_names_where_the_bytes_are() -> None:
    application = make_application()
    application.space.names["cache"] = {"page": [bytes(200_000)]}
    graph = graph_of(application)
    size, path, kind = graph.largest(3)[1]
    assert (path, kind) == ("application.space['cache']['page']", "list")
    assert 200_000 <= size < 210_000
    assert graph.by_type()[0][2] == "list"
    assert sum(size for size, _count, _name in graph.by_type()) == graph.size_bytes(graph.root)


def test_the_widest_object_names_its_largest_parts() -> None:
    obj = {number: [b"x" * number] for number in range(100)}
    graph = read_graph(pickle.dumps(obj), "t")
    lines = [line for _at, line, _size in graph.render_tree(depth_max=1, children_max=3)]
    assert lines[1:] == ["[97]: list of 1", "[98]: list of 1", "[99]: list of 1", "... 97 more"]


def test_differences_are_named_by_path() -> None:
    application = make_application()
    old = graph_of(application)
    application.space.names["x"][1]["k"] = (2, 4, 5)
    application.space.names["new"] = {"a": 1}
    del application.space.names["when"]
    application.last_key = 9
    changes = dict(compare_graphs(old, graph_of(application)))
    assert changes == {
        "application.last_key": "0 -> 9",
        "application.space['when']": "- call of datetime:datetime",
        "application.space['new']": "+ dict of 1",
        "application.space['x'][1]['k'][1]": "3 -> 4",
        "application.space['x'][1]['k'][2]": "+ 5",
    }
    assert dict(compare_graphs(old, old)) == {}


def test_long_texts_that_differ_at_their_end_differ() -> None:
    old, new = (read_graph(pickle.dumps(["x" * 500 + end]), "t") for end in "ab")
    assert [path for path, _change in compare_graphs(old, new)] == ["application[0]"]


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
    ),
    max_leaves=20,
)


@given(values, values)
def test_equal_graphs_have_no_differences_and_others_have(old: Any, new: Any) -> None:
    graphs = [read_graph(pickle.dumps(obj), "t") for obj in (old, new)]
    found = list(compare_graphs(graphs[0], graphs[1]))
    assert bool(found) == (text_of(old) != text_of(new))
    assert not list(compare_graphs(graphs[0], read_graph(pickle.dumps(old), "t")))


def text_of(obj: Any) -> str:
    """Return a text that tells True from 1, unlike ==, and no order of keys."""
    if isinstance(obj, dict):
        return str(sorted((key, text_of(value)) for key, value in obj.items()))
    if isinstance(obj, list | tuple | collections.deque):
        return f"{type(obj).__name__}{[text_of(value) for value in obj]}"
    return repr(obj)


def test_a_container_that_became_a_tracked_one_has_not_changed() -> None:
    """A TAP that tapd-mktap made holds plain ones; the first save has others."""

    def graph_now() -> Graph:
        return read_graph(dump_graph(root).data, "t")

    root = Application("plain")
    root.lines, root.by, root.raw = [1, [2], {"a": [3]}], {"x": {"y": 1}}, bytearray(b"abc")
    root.tags, root.queue = {"a", "b", ("t", 1)}, collections.deque([1, [2]], 5)
    root.pair = (1, [2])
    made = graph_now()
    jar = Jar()
    jar.adopt(root)
    saved = graph_now()
    assert list(compare_graphs(made, saved)) == []
    root.tags.add("new")
    root.tags.discard(("t", 1))
    root.queue.append(9)
    root.raw.extend(b"d")
    jar.commit()
    expected = {
        "application.tags{'new'}": "+ 'new'",
        "application.tags{('t', 1)}": "- tuple of 2",
        "application.queue[2]": "+ 9",
        "application.raw": "bytearray(b'abc') -> bytearray(b'abcd')",
    }
    for before in (made, saved):
        assert dict(compare_graphs(before, graph_now())) == expected


def test_hostile_containers_are_compared_as_well() -> None:
    """States that no container has."""
    parts = b"".join(
        b"ctapd.model.persistent\nTracked%s\n)\x81%sb" % (name, state)
        for name in (b"List", b"Dict", b"Set", b"Deque", b"Bytearray")
        for state in (b"K\x05", b"K\x05]\x86", b"}")
    )
    graphs = [read_graph(b"\x80\x05(" + parts + end + b"t.", "t") for end in (b"", b"N")]
    assert dict(compare_graphs(*graphs)) == {"application[15]": "+ None"}
