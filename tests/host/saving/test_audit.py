"""An audit restores as after a kill, compares with memory, and has no side effects."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapd import Persistent
from tapd.errors import StateUnwritable, TapMissing
from tapd.host.audited import Audited
from tapd.host.saving import audit as audit_module
from tapd.host.saving.audit import Audit
from tapd.host.saving.audit_part import LiveObjects, PartFile
from tapd.host.saving.checkpoint import Checkpointer
from tapd.image.tracking.jar import Jar
from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.journal.records import render_base, render_turn
from tapd.store.key import Key
from tapd.store.layout import Entry, Layout
from tapd.store.snapshot import SaveReport
from tapd.store.state import State

KEY = Key(bytes(range(32)))


class Room(Persistent):
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Server:
    """An application, restored from generation 1; `commit` tells its journal what changed."""

    def __init__(self, directory: Path, **attributes: Any) -> None:
        self.path = directory / "a.tap"
        application = Application("a")
        application.room = Room(**attributes)
        Store(self.path, KEY).create(application)
        self.state = State(self.path, KEY)
        self.state.store.lock()
        self.restored = self.state.restore()
        self.application = self.restored.application
        self.journal = self.state.open_journal("boot")
        self.checkpointer = Checkpointer(keep_fds=self.state.store.lock_fds)
        self.found: list[Audited | str] = []
        self.is_over = asyncio.Event()

    @property
    def room(self) -> Any:
        """What it is all about."""
        return self.application.room

    def save(self, generation: int) -> SaveReport:
        """Save, in the child."""
        return self.state.save(self.application, generation, clean=False)

    async def checkpoint(self, **options: Any) -> SaveReport:
        """Save and begin an audit."""
        base = self.state.base
        self.journal.close()
        self.journal = self.state.begin_generation()
        self.journal.append(render_base("boot", 0, [], clean=False))
        generation = self.state.generation
        self.is_over = asyncio.Event()
        audit = Audit(self.path, KEY, base, generation, **options)
        report = await self.checkpointer.checkpoint(
            functools.partial(self.save, generation),
            functools.partial(audit.run, self.application),
            self.note,
        )
        self.state.note_saved(report.generation)
        return report

    async def finish(self) -> Audited | str:
        """Wait for what the audit finds."""
        await self.is_over.wait()
        return self.found[-1]

    def note(self, found: Audited | str) -> None:
        """Take in what the audit found."""
        self.found.append(found)
        self.is_over.set()

    def commit(self) -> None:
        """End a turn."""
        changes = self.restored.jar.commit()
        self.journal.append(render_turn([], [], [], changes, []))

    def audited(self, **options: Any) -> Audited:
        """Save and audit; return what that found."""

        async def run() -> Audited | str:
            await self.checkpoint(**options)
            return await self.finish()

        found = asyncio.run(run())
        assert isinstance(found, Audited)
        return found


def paths(found: Audited) -> list[str]:
    return [each.path for each in found.differences]


def test_what_changed_unseen_is_found_and_gone_after_that(tmp_path: Path) -> None:
    server = Server(tmp_path, notes=[1], people=[Plain(points=0)], keys={"a": {1, 2}})
    assert paths(server.audited()) == []
    list.append(server.room.notes, 2)
    server.room.people[0].points = 3
    found = server.audited()
    assert paths(found) == ["room.notes[1]", "room.people[0].points"]
    assert [each.owner for each in found.differences] == ["Room", "Room"]
    assert (found.base, found.generation, found.reason, found.lasting) == (2, 3, "", ())
    assert found.objects > 5
    assert found.memory_bytes >= 0
    assert paths(server.audited()) == []


def test_the_save_is_reported_first_and_never_waits(tmp_path: Path) -> None:
    server = Server(tmp_path, slow=Slow())

    async def run() -> None:
        report = await server.checkpoint()
        assert report.generation == 2
        assert server.checkpointer.is_auditing
        assert server.found == []
        # One at a time: what is saved meanwhile has none of its own.
        saved = await server.checkpointer.checkpoint(functools.partial(server.save, 3))
        assert saved.generation == 3
        assert server.checkpointer.is_auditing
        await server.checkpointer.end_audit()
        assert server.found == ["was given up"]
        assert not server.checkpointer.is_auditing

    started_s = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started_s < Slow.delay_s


class Slow:
    """Its restoring takes an hour."""

    delay_s = 3600.0

    def __setstate__(self, state: Any) -> None:
        if threading.current_thread() is threading.main_thread() and is_child():
            time.sleep(self.delay_s)

    def __getstate__(self) -> Any:
        return {"a": 1}


_OWN = os.getpid()


def is_child() -> bool:
    return os.getpid() != _OWN


def test_an_audit_holds_no_lock(tmp_path: Path) -> None:
    """Its parent's death ends it, but the next process may be faster."""
    server = Server(tmp_path, slow=Slow())

    async def run() -> None:
        await server.checkpoint()
        lock = server.state.store._lock
        assert lock is not None
        # The child lets go of it right after its report: nothing tells when.
        deadline_s = time.monotonic() + 60
        while True:
            lock.release()
            try:
                Store(server.path, KEY).lock(timeout_s=0.05).release()
                break
            except Exception:
                assert time.monotonic() < deadline_s
        await server.checkpointer.end_audit()

    asyncio.run(run())


