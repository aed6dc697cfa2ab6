"""A real server survives what typed code and the environment do to the interpreter.

Three clients; after each, a kill. Where the process goes on, nobody sees anything; where it
ends, nobody is dropped, and what ended it again and again is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from by_hand import wait_for
from interpreter_ways import ENDS, GOES_ON, SKIPPED
from three_clients import Three


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """One server for all: each test kills it, so the next has another process."""
    life = Three(tmp_path_factory.mktemp("interpreter"))
    yield life
    life.close()


@pytest.mark.parametrize("way", GOES_ON)
def test_the_server_serves_on(three: Three, way: str) -> None:
    pid = three.server.child()
    assert three.clients[0].ask("handler", GOES_ON[way]) == "ok"
    for _ in range(3):
        three.talk()
    assert three.server.child() == pid
    three.check(quiet=False)


@pytest.mark.parametrize("way", ENDS | SKIPPED)
def test_the_process_ends_and_nobody_is_dropped(tmp_path: Path, way: str) -> None:
    three = Three(tmp_path)
    try:
        three.talk()
        pid = three.server.child()
        person = three.clients[0]
        person.send("handler", (ENDS | SKIPPED)[way])
        wait_for(lambda: three.server.child() not in (pid, None), "next process")
        answer = person.read()
        if way in SKIPPED:
            assert answer.startswith("error: the server was killed each time it ran this")
        else:
            assert answer == "1 4 ok"
            person.counts.append(4)
        person.number += 1
        three.check(quiet=False)
    finally:
        three.close()


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONOPTIMIZE": "1"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONINSPECT": "1"},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONDEVMODE": "1"},
        {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"},
        {
            "PYTHONMALLOC": "debug",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONHASHSEED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONINTMAXSTRDIGITS": "640",
            "PYTHONSTARTUP": "/nonexistent",
            "PYTHONSAFEPATH": "1",
        },
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_the_variables_of_python_change_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    three = Three(tmp_path, environ=environ)
    try:
        three.talk()
        three.check()
        assert three.server.stop() == 0
    finally:
        three.close()


def test_a_prompt_of_python_does_not_take_the_exit_status_with_it(tmp_path: Path) -> None:
    """Which says that no restart can mend it: PYTHONINSPECT would have it lost."""
    done = subprocess.run(
        [sys.executable, "-m", "tapd", str(tmp_path / "missing.tap")],
        env=os.environ | {"PYTHONINSPECT": "1"},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == os.EX_NOINPUT
