"""Bugs that are planted on purpose: the kit finds each, and its message says what to do.

Each server here has one of the mistakes that there are to make. What a test
checks is the text that its author would read.
"""

from __future__ import annotations

import heapq
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from tapd import Application, Persistent, Protocol, Service, TrackedList
from tapd.errors import UntrackedChange
from tapd.testing import Host, KillDifference, LostState, kill_everywhere


class Lines(Protocol):
    """Answers each line with what the service's `answer` makes of it."""

    service: Answering

    def __init__(self) -> None:
        self.half = b""

    def data_received(self, data: bytes) -> None:
        *lines, self.half = (self.half + data).split(b"\n")
        for line in lines:
            self.transport.write(self.service.answer(line, self) + b"\n")


class Answering(Service):
    protocol = Lines

    def answer(self, line: bytes, asker: Lines) -> bytes:
        return line.upper()


def two_lines(host: Host) -> None:
    peer = host.connect(name="alice")
    peer.send_line("one")
    peer.send("t")
    peer.send_line("wo")


def message_of(error: type[BaseException], run: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        run()
    return str(caught.value)


def test_without_a_bug_nothing_is_found() -> None:
    report = kill_everywhere(Answering, two_lines, splits=True)
    assert (report.turns, report.splits) == (4, 1 + 3 + 0 + 2)
    assert report.kills > 4 * report.turns


# --- 1: changes that are not tracked ----------------------------------------------------


class Queue(Answering):
    """A method of the base class changes the list: none of its own is called."""

    def __init__(self) -> None:
        self.rows: list[bytes] = TrackedList()  # as it becomes one, where nobody else has it

    def answer(self, line: bytes, asker: Lines) -> bytes:
        list.append(self.rows, line)
        return self.rows[0]


def test_a_change_past_the_methods_of_a_list() -> None:
    with Host(Queue()) as host:
        text = message_of(UntrackedChange, lambda: host.connect().send_line("one"))
    assert text.startswith(
        "services['queue'].rows[0] was changed where tapd could not see it.\n"
        "  in memory       b'one'\n"
        "  after a kill    missing\n"
    )
    assert "as list.append(rows, x) does" in text


class Heap(Answering):
    """heapq writes into the list by itself."""

    def __init__(self) -> None:
        self.heap: list[bytes] = []

    def answer(self, line: bytes, asker: Lines) -> bytes:
        heapq.heappush(self.heap, line)
        return self.heap[0]


class Note:
    """A plain object, not a durable one."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []


class Member(Persistent):
    def __init__(self, note: Note) -> None:
        self.note = note


class Room(Answering):
    """Members share one plain object."""

    def __init__(self) -> None:
        note = Note()
        self.members = [Member(note), Member(note)]

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.members[0].note.texts.append(line)
        return b" ".join(self.members[1].note.texts)


class Notes(Answering):
    def __init__(self) -> None:
        self.notes = [Note()]

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.notes[0].texts.append(line)
        return b" ".join(self.notes[0].texts)


class Growing(Answering):
    """The first thing that anyone writes: a list of plain instances that grows, and one changes."""

    def __init__(self) -> None:
        self.notes = [Note()]

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.notes.append(Note())
        self.notes[0].texts.append(line)
        return b" ".join(self.notes[0].texts)


class Sly(Answering):
    def __init__(self) -> None:
        self.count = 0

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.__dict__["count"] += 1
        return b"%d" % self.count


@pytest.mark.parametrize("service", [Heap, Room, Notes, Growing, Sly])
def test_what_is_seen_by_construction(service: Any) -> None:
    """Such a change tells nobody, and there is nothing to find all the same."""
    kill_everywhere(service, two_lines)


# --- 2: state that is not in the state ---------------------------------------------------


class VolatileLines(Lines):
    _v_half: bytes

    def data_received(self, data: bytes) -> None:
        *lines, self._v_half = (getattr(self, "_v_half", b"") + data).split(b"\n")
        for line in lines:
            self.transport.write(self.service.answer(line, self) + b"\n")


class Volatile(Answering):
    protocol = VolatileLines


def test_a_buffer_in_a_volatile_attribute() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Volatile, two_lines))
    assert text.startswith("A run that was killed in turn ")
    assert "(the last input was b't' of alice) went on differently than without." in text
    assert (
        "alice got something else:\n"
        "  undisturbed  b'ONE\\nTWO\\n'\n"
        "  killed       b'ONE\\nWO\\n'\n"
        "                      ^ they part at byte 4\n"
    ) in text
    assert "Likely:\n  - VolatileLines._v_half held b't' (at connections[1])" in text


half_lines: dict[int, bytes] = {}


class GlobalLines(Lines):
    def data_received(self, data: bytes) -> None:
        key = self.transport.get_extra_info("key")
        *lines, half_lines[key] = (half_lines.get(key, b"") + data).split(b"\n")
        for line in lines:
            self.transport.write(self.service.answer(line, self) + b"\n")


class Global(Answering):
    protocol = GlobalLines


def test_a_buffer_in_a_module_global() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Global, two_lines))
    assert "killed       b'ONE\\nWO\\n'" in text
    assert (
        f"  - {__name__}.half_lines was {{1: b't'}}, and a new process finds it as the module "
        "makes it"
    ) in text
    assert not half_lines


class Guests(Answering):
    """A list in the class, which all instances share, and which no TAP holds."""

    names: ClassVar[list[bytes]] = []
    numbers = itertools.count(1)

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.names.append(line)
        return b"%d %d" % (next(self.numbers), len(self.names))


def test_state_in_the_class() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Guests, two_lines))
    assert f"{__name__}.Guests.names was [b'one']" in text
    assert f"{__name__}.Guests.numbers was count(2)" in text
    assert Guests.names == []
    assert repr(Guests.numbers) == "count(1)"


class PiecesLines(Lines):
    def data_received(self, data: bytes) -> None:
        self.transport.write(self.service.answer(data.rstrip(b"\n"), self) + b"\n")


class Pieces(Answering):
    protocol = PiecesLines


def whole_lines(host: Host) -> None:
    peer = host.connect()
    peer.send_line("one")
    peer.send_line("two")


def test_a_piece_of_input_taken_for_a_line() -> None:
    kill_everywhere(Pieces, whole_lines)
    text = message_of(KillDifference, lambda: kill_everywhere(Pieces, whole_lines, splits=True))
    assert text.startswith("A run that was sent all its input byte by byte (and not killed at all)")
    assert "data_received takes a piece of input for a whole message" in text


def test_a_kill_in_the_midst_of_every_piece() -> None:
    """The scenario sends whole lines only; the kit cuts them."""
    kill_everywhere(Volatile, whole_lines)
    text = message_of(KillDifference, lambda: kill_everywhere(Volatile, whole_lines, splits=True))
    assert "killed after peer 1 had sent b'o', and before it sent b'ne\\n'" in text
    assert "VolatileLines._v_half held b'o'" in text
    assert "Plan(split=0, split_at=1, kill_between=True)" in text


# --- 3: output that comes again ------------------------------------------------------------


class GreetingLines(Lines):
    def connection_made(self, transport: Any) -> None:
        transport.write(b"welcome\n")

    def connection_resumed(self) -> None:
        self.transport.write(b"welcome\n")


class Greeting(Answering):
    protocol = GreetingLines


def test_a_greeting_when_it_resumes() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Greeting, two_lines))
    assert (
        "Likely:\n"
        "  - b'welcome\\n' came twice: connection_resumed (or a service's start) writes it again. "
        "What a committed turn wrote tapd sends by itself; connection_resumed writes only what is "
        "new"
    ) in text


class ApologyLines(Lines):
    def connection_resumed(self) -> None:
        self.transport.write(b"sorry\n")


class Apology(Answering):
    protocol = ApologyLines


def test_a_peer_told_of_the_kill() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Apology, two_lines))
    assert "b'sorry\\n' is written by connection_resumed" in text


# --- 4: state that is another one in each process -----------------------------------------


class Stamped(Answering):
    def __init__(self) -> None:
        self.seen: dict[bytes, float] = {}

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.seen[line] = time.time()
        return line


def test_the_real_clock_in_the_state() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Stamped, two_lines))
    assert text.startswith("Two runs without any kill differ, so a kill can't be told from chance.")
    assert "services['stamped'].seen[b'one'] is not the same at the end:" in text
    assert "it depends on the clock: time.time() differs each time" in text
    assert "ignore=[\"services['stamped'].seen[b'one']\"]" in text
    kill_everywhere(Stamped, two_lines, ignore=["services*.seen*"])
    each = ["services['stamped'].seen[b'one']", "services['stamped'].seen[b'two']"]
    kill_everywhere(Stamped, two_lines, ignore=each)


class Clocked(Stamped):
    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.seen[line] = self.application.runtime.now_s()
        return line


def test_the_clock_that_the_application_is_given() -> None:
    kill_everywhere(Clocked, two_lines)


class ById(Answering):
    """Asks for an id(), which the next process gives to something else."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.counts[id(asker)] = self.counts.get(id(asker), 0) + 1
        return b"%d" % self.counts[id(asker)]


def test_an_id_in_the_state() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(ById, two_lines))
    assert "services['byid'].counts[" in text
    assert "it depends on id(), on random numbers, uuid4()" in text