class Hooked:
    """Does `effect` when it is restored in an audit."""

    effect: Callable[[], object]

    def __init__(self, number: int) -> None:
        self.number = number

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        if is_child():
            Hooked.effect()


def raising(error: BaseException) -> Callable[[], object]:
    def effect() -> None:
        raise error

    return effect


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), ValueError("no")]
)
def test_what_a_hook_raises_costs_its_own_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    server = Server(tmp_path, hooked=Hooked(1), notes=[1])
    monkeypatch.setattr(Hooked, "effect", raising(error), raising=False)
    list.append(server.room.notes, 2)
    found = server.audited()
    assert found.reason == ""
    assert "room.notes[1]" in paths(found), "it costs its own object, at most"


def test_a_hook_that_ends_the_process_costs_the_audit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path, hooked=Hooked(1))
    monkeypatch.setattr(Hooked, "effect", staticmethod(lambda: os._exit(0)), raising=False)

    async def run() -> Audited | str:
        assert (await server.checkpoint()).generation == 2
        return await server.finish()

    assert asyncio.run(run()) == "ended with status 0"


def test_nothing_that_is_restored_has_an_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file written, no socket, no process, no word on the server's own terminal."""
    server = Server(tmp_path, hooked=Hooked(1))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0)
    written = tmp_path / "written"
    there = tmp_path / "there"
    there.write_text("x")

    def effect() -> None:
        print("restored", flush=True)
        os.write(1, b"restored")
        for each in (
            lambda: written.write_text("x"),
            there.unlink,
            lambda: subprocess.run(["touch", written], check=False),
            lambda: os.system(f"touch {written}"),
            lambda: socket.create_connection(listener.getsockname(), timeout=5),
            lambda: os.kill(os.getppid(), 18),
        ):
            try:
                each()
            except PermissionError:
                continue
            os._exit(1)

    monkeypatch.setattr(Hooked, "effect", staticmethod(effect), raising=False)
    assert server.audited().reason == ""
    assert not written.exists()
    assert there.exists()
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()
    assert "restored" not in "".join(capfd.readouterr())


def test_what_a_class_interns_is_no_false_alarm(tmp_path: Path) -> None:
    """It is the same object in both graphs; in the child, and nowhere else, it is set anew."""
    server = Server(tmp_path, interned=Interned("a"), notes=[])
    server.room.interned.value = 5
    found = server.audited()
    assert (found.reason, paths(found)) == ("", [])
    assert server.room.interned.value == 5


class Interned:
    """One for each name in a process."""

    known: dict[str, Any]

    def __new__(cls, name: str) -> Any:
        known = cls.__dict__.get("known")
        if known is None:
            known = {}
            cls.known = known
        return known.setdefault(name, super().__new__(cls))

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0

    def __getnewargs__(self) -> Any:
        return (self.name,)


