"""The storm, for some seconds, under the embedded manager (see `storm` for longer ones)."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from pathlib import Path

from by_hand import SUPPORT, Server, free_port, serving, wait_for
from storm_service import flood_bytes, make_application

from storm import storm


def test_a_start_that_replays_much_saves_at_once(tmp_path: Path) -> None:
    """Else each start of a storm takes longer than the one before, and none ends in the end."""
    port = free_port()
    with serving(tmp_path, make_application("storm", f"127.0.0.1:{port}")) as server:
        with socket.create_connection(("127.0.0.1", port)) as client:
            answers = client.makefile("rb")
            assert answers.readline() == b"hello\n"
            for _ in range(40):
                client.sendall(b"flood 16000\n")
                assert answers.readline() == flood_bytes(16000)
            server.kill()
            wait_for(lambda: " saved generation-00000002.tap " in server.log(), "save")
            client.sendall(b"40 x\n")
            assert answers.readline() == b"40 41 x\n"
        server.kill_and_go_on()
        assert "saved generation-00000003.tap" not in server.log()


def test_storm(tmp_path: Path) -> None:
    """SIGKILL, SIGABRT, SIGSEGV, SIGSTOP until the watchdog aborts it, restarts, checkpoints."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    server = Server(
        tmp_path,
        make_application("storm", address),
        program=[str(SUPPORT / "faulty.py")],
    )
    server.environ |= {
        "FAULT_ADDRESS": address,
        "FAULT_WATCHDOG_S": "1",
        "FAULT_CHECKPOINT_S": "0.3",
    }
    chance = random.Random(4)
    blows = [*[signal.SIGKILL] * 12, signal.SIGABRT, signal.SIGSEGV, signal.SIGSTOP, signal.SIGHUP]

    def strike() -> None:
        blow = chance.choice(blows)
        if blow == signal.SIGHUP:
            server.restart()
        else:
            server.kill(blow)

    server.start()
    try:
        report = asyncio.run(
            storm(
                lambda: asyncio.open_connection("127.0.0.1", port),
                strike,
                clients=60,
                seconds=25,
                pause_s=(0.2, 1.2),
            )
        )
        print(report)
        report.check()
        assert report.kills > 10
        wait_for(lambda: " saved " in server.log(), "checkpoint")
        assert server.stop() == 0
    except BaseException:
        print(server.log()[-6000:])
        raise
    finally:
        server.end()