def test_an_id_that_only_a_kill_shows() -> None:
    """No id() is given twice in a test, as luck would have it in a short one."""
    text = message_of(
        KillDifference, lambda: kill_everywhere(ById, two_lines, ignore=["services*.counts*"])
    )
    assert "undisturbed  b'1\\n2\\n'" in text
    assert "killed       b'1\\n1\\n'" in text


class Random(Answering):
    def answer(self, line: bytes, asker: Lines) -> bytes:
        return uuid.uuid4().hex.encode()


def test_random_output() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Random, two_lines))
    assert text.startswith("Two runs without any kill differ")
    assert "first run" in text


# --- 5: what can't be saved ------------------------------------------------------------------


class Dialogue(Answering):
    def __init__(self) -> None:
        self.steps: Iterator[bytes] | None = None

    def answer(self, line: bytes, asker: Lines) -> bytes:
        if self.steps is None:
            self.steps = iter(b"%d" % number for number in range(10))
        return next(self.steps)


def test_a_generator_in_the_state() -> None:
    with Host(Dialogue) as host:
        text = message_of(LostState, lambda: host.connect().send_line("one"))
    first, *rest = text.splitlines(keepends=True)
    assert first.startswith("services['dialogue'].steps can't be saved: it is a generator (")
    assert "".join(rest) == (
        "  After a kill there would be a placeholder in its place, and the first use of it would "
        "fail.\n"
        "  Keep where it stands (an index, the items that are left) and make it anew.\n"
        "  If it may be lost: allow_losses=[\"services['dialogue'].steps\"]"
    )