class Forgetful:
    """Says itself that its cache begins empty, when it is restored."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.cache: dict[str, int] = {}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        self.cache = {}


def test_what_a_class_restores_otherwise_by_intent_is_no_difference(tmp_path: Path) -> None:
    server = Server(tmp_path, it=Forgetful())
    server.room.it.cache["a"] = 1
    assert paths(server.audited()) == []
    server.room.it.kept.append(1)
    assert paths(server.audited()) == ["room.it.kept[0]"]


def test_memory_that_is_used_up_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than was reckoned with: the limit of the process has it fail in the midst."""

    def effect() -> None:
        kept = []
        while True:
            kept.append(bytes(1 << 20))

    server = Server(tmp_path, hooked=Hooked(1))
    monkeypatch.setattr(Hooked, "effect", staticmethod(effect), raising=False)
    found = server.audited(memory_bytes=64 << 20)
    assert found.reason == "there was not enough memory"


def test_too_little_time_is_said(tmp_path: Path) -> None:
    server = Server(tmp_path, notes=[[number] for number in range(20_000)])
    found = server.audited(deadline_s=-1.0)
    assert found.reason == "its time was over"
    assert 0 < found.objects < 20_000


def test_a_generation_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    server = Server(tmp_path)
    assert server.audited().reason == ""
    server.state.store.generation_path(2).unlink()
    assert "generation 2 of a is gone" in server.audited().reason


@pytest.mark.parametrize("parts", [1, 2])
def test_a_journal_that_is_gone_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """Saves in quick succession let go of journals while the audit of the first begins."""
    monkeypatch.setattr(audit_module, "parts_for", lambda _size, _allowed: parts)
    server = Server(tmp_path, a=Room(number=0), b=Room(number=0))
    server.audited()
    server.room.a.number = server.room.b.number = 1
    server.commit()
    server.state.store.journal_path(2).unlink()
    found = server.audited()
    assert paths(found) == []
    assert found.reason == "a later save deleted the journal before it was read"


def test_a_journal_that_goes_while_it_is_opened_is_the_same_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path, number=0)
    gone = tmp_path / "a.d" / "journal-00000007"
    monkeypatch.setattr(Layout, "journal_files", lambda _self: [(1, gone)])
    found = server.audited()
    assert found.reason == "a later save deleted the journal before it was read"


@pytest.mark.parametrize("saves_on", [True, False])
def test_a_base_that_goes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves_on: bool
) -> None:
    """A later save compresses the base between its listing and its reading."""
    server = Server(tmp_path, number=0)
    server.audited()
    list_entries = Layout.entries
    is_gone = False

    def gone(path: Path) -> bytes:
        nonlocal is_gone
        is_gone = True
        raise TapMissing(f"{path}: it is gone")

    def entries(layout: Layout) -> list[Entry]:
        found = list_entries(layout)
        return [found[0].replace(generation=9), *found] if is_gone and saves_on else found

    monkeypatch.setattr("tapd.store.layout.read_bytes", gone)
    monkeypatch.setattr(Layout, "entries", entries)
    found = server.audited()
    assert (found.reason == "a later save deleted the journal before it was read") is saves_on
    assert found.reason


def test_a_save_that_fails_has_no_audit(tmp_path: Path) -> None:
    server = Server(tmp_path)

    def fail() -> SaveReport:
        raise StateUnwritable("the disk is full")

    async def run() -> None:
        with pytest.raises(StateUnwritable):
            await server.checkpointer.checkpoint(fail, lambda: Audited(1, 1), server.found.append)
        assert not server.checkpointer.is_auditing
        assert server.found == []

    asyncio.run(run())


