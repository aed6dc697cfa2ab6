"""`application.run()` ends at a broken turn: no service manager would start it again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from by_hand import free_port, wait_for

from tapd.store.key import render_new_key

SCRIPT = """
import builtins, sys
from tapd import Application, LineProtocol, Service

class Breaking(LineProtocol):
    def line_received(self, line):
        builtins.len = None
        raise ValueError("any error")

class Room(Service):
    protocol = Breaking

application = Application("a")
application.listen(sys.argv[1], Room())
application.run()
"""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_script_whose_turn_broke_ends(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(render_new_key())
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, f"127.0.0.1:{port}"],
            cwd=tmp_path, env=os.environ | {"TAPD_KEY_FILE": str(key)}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for(lambda: answers(port) or process.poll() is not None, "port")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"any line\n")
            assert process.wait(120) == 1
    finally:
        process.kill()
        process.wait()
    assert "nothing was saved" in (tmp_path / "log").read_text()
    assert not (tmp_path / "a-shutdown.tap").exists()