def test_a_loss_that_is_allowed() -> None:
    with Host(Dialogue, allow_losses=["services*.steps"]) as host:
        peer = host.connect()
        peer.send_line("one")
        peer.send_line("two")
        assert peer.read() == b"0\n1\n"
        host.save_and_load()


class SocketKeeper(Answering):
    def answer(self, line: bytes, asker: Lines) -> bytes:
        self.sock = asker.transport.get_extra_info("socket")
        return line


def test_a_socket_in_the_state() -> None:
    with Host(SocketKeeper) as host:
        text = message_of(LostState, lambda: host.connect().send_line("one"))
    assert "services['socketkeeper'].sock can't be saved: it is a socket.socket" in text
    assert "self.transport is there in every callback" in text


def test_a_loss_in_the_application_itself() -> None:
    application = Application("a")
    service = Dialogue()
    service.steps = (b"%d" % number for number in range(3))
    application.add_service(service)
    text = message_of(LostState, lambda: Host(application))
    assert text.startswith("services['dialogue'].steps can't be saved: it is a generator")


# --- 6: timers ------------------------------------------------------------------------------


class Ticking(Answering):
    """Sets its timer in start, which runs in every process."""

    def __init__(self) -> None:
        self.ticks = 0

    def start(self) -> None:
        self.application.call_later(10, self.tick)

    def tick(self) -> None:
        self.ticks += 1


def test_a_timer_set_at_each_start() -> None:
    text = message_of(KillDifference, lambda: kill_everywhere(Ticking, two_lines))
    assert "delayeds[2] is not the same at the end:" in text or "delayeds[3]" in text
    assert "undisturbed  missing" in text
    assert "Timer(" in text
    assert "Ticking.tick" in text
    assert (
        "  - a timer is set again at each start: timers outlive a kill, while connection_resumed "
        "and a service's start() run in every new process"
    ) in text


class TickingOnce(Ticking):
    is_set = False

    def start(self) -> None:
        if not self.is_set:
            self.is_set = True
            super().start()


def test_a_timer_set_once() -> None:
    def wait(host: Host) -> None:
        two_lines(host)
        host.clock.advance(11)
        host.connect()

    kill_everywhere(TickingOnce, wait)