def test_above_the_memory_allowed_a_part_is_audited_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever object a hole is in, it is found within as many generations as there are parts."""
    rooms = {str(number): Room(texts=["a" * 9], people=[Plain(n=1)]) for number in range(50)}
    server = Server(tmp_path, rooms=rooms, beside=[Plain(n=0)] * 2)
    all_objects = server.audited().objects
    monkeypatch.setattr(audit_module, "parts_for", lambda _size, _allowed: 3)
    first = server.audited(memory_bytes=64 << 20)
    assert (first.objects, first.differences) == (0, ())
    assert "64 MiB --audit allows; a part is compared each time from the next" in first.reason
    whole = {f"room.rooms['{number}'].texts[1]" for number in range(50)}
    met: set[str] = set()
    compared = []
    for _ in range(3):
        found = server.audited()
        assert (found.parts, found.reason, paths(found)) == (3, "", [])
        for room in dict.values(server.room.rooms):
            list.append(room.texts, "b")
        monkeypatch.setattr(audit_module, "DIFFERENCES_MAX", 1000)
        found = server.audited()
        assert (found.parts, found.reason, found.lasting) == (3, "", ())
        compared.append(found.objects)
        met |= {re.sub(r"texts\[\d+\]", "texts[1]", path) for path in paths(found)}
    assert met == whole
    assert max(compared) < all_objects
    monkeypatch.undo()
    assert server.audited().parts == 1
    assert not (server.state.store.journal_directory / "audit").exists()


@pytest.mark.parametrize("way", ["state", "joint", "delta", "new", "class"])
def test_a_part_is_brought_up_to_date_by_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    server = Server(
        tmp_path, a=Room(one=1), b=Room(), notes=list(range(50)), keys=dict.fromkeys(range(50))
    )
    monkeypatch.setattr(audit_module, "parts_for", lambda _size, _allowed: 2)
    room = server.room

    def change(number: int) -> None:
        if way == "state":
            room.a.one = room.b.one = number
        elif way == "joint":
            room.a.one = room.b.one = room.a.held = Plain(n=number, to=room)
        elif way == "delta":
            room.notes.append(number)
            room.keys[number + 100] = Room(n=number)
            del room.keys[number]
        elif way == "new":
            room.a.one = Room(held=Room(n=number), beside=Plain(n=[number]))
        else:
            room.a.__class__ = room.b.__class__ = (Other, Room)[number % 2]

    for number in range(4):
        change(number)
        server.commit()
        found = server.audited()
        assert (bool(found.reason), paths(found)) == (number == 0, [])


class Other(Room):
    pass


def test_the_objects_in_memory_are_found_whatever_their_numbers() -> None:
    for first in (0, 10**12):  # numbers are never given twice: most may be gone
        application, jar = Application("a"), Jar()
        jar.last_oid = first
        application.rooms = [Room(n=number) for number in range(9)]
        jar.adopt(application)
        living = LiveObjects(jar)
        found = dict(living.of_part(1, 0))
        assert sorted(found) == list(found)
        assert all(living.get(oid) is obj and obj._p_oid == oid for oid, obj in found.items())
        assert {id(room) for room in application.rooms} < set(map(id, found.values()))
        parts = [dict(living.of_part(3, number)) for number in range(3)]
        assert sum(map(len, parts)) == len(found)
        assert living.get(5 * 10**12) is None


@pytest.mark.parametrize("harm", ["torn", "another key", "a directory"])
def test_a_part_that_can_t_be_used_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Its writer was killed, say, or the disk is full: no such file is taken for a whole one."""
    server = Server(tmp_path, a=Room(one=1), b=Room())
    monkeypatch.setattr(audit_module, "parts_for", lambda _size, _allowed: 2)
    server.audited()
    path = server.state.store.journal_directory / "audit"
    whole = path.read_bytes()
    if harm == "torn":
        path.write_bytes(whole[:-1])
    elif harm == "another key":
        other = PartFile(path, Key(bytes(32)))
        jar = server.restored.jar
        other.write(LiveObjects(jar), jar, server.state.generation, 2)
    else:
        path.unlink()
        path.mkdir()
    assert "from the next generation on" in server.audited().reason
    names = {each.name for each in path.parent.iterdir() if ".tmp-" in each.name}
    assert names == set()
    if harm != "a directory":
        assert server.audited().reason == ""


@pytest.mark.parametrize(
    ("size", "allowed", "parts"),
    [(0, 1, 1), (100, 2400, 1), (100, 2399, 3), (100, 1200, 4), (100, 1, 4800), (100, 0, 4800)],
)
def test_in_how_many_parts(size: int, allowed: int, parts: int) -> None:
    assert audit_module.parts_for(size, allowed) == parts
