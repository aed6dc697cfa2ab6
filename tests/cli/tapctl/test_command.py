"""tapctl: errors, exit statuses, the names of TAPs and their completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tap_commands import run, run_json

from tapd.cli.tapctl.command import main
from tapd.cli.taps import find_tap
from tapd.errors import TapMissing
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.store.generations import Store
from tapd.store.key import load_key


def test_a_tap_is_found_by_name_and_by_every_file(tap: Path, tmp_path: Path) -> None:
    for text in ("telnet", "telnet.tap", "telnet-shutdown.tap", str(tap)):
        assert run_json("show", text)["manifest"]["generation"] == 3
    installed = tmp_path / "lib" / "mail"
    installed.mkdir(parents=True)
    (installed / "mail.tap").write_bytes(tap.read_bytes())
    assert find_tap("mail", state_directory=tmp_path / "lib") == installed / "mail.tap"
    with pytest.raises(TapMissing):
        find_tap("news", state_directory=tmp_path / "lib")


def test_errors_are_one_line_and_a_status(tap: Path) -> None:
    for arguments, status in (
        (("show", "nowhere.tap"), 66),
        (("show", tap, "-g", 77), 66),
        (("rollback", tap, 77, "--yes"), 66),
        (("export", tap, tap), 64),
    ):
        result = run(*arguments)
        assert result.exit_code == status
        assert result.output.startswith("tapctl: ")
        assert result.output.count("\n") == 1
    (tap.parent / "empty.tap").touch()
    assert run("show", "empty").exit_code == 65


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("statuss", "telnet"), "tapctl: there is no command 'statuss'; did you mean status?"),
        (("zzz",), "No such command 'zzz'"),
        (("--nothing",), "No such option"),
        (("status",), "tapctl: Missing argument 'TAP'; see "),
        (("history", "telnet", "--verfy"), "--verify"),
        (("show", "telnet", "--width", "-3"), "x>=0"),
        (("du", "telnet", "--count", "-4"), "x>=0"),
    ],
)
def test_a_wrong_command_line_ends_with_64(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 64
    assert says in result.output
    assert result.output.count("\n") == 1


def test_without_a_command_the_commands_are_listed() -> None:
    result = run()
    assert result.exit_code == 64
    assert "\n  rollback " in result.stderr


def test_a_directory_that_is_called_like_a_tap_is_no_tap(tap: Path) -> None:
    (tap.parent / "directory.tap").mkdir()
    os.mkfifo(tap.parent / "fifo.tap")  # to open one waits for a writer
    (tap.parent / "dangling.tap").symlink_to("nowhere.tap")
    assert [each["name"] for each in run_json("list", tap.parent)] == ["telnet"]


@pytest.mark.parametrize("to", ["/dev/full", "latin-1"])
def test_output_that_cannot_be_written_is_no_traceback(tap: Path, to: str) -> None:
    store = Store(tap, load_key())
    application = store.load().application
    application.mark = "日本"
    with store.lock():
        store.save(application, store.next_generation(), clean=False)
    command = [
        sys.executable,
        "-c",
        "from tapd.cli.tapctl.command import main; main()",
        "show",
        str(tap),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": to if to == "latin-1" else "utf-8"}
    where = Path(to) if to.startswith("/") else tap.with_name("output")
    with where.open("wb") as output:
        ended = subprocess.run(
            command, env=environment, stdout=output, stderr=subprocess.PIPE, check=False
        )
    if to == "latin-1":
        assert ended.returncode == 0, ended.stderr
        assert b"  .mark = '\\u65e5\\u672c'" in where.read_bytes()
    else:
        assert ended.returncode != 0
        assert b"tapctl: the output: No space left on device\n" in ended.stderr
        assert b"Traceback" not in ended.stderr


@pytest.mark.usefixtures("tap")
def test_names_complete() -> None:
    environment = {
        "_TAPCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "tapctl show te",
        "COMP_CWORD": "2",
    }
    result = CliRunner().invoke(main, [], env=environment, prog_name="tapctl")
    assert "plain,telnet.tap" in result.output


def completions(*words: str) -> list[str]:
    environment = {
        "_TAPCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    told = CliRunner().invoke(main, [], env=environment, prog_name="tapctl").output
    return [line.removeprefix("plain,") for line in told.splitlines() if line]


@pytest.mark.usefixtures("tap")
def test_options_of_a_sleeping_server_complete() -> None:
    application = Application("shell")
    application.listen("127.0.0.1:4042", ShellFactory())
    Store(Path("shell.tap"), load_key()).create(application)
    assert completions("tapctl", "set", "shell", "tri") == ["tries="]
    assert "password=" in completions("tapctl", "set", "shell.tap", "tries=5", "pass")
    assert completions("tapctl", "set", "nowhere", "t") == []
    assert completions("tapctl", "set", "telnet", "t") == []
