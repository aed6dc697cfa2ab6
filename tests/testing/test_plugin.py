"""The plugin, in a pytest of its own: fixtures, the marker, the option, and what it costs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
Run = Callable[..., tuple[dict[str, str], str]]

SERVER = """
from tapd import Protocol, Service


class Lines(Protocol):
    def __init__(self):
        self.half = b""

    def data_received(self, data):
        *lines, self.half = (self.half + data).split(b"\\n")
        for line in lines:
            self.service.count += 1
            self.transport.write(b"%d %s\\n" % (self.service.count, line))


class Counting(Service):
    protocol = Lines

    def __init__(self):
        self.count = 0


class Forgetful(Counting):
    def start(self):
        self.count = 0
"""

TESTS = """
import pytest
from server import Counting, Forgetful


def two_lines(host):
    peer = host.connect()
    peer.send_line("a")
    peer.send("b")
    peer.send_line("c")
    peer.expect("1 a\\n2 bc\\n")


def test_good(tapd_host):
    two_lines(tapd_host(Counting))


def test_forgetful(tapd_host):
    two_lines(tapd_host(Forgetful))


def test_two_servers(tapd_host):
    two_lines(tapd_host(Counting))
    two_lines(tapd_host(Forgetful))


@pytest.mark.tapd_kill_all(splits=True)
@pytest.mark.parametrize("number", [1, 2])
def test_marked(tapd_host, number):
    two_lines(tapd_host(Forgetful() if number == 2 else Counting()))


@pytest.mark.tapd_kill_all(False)
def test_never(tapd_host):
    two_lines(tapd_host(Forgetful))


def test_everywhere(tapd_kill_everywhere):
    assert tapd_kill_everywhere(Counting, two_lines, splits=True).kills > 10


def test_wrong(tapd_host):
    peer = tapd_host(Counting).connect()
    peer.send_line("a")
    peer.expect("1 b\\n")
"""


@pytest.fixture
def pytest_run(tmp_path: Path) -> Run:
    """Return a function that runs the tests above in a directory of their own."""
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "test_it.py").write_text(TESTS)

    def run(*arguments: str) -> tuple[dict[str, str], str]:
        environ = os.environ | {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": f"{tmp_path}:{TOP / 'src'}",
        }
        environ.pop("PYTEST_ADDOPTS", None)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "tapd.testing.plugin", "-vv", "-rN",
             "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *arguments, str(tmp_path)],
            cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        results = {}
        for line in done.stdout.splitlines():
            for word in ("PASSED", "FAILED", "ERROR"):
                if f" {word}" in line or f"{word} " in line:
                    name = line.partition("::")[2].split()
                    if name:
                        results[name[0]] = word
        return results, done.stdout + done.stderr

    return run


def test_ordinary_tests_stay_ordinary(pytest_run: Run) -> None:
    results, output = pytest_run()
    assert results == {
        "test_good": "PASSED",
        "test_forgetful": "PASSED",
        "test_two_servers": "PASSED",
        "test_marked[1]": "PASSED",
        "test_marked[2]": "FAILED",
        "test_never": "PASSED",
        "test_everywhere": "PASSED",
        "test_wrong": "FAILED",
    }, output
    assert "E   tapd.testing.failures.KillDifference: A run that was killed in" in output
    assert "E       tapd.testing.failures.Unexpected: peer 1 got something else than" in output


def test_the_option_kills_everywhere(pytest_run: Run) -> None:
    """In two workers at once, as pytest-xdist has them."""
    results, output = pytest_run("--tapd-kill-all", "-p", "xdist.plugin", "-n2")
    assert results == {
        "test_good": "PASSED",
        "test_forgetful": "FAILED",
        "test_two_servers": "FAILED",
        "test_marked[1]": "PASSED",
        "test_marked[2]": "FAILED",
        "test_never": "PASSED",
        "test_everywhere": "PASSED",
        "test_wrong": "FAILED",
    }, output


def test_a_failure_shows_the_test_and_not_the_kit(pytest_run: Run) -> None:
    _results, output = pytest_run("-k", "test_wrong or marked")
    shown = output.partition("= FAILURES =")[2]
    assert '>       peer.expect("1 b\\n")' in shown or '>   peer.expect("1 b\\n")' in shown
    assert "src/tapd/testing/peers.py" not in shown
    assert "expected  b'1 b\\n'" in shown
    assert "src/tapd/testing/kill.py" not in shown


def test_it_is_an_entry_point() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    plugin = importlib.import_module(project["entry-points"]["pytest11"]["tapd"])
    assert plugin.pytest_addoption


def test_it_costs_others_nothing(tmp_path: Path) -> None:
    """Nothing of tapd's rooms is imported before a test asks for a host."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other():\n"
        "    ours = sorted(name for name in sys.modules if name.split('.')[0] == 'tapd')\n"
        "    assert ours == ['tapd', 'tapd.testing', 'tapd.testing.plugin'], ours\n"
        "    assert 'persistent' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tapd.testing.plugin", "-q",
         "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(TOP / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
