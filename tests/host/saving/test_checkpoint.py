"""Checkpoints by fork: the parent notices every fate of the child, and serves on."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tapd.errors import BugError, StateUnwritable, TapExists
from tapd.host.saving.checkpoint import Checkpointer
from tapd.image.loss import Loss
from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.key import Key
from tapd.store.snapshot import SaveReport

KEY = Key(bytes(range(32)))


def report(**fields: object) -> SaveReport:
    values = {"path": Path("/x"), "generation": 1, "size_bytes": 2, "losses": (), "duration_s": 0.1}
    return SaveReport(**values | fields)  # type: ignore[arg-type]


def told_by_child(tell: Callable[[], object]) -> object:
    """Return what `tell` finds out in a saving child."""

    def save() -> SaveReport:
        return report(path=Path(json.dumps(tell())))

    return json.loads(str(asyncio.run(Checkpointer().checkpoint(save)).path))


CTRL_C = """
import asyncio, os, signal, sys
from pathlib import Path
from tapd.host.saving.checkpoint import Checkpointer
from tapd.store.snapshot import SaveReport

def save():
    # As the terminal does: to everybody in the group of what was started there.
    os.killpg(os.getsid(0), signal.SIGINT)
    return SaveReport(Path("/x"), 7, 2, (), 0.1)

async def run():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, got.set)
    report = await Checkpointer().checkpoint(save)
    await asyncio.wait_for(got.wait(), 120)
    print(report.generation)

