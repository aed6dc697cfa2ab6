"""A table of all calls of authors' code: exceptions, and kills by one or two of them.

Whatever a hook raises costs its own object. A hook that kills costs a few deaths, each of
which finds something out; then it is skipped. The others go on in either case, none of
their lines is lost or run twice, and a kill afterwards finds everything.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator

import poisoned
import pytest
from harness import Harness, Peer
from poisoned import POISON, Killed

from tapd.errors import StartFailed

Serve = Callable[..., Harness]

# What dies here by an exception leaves sockets behind, which the kernel closes for a process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DEATHS_MAX = 8
"""Of one hook that kills; of two, twice as many: none is tried for ever."""


class Unprintable(BaseException):
    """Raises even when it is shown."""

    def __str__(self) -> str:
        raise SystemExit("no text")


class Odd(Exception):
    """Has no attributes for who looks at it."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)


RAISED: list[Callable[[], BaseException]] = [
    ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit,
    StopIteration, RecursionError, MemoryError, Unprintable, Odd,
]  # fmt: skip

PEOPLE = [*(f"c{number}" for number in range(1, 10)), "by"]


class Scene:
    """Some people at a server, one of whom is a bystander."""

    def __init__(self, serve: Serve) -> None:
        self.harness = serve(poisoned.make_application(), strict=False)
        self.peers: dict[str, Peer] = {}
        self.deaths = 0
        self._far: socket.socket | None = None
        for name in PEOPLE:
            self._greet(name)
        self.peers["by"].send(b"timer one\ntimer two\n")
        assert self.peers["by"].read() == b"1\n2\n"
        self.house.next_name = "new"
        self.harness.pump()

    def _greet(self, name: str) -> None:
        self.house.next_name = name
        self.peers[name] = self.harness.connect()
        assert self.peers[name].read() == b"hello\n"

    @property
    def house(self) -> poisoned.House:
        house = self.harness.application.services["house"]
        assert isinstance(house, poisoned.House)
        return house

    # --- what has hooks called ----------------------------------------------------------

    def call_in(self, name: str) -> None:
        self.peers[name] = self.harness.open()

    def do_nothing(self) -> None:
        """The next process calls it by itself."""

    def say(self, name: str, line: str) -> None:
        self.peers[name].sock.sendall(f"{line}\n".encode())

    def end(self, name: str) -> None:
        self.peers[name].sock.shutdown(socket.SHUT_WR)

    def reset(self, name: str) -> None:
        linger = b"\x01\0\0\0\0\0\0\0"
        self.peers[name].sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.peers[name].sock.close()

    def pass_hour(self) -> None:
        self.harness.clock.elapsed_s += 3600

    def connect_far(self) -> None:
        self._far = socket.create_server(("127.0.0.1", 0))
        self.say("by", f"connect 127.0.0.1:{self._far.getsockname()[1]}")

    def lose(self, name: str) -> None:
        """Have the vault lose it, as at a reboot."""
        self.harness.vault.forget(self._key(name))

    def forget_hour(self) -> None:
        self.harness.give_up()
        self.harness.clock.elapsed_s += 3600

    def leave_in_vault(self) -> None:
        """Kill the server when it has accepted one and told nobody."""
        self.peers["new"] = self.harness.open()
        POISON.setdefault("connection_made new", Killed)
        with pytest.raises(Killed):
            self.harness.pump()

    def _key(self, name: str) -> int:
        address = self.peers[name].sock.getsockname()
        return next(
            key
            for key, stream in self.harness.serving.streams.items()
            if stream.sock.getpeername() == address
        )

    # --- what must hold -----------------------------------------------------------------

    def settle(self) -> None:
        """Let the server run until it rests, however often it dies."""
        for _ in range(2 * DEATHS_MAX):
            try:
                if self.harness.process is None:
                    self.harness.start()
                self.harness.pump()
                self.harness.wait_for(lambda: not self.harness.serving.runtime.is_waiting)
                self.harness.pump()
            except Killed:
                self.deaths += 1
                self.harness.give_up()
            else:
                return
        raise AssertionError("it dies for ever")

    def check_bystander(self) -> None:
        """The one whom none of it concerns got all answers, once, and gets more, now and later."""
        bystander = self.peers["by"]
        bystander.sock.setblocking(False)
        answers = bystander.read().split()
        bystander.sock.sendall(b"one more\n")
        answers += self.read_answer(bystander)
        assert [int(each) for each in answers] == sorted({int(each) for each in answers})
        assert int(answers[-1]) == self.house.count
        count = self.house.count
        POISON.clear()
        self.harness.crash()
        assert self.house.count == count
        bystander.sock.sendall(b"and more\n")
        assert [int(each) for each in self.read_answer(bystander)] == [count + 1]

    def read_answer(self, peer: Peer) -> list[bytes]:
        got: list[bytes] = []

        def has_answered() -> bool:
            got.extend(peer.read().split())
            return bool(got)

        self.harness.wait_for(has_answered)
        return got


Table = dict[str, Callable[[Scene], None]]

