"""A hook that kills each process at load costs its own object, and no other.

Each load is a process of its own, forked, with what a start does to load; it is tried
until one ends.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import json
import os
import signal
import socket
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import deadly_state
import pytest
from by_hand import Server, free_port, wait_for
from evolving import Evolving, evolving
from load_hooks import AT_SAVE, HOOKS, USUAL, fill, lives, with_hook

from tapd.errors import CannotKeep
from tapd.host import load_trial
from tapd.host.load_trial import LoadTrial
from tapd.image import hooks
from tapd.image.evolution.stand_ins import is_stand_in
from tapd.store.generations import Store
from tapd.store.poison import LOADING_NAME, avoiding

DEATHS_MAX = 8
"""Of a hash, which several places ask for; of other hooks it is 4."""
KILLED = 9
DIE = f"__import__('os')._exit({KILLED})"
AT_LOAD = sorted(set(HOOKS) - AT_SAVE - {"__del__"})


@pytest.fixture(scope="module")
def module() -> Iterator[Evolving]:
    with evolving() as made:
        yield made


def load_until_it_ends(directory: Path, load: Callable[[], None], *, stays: bool = False) -> int:
    """Run `load`, each time in a process of its own; return how many were killed.

    Args:
        directory: of the state.
        load: is told of no death.
        stays: what was found out may stay in the file.
    """
    for deaths in range(4 * DEATHS_MAX):
        pid = os.fork()
        if pid == 0:
            try:
                with LoadTrial(directory):
                    load()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != KILLED:
            assert status == 0
            left = directory / LOADING_NAME
            assert not left.exists() or json.loads(left.read_text())["deaths"] == 0
            if not stays:
                left.unlink(missing_ok=True)
            return deaths
    raise AssertionError("it dies for ever")


@pytest.mark.parametrize("base", ["Persistent", "object"])
@pytest.mark.parametrize("hook", AT_LOAD)
def test_what_kills_a_load_is_kept_as_it_was(
    module: Evolving, tmp_path: Path, hook: str, base: str
) -> None:
    for phase, first in lives(module, USUAL.format(base=base)).items():
        module.install(with_hook(base, hook, DIE))

        def load(phase: str = phase, first: object = first) -> None:
            second = module.start(first.tap, first.journal)  # type: ignore[attr-defined]
            root = second.root
            assert (root.before, root.after) == ("before", "after"), phase
            assert root.inside[0] is root.one is root.held.it is root.inside[1]["it"], phase
            assert list(root.keys.values()) == [1, 2], phase
            if is_stand_in(root.one):
                assert [loss.path for loss in second.kept.losses()] == ["root.one"], phase

        assert load_until_it_ends(tmp_path, load) <= DEATHS_MAX, phase


@pytest.mark.parametrize(
    "hooks", list(itertools.combinations(["__setstate__", "__new__", "__hash__", "__setattr__"], 2))
)
def test_two_that_kill_a_load(module: Evolving, tmp_path: Path, hooks: tuple[str, str]) -> None:
    text = USUAL.format(base="Persistent")
    texts = [text.replace("class T", f"class {name}") for name in "TU"]
    module.install("".join(texts))

    def fill_both(root: object) -> None:
        fill(root, module)
        root.other = module.evaluate("U()")  # type: ignore[attr-defined]

    first = module.begin(fill_both, in_journal=False)
    module.install(
        with_hook("Persistent", hooks[0], DIE)
        + with_hook("Persistent", hooks[1], DIE).replace("class T", "class U")
    )

    def load() -> None:
        root = module.start(first.tap, first.journal).root
        assert (root.before, root.after) == ("before", "after")

    assert load_until_it_ends(tmp_path, load) <= 2 * DEATHS_MAX


def test_names_as_long_as_they_like(tmp_path: Path) -> None:
    """What one line has beyond the next one is not read."""

    def load() -> None:
        for size in (600, 10, 300):
            hooks.enter("\u20ac" * size)
        try:
            hooks.enter("deadly")
        except CannotKeep:
            return
        os._exit(KILLED)

    assert load_until_it_ends(tmp_path, load, stays=True) == 4


def test_what_was_found_out_is_known_until_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "deadly_module.py"
    module.write_text("class Deadly: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    deadly = importlib.import_module("deadly_module").Deadly()

    def load() -> None:
        try:
            hooks.enter(deadly)
        except CannotKeep:
            return
        os._exit(KILLED)

    assert load_until_it_ends(tmp_path, load, stays=True) == 4
    assert load_until_it_ends(tmp_path, load, stays=True) == 0
    with avoiding(tmp_path), pytest.raises(CannotKeep):
        hooks.enter(deadly)
    os.utime(module, ns=(1, 1))
    with avoiding(tmp_path):
        hooks.enter(deadly)
    assert load_until_it_ends(tmp_path, load, stays=True) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", [".", "not there"])
def test_a_stop_is_no_death(tmp_path: Path, number: int, place: str) -> None:
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            with LoadTrial(tmp_path / place):  # not there: as with a file that can't be opened
                signal.raise_signal(number)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -number
        assert not (tmp_path / LOADING_NAME).exists()


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"deaths": 1}', b"\xff" * 100])
def test_a_file_that_makes_no_sense(tmp_path: Path, left: bytes) -> None:
    (tmp_path / LOADING_NAME).write_bytes(left)
    with LoadTrial(tmp_path) as trial:
        assert trial.deaths == 1


def test_loads_that_are_killed_from_outside(tmp_path: Path) -> None:
    """At another place each time: nothing is skipped."""
    for number in range(1, 20):
        pid = os.fork()
        if pid == 0:
            with LoadTrial(tmp_path):
                for step in range(number):
                    hooks.enter(f"step {step}")
                os._exit(KILLED)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED
    with LoadTrial(tmp_path) as trial:
        assert trial.deaths == 19
        for step in range(20):
            hooks.enter(f"step {step}")


def killed_load(directory: Path, steps: int, last: Callable[[], object]) -> None:
    """Have a load be killed at the last of its steps, unless a copy of it tries that."""
    first = os.getpid()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(CannotKeep), LoadTrial(directory):
            for step in range(steps):
                hooks.enter(f"step {step}")
            if os.getppid() == first:
                os._exit(KILLED)
            last()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == KILLED


def test_loads_that_are_killed_from_outside_at_one_place(tmp_path: Path) -> None:
    """A storm may have the rhythm of the starts: what a copy survives is not to blame."""
    for _ in range(8):
        killed_load(tmp_path, 3, lambda: hooks.enter("step 3"))
    for _ in range(8):
        killed_load(tmp_path, 4, lambda: None)  # which was the last
    with LoadTrial(tmp_path) as trial:
        assert trial.deaths == 16
        for step in range(5):
            hooks.enter(f"step {step}")
    assert not (tmp_path / LOADING_NAME).exists()


@pytest.mark.parametrize(
    "ends",
    [
        signal.pause,  # a hang
        lambda: os._exit(0),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: os.killpg(0, signal.SIGKILL),
        lambda: (subprocess.Popen(["sleep", "60"], close_fds=False), os._exit(1)),
    ],
)
def test_what_kills_its_copy_is_not_called(
    tmp_path: Path, ends: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_trial, "HANGS_S", 0.3)
    for _ in range(4):
        killed_load(tmp_path, 3, ends)

    def load() -> None:
        for step in range(2):
            hooks.enter(f"step {step}")
        try:
            hooks.enter("step 2")
        except CannotKeep:
            (tmp_path / "refused").touch()
        else:
            ends()

    assert load_until_it_ends(tmp_path, load) == 0
    assert (tmp_path / "refused").exists()


def test_a_copy_that_can_not_be_made_blames_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    for _ in range(4):
        killed_load(tmp_path, 3, lambda: None)
    monkeypatch.setattr(load_trial, "fork_copy", refuse)
    with LoadTrial(tmp_path) as trial:
        assert trial.is_careful
        for step in range(3):
            hooks.enter(f"step {step}")


def test_a_server_that_is_killed_in_each_load(tmp_path: Path) -> None:
    """Always while one and the same object is loaded, which takes its time: it is not to blame."""
    port = free_port()
    server = Server(tmp_path, deadly_state.make_application("a", f"127.0.0.1:{port}"))
    server.environ["SLEEP_AT_LOAD"] = "0.3"
    loading = server.tap.with_suffix(".d") / LOADING_NAME
    began = tmp_path / "began"
    server.environ["BEGAN_AT_LOAD"] = str(began)
    try:
        server.start()
        assert server.kill()
        for _ in range(7):
            began.unlink(missing_ok=True)
            wait_for(began.exists, "loading object")
            assert server.kill()
        assert json.loads(loading.read_text().splitlines()[0])["deaths"] >= 6
        before = server.log().count(" answers on ")
        wait_for(lambda: server.log().count(" answers on ") > before, "answering server")
        assert "kept as it was saved" not in server.log()
        assert server.stop() == 0
    finally:
        server.end()
    application = Store(server.tap, server.key).load().application
    service = next(iter(application.services.values()))
    assert [type(each) for each in service.deadly] == [deadly_state.Deadly] * 2


def test_a_server_whose_state_kills_it(tmp_path: Path) -> None:
    port = free_port()
    server = Server(tmp_path, deadly_state.make_application("a", f"127.0.0.1:{port}"))
    server.environ["DIE_AT_LOAD"] = "1"
    try:
        server.start()
        assert server.log().count("it is kept as it was saved") >= 1
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"0 x\n")
            answer = client.makefile("rb")
            assert [answer.readline(), answer.readline()] == [b"hello\n", b"0 1 x\n"]
            server.kill()
            client.sendall(b"1 y\n")
            assert answer.readline() == b"1 2 y\n"
        assert server.stop() == 0
    finally:
        server.end()
    application = Store(server.tap, server.key).load().application
    service = next(iter(application.services.values()))
    assert [each.size for each in service.deadly] == [1, 1]