got = asyncio.Event()
asyncio.run(run())
"""


def test_ctrl_c_at_the_server_leaves_the_child_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C],
        start_new_session=True, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_save_in_the_child_is_loaded_by_anybody(tmp_path: Path) -> None:
    store = Store(tmp_path / "telnet.tap", KEY)
    application = Application("telnet")
    store.create(application)

    async def run() -> SaveReport:
        application.mark = "at the fork"
        checkpointer = Checkpointer(keep_fds=[lock.fd])
        saving = asyncio.create_task(
            checkpointer.checkpoint(lambda: store.save(application, 2, clean=False))
        )
        await asyncio.sleep(0)  # the task has forked when it first waits
        application.mark = "later"
        return await saving

    with store.lock() as lock:
        saved = asyncio.run(run())
    assert (saved.generation, saved.path) == (2, store.generation_path(2))
    assert saved.size_bytes == saved.path.stat().st_size
    assert Store(tmp_path / "telnet.tap", KEY).load().application.mark == "at the fork"
    assert application.mark == "later"


def test_the_report_arrives_whole_however_long() -> None:
    losses = tuple(Loss(f"application.x[{number}]", "socket", "why") for number in range(5000))
    wanted = report(losses=losses, path=Path("/tmp/äö"))
    assert asyncio.run(Checkpointer().checkpoint(lambda: wanted)) == wanted


def test_an_error_in_the_child_is_raised_in_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> SaveReport:
        raise TapExists("generation 5 was saved already")

    def stumble() -> SaveReport:
        raise ZeroDivisionError("oops")

    with pytest.raises(TapExists, match=r"^generation 5 was saved already$"):
        asyncio.run(Checkpointer().checkpoint(refuse))
    with pytest.raises(BugError, match="ZeroDivisionError: oops"):
        asyncio.run(Checkpointer().checkpoint(stumble))
    assert "in stumble" in caplog.text  # the traceback


def test_what_the_child_logs_is_logged_by_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    def save() -> SaveReport:
        logging.getLogger("tapd.store").warning("only %d left", 3)
        logging.getLogger("tapd.store").debug("not wanted")
        return report()

    asyncio.run(Checkpointer().checkpoint(save))
    assert [(entry.name, entry.levelname, entry.getMessage()) for entry in caplog.records] == [
        ("tapd.store", "WARNING", "only 3 left")
    ]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL .out of memory"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "killed by SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "killed by SIGTERM"),
        (lambda: os._exit(0), "ended with status 0"),
        (lambda: os._exit(3), "ended with status 3"),
    ],
)
def test_a_child_that_dies_is_a_failed_save(end: Callable[[], None], words: str) -> None:
    def save() -> SaveReport:
        end()
        return report()

    with pytest.raises(StateUnwritable, match=words):
        asyncio.run(Checkpointer().checkpoint(save))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # nothing was left to reap


def open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def hang() -> SaveReport:
    while True:
        signal.pause()


def test_a_child_that_hangs_is_killed_at_the_deadline(tmp_path: Path) -> None:
    store = Store(tmp_path / "t.tap", KEY)
    application = Application("t")
    store.create(application)

    def save_and_hang() -> SaveReport:
        (store.journal_directory / f".generation-00000002.tap.tmp-{os.getpid()}").touch()
        return hang()

    async def run() -> SaveReport:
        checkpointer = Checkpointer(deadline_s=0.05)
        with pytest.raises(StateUnwritable, match="did not end in time"):
            await checkpointer.checkpoint(save_and_hang)
        checkpointer.deadline_s = 60
        return await checkpointer.checkpoint(lambda: store.save(application, 3, clean=False))

    with store.lock():
        assert asyncio.run(run()).generation == 3
    assert Store(tmp_path / "t.tap", KEY).load().generation == 3
    assert not list(tmp_path.rglob(".*"))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_cancelling_kills_the_child() -> None:
    async def run() -> None:
        saving = asyncio.create_task(Checkpointer().checkpoint(hang))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    before = open_fds()
    asyncio.run(run())
    assert open_fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_parent_serves_on_meanwhile() -> None:
    reading, writing = os.pipe()

    def save() -> SaveReport:
        os.read(reading, 1)
        return report()

    async def run() -> None:
        saving = asyncio.create_task(Checkpointer(keep_fds=[reading]).checkpoint(save))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not saving.done()
        os.write(writing, b"x")
        await saving

    asyncio.run(run())
    os.close(reading)
    os.close(writing)


def test_a_clients_end_does_not_wait_for_the_child() -> None:
    ours, theirs = socket.socketpair()
    low, high = os.dup(ours.fileno()), os.dup2(ours.fileno(), 900)
    reading, writing = os.pipe()

    def save() -> SaveReport:
        os.read(reading, 1)
        return report()

    async def run() -> None:
        saving = asyncio.create_task(Checkpointer(keep_fds=[reading]).checkpoint(save))
        await asyncio.sleep(0)
        ours.close()
        os.close(low)
        os.close(high)
        assert await asyncio.to_thread(theirs.recv, 1) == b""
        assert not saving.done()
        os.write(writing, b"x")
        await saving

    theirs.settimeout(120)
    asyncio.run(run())
    theirs.close()
    os.close(reading)
    os.close(writing)


def test_the_child_is_its_own_process() -> None:
    async def run() -> object:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)

        def tell() -> object:
            handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
            return {
                "default": all(handler is signal.SIG_DFL for handler in handlers),
                "wakeup": signal.set_wakeup_fd(-1),
                "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
                "gc": gc.isenabled(),
                "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
                "nice": os.nice(0) - nice,
                "fds": len(open_fds()),
            }

        nice = os.nice(0)
        told = await Checkpointer().checkpoint(lambda: report(path=Path(json.dumps(tell()))))
        return json.loads(str(told.path))

    assert asyncio.run(run()) == {
        "default": True, "wakeup": -1, "blocked": 0, "gc": False, "oom": "1000", "nice": 5,
        "fds": 5,  # stdio, the pipe, and the one that lists them
    }  # fmt: skip
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert gc.isenabled()


def test_a_process_of_many_threads_may_fork() -> None:
    """3.12 and later warn of it, and warnings are errors here."""
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert told_by_child(threading.active_count) == 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_checkpoints_are_made_one_at_a_time() -> None:
    async def run() -> list[int]:
        checkpointer = Checkpointer()
        counter = iter(range(10))
        forked: list[int] = []

        def save(number: int) -> SaveReport:
            return report(generation=number)

        async def one() -> int:
            number = next(counter)
            saved = await checkpointer.checkpoint(lambda: save(number))
            forked.append(saved.generation)
            return saved.generation

        return list(await asyncio.gather(*(one() for _ in range(4))))

    assert asyncio.run(run()) == [0, 1, 2, 3]


def test_no_child_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = open_fds()
    for name in ("fork", "pidfd_open", "pipe2"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_args: no_fork())
            with pytest.raises(StateUnwritable, match="no child process could be made"):
                asyncio.run(Checkpointer().checkpoint(hang))
    assert open_fds() == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


PARENT = """
import asyncio, os, sys
from pathlib import Path
from tapd.host.saving.checkpoint import Checkpointer
from tapd.store.key import Key
from tapd.store.generations import Store
store = Store(Path(sys.argv[1]), Key(bytes(range(32))))
lock = store.lock()
def save():
    print(os.getpid(), flush=True)
    import signal
    signal.pause()
asyncio.run(Checkpointer(keep_fds=[lock.fd]).checkpoint(save))
"""


def test_the_child_dies_with_its_parent_and_then_the_lock_is_free(tmp_path: Path) -> None:
    tap = tmp_path / "telnet.tap"
    Store(tap, KEY).create(Application("telnet"))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tap)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        child_pid = int(parent.stdout.readline())
        pidfd = os.pidfd_open(child_pid)
        parent.kill()
        parent.wait()
        Store(tap, KEY).lock(timeout_s=120).release()
        assert select.select([pidfd], [], [], 30)[0], "the child outlived its parent"
        os.close(pidfd)