# Which hooks there are, and what has them called.
RUNNING: Table = {
    "connection_made new": lambda scene: scene.call_in("new"),
    "build_protocol new": lambda scene: scene.call_in("new"),
    "data_received c1": lambda scene: scene.say("c1", "strike"),
    "data_received c2": lambda scene: scene.say("c2", "strike"),
    "eof_received c3": lambda scene: scene.end("c3"),
    "property c4": lambda scene: scene.end("c4"),
    "connection_lost c5": lambda scene: scene.reset("c5"),
    "connection_lost c6": lambda scene: scene.reset("c6"),
    "connection_ended c7": lambda scene: scene.reset("c7"),
    "reduce c8": lambda scene: scene.say("c8", "thing c8"),
    "getstate c9": lambda scene: scene.say("c9", "odd c9"),
    "timer one": lambda scene: scene.pass_hour(),
    "timer two": lambda scene: scene.pass_hour(),
    "connection_made far": lambda scene: scene.connect_far(),
}
AT_THE_START: Table = {
    "connection_lost c1": lambda scene: scene.lose("c1"),
    "connection_lost c2": lambda scene: scene.lose("c2"),
    "connection_resumed c1": Scene.do_nothing,
    "connection_resumed c2": Scene.do_nothing,
    "result c1": Scene.do_nothing,
    "result c2": Scene.do_nothing,
    "second result c1": Scene.do_nothing,
    "reduce c1-resumed": Scene.do_nothing,
    "reduce c2-resumed": Scene.do_nothing,
    "timer one": lambda scene: scene.forget_hour(),
    "timer two": lambda scene: scene.forget_hour(),
    "connection_made new": lambda scene: scene.leave_in_vault(),
}


@pytest.fixture
def scene(serve: Serve) -> Iterator[Scene]:
    POISON.clear()
    yield Scene(serve)
    POISON.clear()


@pytest.mark.parametrize("make", RAISED, ids=lambda make: make.__name__)
@pytest.mark.parametrize("hook", RUNNING)
def test_what_it_raises_costs_its_own_object(
    scene: Scene, hook: str, make: Callable[[], BaseException]
) -> None:
    broken: list[BaseException] = []
    scene.harness.serving.schedule.on_broken = broken.append
    POISON[hook] = make
    RUNNING[hook](scene)
    scene.settle()
    assert not broken
    assert scene.deaths == 0
    for name in {"c1", "c2"} - {hook.split()[1]}:
        scene.say(name, "hello")
        assert scene.read_answer(scene.peers[name])
    scene.check_bystander()


@pytest.mark.parametrize("make", RAISED, ids=lambda make: make.__name__)
@pytest.mark.parametrize("hook", AT_THE_START)
def test_what_it_raises_at_a_start(
    scene: Scene, hook: str, make: Callable[[], BaseException]
) -> None:
    if hook == "connection_made new":
        return  # it is the same call as in the table above
    AT_THE_START[hook](scene)
    scene.harness.give_up()
    POISON[hook] = make
    scene.settle()
    assert scene.deaths == 0
    scene.check_bystander()


@pytest.mark.parametrize(
    "hooks",
    [(hook,) for hook in RUNNING] + list(itertools.combinations(RUNNING, 2)),
    ids=" and ".join,
)
def test_what_kills_is_skipped(
    scene: Scene, hooks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned.deadly(monkeypatch)
    POISON.update(dict.fromkeys(hooks, Killed))
    for hook in hooks:
        RUNNING[hook](scene)
    scene.settle()
    assert 0 < scene.deaths <= DEATHS_MAX * len(hooks)
    scene.check_bystander()


@pytest.mark.parametrize(
    "hooks",
    [(hook,) for hook in AT_THE_START] + list(itertools.combinations(AT_THE_START, 2)),
    ids=" and ".join,
)
def test_what_kills_at_a_start_is_skipped(
    scene: Scene, hooks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned.deadly(monkeypatch)
    for hook in sorted(hooks, key=lambda hook: ("timer" in hook, "new" in hook)):
        if scene.harness.process is not None or "timer" in hook:
            AT_THE_START[hook](scene)
    scene.harness.give_up()
    POISON.update(dict.fromkeys(hooks, Killed))
    scene.settle()
    assert 0 < scene.deaths <= DEATHS_MAX * len(hooks)
    scene.check_bystander()


@pytest.mark.parametrize("hook", ["connection_resumed c2", "connection_lost c1", "timer one"])
def test_who_was_accepted_is_served_after_all_those_deaths(
    scene: Scene, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is not taken for that of a connection that has ended."""
    poisoned.deadly(monkeypatch)
    scene.leave_in_vault()
    POISON.clear()
    POISON[hook] = Killed
    if hook.startswith("connection_lost"):
        AT_THE_START[hook](scene)
    scene.harness.give_up()
    if hook.startswith("timer"):
        AT_THE_START[hook](scene)
    scene.settle()
    assert scene.deaths > 1
    assert scene.peers["new"].read() == b"hello\n"
    scene.say("new", "anything")
    assert scene.read_answer(scene.peers["new"]) == [b"%d" % scene.house.count]
    scene.check_bystander()


def test_a_commit_that_breaks_behind_a_result_ends_the_process(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the result's, and what it had taken is committed by nobody else."""
    scene.harness.start_unclean(2)
    broken: list[BaseException] = []
    scene.harness.serving.schedule.on_broken = broken.append
    commit = scene.harness.jar.commit
    scene.harness.serving.call(lambda: monkeypatch.setattr(scene.harness.jar, "commit", fail))

    def fail() -> None:
        monkeypatch.setattr(scene.harness.jar, "commit", commit)
        raise MemoryError

    with pytest.raises(MemoryError):
        scene.harness.pump()
    assert broken


def test_a_service_whose_start_kills_is_named(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned.deadly(monkeypatch)
    scene.harness.give_up()
    POISON["start second"] = Killed
    with pytest.raises(StartFailed, match="'second' raised AuthorError: its start killed"):
        scene.settle()
    assert 0 < scene.deaths <= DEATHS_MAX
    POISON.clear()
    scene.harness.start()
    scene.check_bystander()
