"""A server type that somebody else's distribution brings: known everywhere, with no edit here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from by_hand import free_port

TYPE = """
import click
from tapd import LineProtocol, ServerType, Service
from tapd.model.setting import number_setting


class Parrot(LineProtocol):
    def line_received(self, line):
        self.send_line(" ".join([line] * self.service.times))


class Cage(Service):
    protocol = Parrot
    settable = {"times": number_setting("times", "how often it says a thing")}

    def __init__(self, times):
        self.times = times


parrot = ServerType(
    name="parrot",
    summary="Says everything several times.",
    make=lambda application, options: Cage(options["times"]),
    options=[click.Option(["--times"], type=int, default=2, help="How often.")],
)
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command where the distribution is installed."""
    site = tmp_path / "site"
    information = site / "parrots-1.0.dist-info"
    information.mkdir(parents=True)
    (site / "parrots.py").write_text(TYPE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[tapd.types]\nparrot = parrots:parrot\n")
    (tmp_path / "here").mkdir()

    def run_one(module: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}",
            "TAPD_KEY_FILE": str(tmp_path / "key"),
            **more,
        }
        main = f"from tapd.cli.{module}.command import main; main()"
        code = f"import sys; sys.argv[0] = {module!r}; {main}"
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, check=False, cwd=tmp_path / "here", env=environment,
        )  # fmt: skip

    return run_one


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_it_is_in_the_help_and_so_are_its_options(run: Run) -> None:
    told = run("mktap", "--help").stdout
    assert "parrot" in told
    assert "Says everything several times." in told
    assert "--times INTEGER" in run("mktap", "parrot", "--help").stdout


def test_it_completes(run: Run) -> None:
    def complete(*words: str) -> str:
        return run(
            "mktap", _TAPD_MKTAP_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1),
        ).stdout  # fmt: skip

    assert "plain,parrot" in complete("tapd-mktap", "par")
    assert "plain,--times" in complete("tapd-mktap", "parrot", "--ti")


def test_a_server_of_it_is_made_shown_set_and_served(run: Run, tmp_path: Path) -> None:
    port = free_port()
    made = run("mktap", "parrot", "--times", "3", "--port", f"127.0.0.1:{port}")
    assert made.returncode == 0, made.stderr
    assert "parrots:Cage" in run("tapctl", "show", "parrot").stdout
    assert "how often it says a thing" in run("tapctl", "set", "parrot").stdout
    assert run("tapctl", "set", "parrot", "times=2").returncode == 0
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}",
        "TAPD_KEY_FILE": str(tmp_path / "key"),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "tapd", "parrot.tap"], cwd=tmp_path / "here", env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if " answers on " in line:
                break
        with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
            client.sendall(b"hello\n")
            assert client.makefile("rb").readline() == b"hello hello\r\n"
    finally:
        server.terminate()
        server.communicate(timeout=120)
