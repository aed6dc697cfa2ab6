"""`tapd-mktap`: what it writes, what it says, and every way to get it wrong.

A server type of the tests' own is installed as an entry point of a package on
the path, as a user's would be; the machine is a temporary directory, with a
script in the place of systemctl.
"""

from __future__ import annotations

import dataclasses
import getpass
import os
import stat
from pathlib import Path

import pytest
from by_hand import free_port

from tapd.cli.machine import Machine, find_machine
from tapd.cli.mktap.command import run
from tapd.model.application import Application
from tapd.store.generations import Store
from tapd.store.key import load_key
from tapd.units.render import parse_ports_drop_in


def load(path: Path) -> Application:
    return Store(path, load_key()).load().application


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_tap_is_made_here(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["example-echo", "--greeting", "hi", "-p", "4001", "-p", "unix:/x"], by_hand) == 0
    out = capsys.readouterr().out.splitlines()
    assert "example-echo on 127.0.0.1:4001, [::1]:4001, unix:/x." in out[0]
    assert out[1:] == ["It says hi.", "tapd example-echo.tap"]
    path = here / "example-echo.tap"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    application = load(path)
    service = application.services["example-echo"]
    assert service.greeting == "hi"
    assert [str(port.address) for port in application.ports] == [
        "127.0.0.1:4001", "[::1]:4001", "unix:/x",
    ]  # fmt: skip


def test_what_a_type_shows_once_stands_behind_its_welcome(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["example-echo", "--greeting", "hush"], by_hand) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1:] == ["It says hush.", "The word is hush.", "tapd example-echo.tap"]
    assert load(here / "example-echo.tap").services["example-echo"].greeting == "hush"
    assert run(["example-echo", "--append", "example-echo.tap", "--name", "second",
                "--greeting", "hush", "-p", "4002"], by_hand) == 0  # fmt: skip
    assert capsys.readouterr().out.splitlines()[1:3] == ["It says hush.", "The word is hush."]


def test_the_name_alias_directory_and_usual_port(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "d").mkdir()
    assert run(["example-repeat", "--name", "a.b", "--directory", "d"], by_hand) == 0
    application = load(here / "d" / "a.b.tap")
    assert application.name == "a.b"
    assert [port.address.port for port in application.ports] == [4000, 4000]
    assert capsys.readouterr().out.splitlines()[-1] == "tapd d/a.b.tap"


def test_an_existing_tap_is_never_overwritten_without_force(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["example-echo"], by_hand)
    before = (here / "example-echo.tap").read_bytes()
    assert run(["example-echo"], by_hand) == 73
    assert run(["example-echo", "--dry-run"], by_hand) == 73
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert "already there" in err[0]
    assert (here / "example-echo.tap").read_bytes() == before
    assert run(["example-echo", "--force", "--greeting", "new"], by_hand) == 0
    assert load(here / "example-echo.tap").services["example-echo"].greeting == "new"
    kept = [path for path in here.rglob("*") if path.is_file() and path.read_bytes() == before]
    assert kept, "the TAP before is set aside, not lost"


def test_installed_for_the_system(
    here: Path, system: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = os.umask(0o077)
    try:
        assert run(["example-echo", "--name", "echo", "-p", "127.0.0.2:4007"], system) == 0
    finally:
        os.umask(old)
    tap = tmp_path / "state" / "tapd" / "echo" / "echo.tap"
    assert load(tap).name == "echo"
    assert stat.S_IMODE(tap.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(tap.parent.parent.stat().st_mode) == 0o755
    drop_in = tmp_path / "units" / "tapd@echo.socket.d" / "ports.conf"
    assert parse_ports_drop_in(drop_in.read_text(), "x") == ["127.0.0.2:4007"]
    assert stat.S_IMODE(drop_in.stat().st_mode) == 0o644
    assert (tmp_path / "asked").read_text() == "daemon-reload\n"
    assert capsys.readouterr().out.splitlines()[-1] == "systemctl start tapd@echo"
    assert files_below(here) == set()


def test_a_directory_is_no_installation(here: Path, system: Machine, tmp_path: Path) -> None:
    assert run(["example-echo", "--directory", "."], system) == 0
    assert files_below(here) == {"example-echo.tap"}
    assert not (tmp_path / "units").exists()


@pytest.mark.usefixtures("here")
def test_now_enables_and_starts(system: Machine, tmp_path: Path) -> None:
    port = f"127.0.0.1:{free_port()}"
    assert run(["example-echo", "--name", "echo", "--port", port, "--now"], system) == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        "daemon-reload",
        "enable --quiet tapd@echo.socket tapd@echo.service",
        "start tapd@echo.service",
    ]


@pytest.mark.usefixtures("here")
def test_who_does_not_linger_is_told_when_the_server_runs(
    system: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tapd.cli.machine.LINGERING", str(tmp_path / "linger"))
    own = dataclasses.replace(system, is_user=True)
    port = f"127.0.0.1:{free_port()}"
    assert run(["example-echo", "--name", "echo", "--port", port, "--now"], own) == 0
    assert "while you are logged in (loginctl enable-linger " in capsys.readouterr().out
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / getpass.getuser()).touch()
    port = f"127.0.0.1:{free_port()}"
    assert run(["example-echo", "--name", "other", "--port", port, "--now"], own) == 0
    assert "It runs, and will after a boot" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", ["telnet", "irc"])
def test_a_port_on_both_loopbacks_is_told_once(
    by_hand: Machine, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert run([kind, "-p", "4001", "-p", "[::1]:4002"], by_hand) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "reach it" in line]
    assert ["127.0.0.1" in line for line in told] == [True, False]
    assert "::1" in told[1]
    assert "4002" in told[1]


@pytest.mark.usefixtures("here")
def test_what_systemctl_says_is_passed_on(
    system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(system.systemctl[0]).write_text('#!/bin/sh\necho "no $1 today" >&2\nexit 4\n')
    assert run(["example-echo", "--name", "echo"], system) == 69
    err = capsys.readouterr().err
    assert "no daemon-reload today" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("here")
def test_a_dry_run_prints_every_file_and_writes_none(
    system: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path)
    assert run(["example-echo", "--name", "echo", "-p", "[::]:7", "--dry-run"], system) == 0
    out = capsys.readouterr().out
    assert f"# {tmp_path}/state/tapd/echo/echo.tap\n" in out
    assert f"# {tmp_path}/units/tapd@echo.socket.d/ports.conf\n" in out
    assert "ListenStream=[::]:7\n" in out
    assert {path for path in files_below(tmp_path) if ".pyc" not in path} == before


def test_a_service_is_added(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["example-echo", "--name", "two"], by_hand)
    assert (
        run(
            ["example-echo", "--append", "two.tap", "--name", "other", "-p", "127.0.0.1:5000"],
            by_hand,
        )
        == 0
    )
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"Added other to {here / 'two.tap'}: other on 127.0.0.1:5000.",
        "It says hello.",
        f"tapd {here / 'two.tap'}",
    ]
    application = load(here / "two.tap")
    assert list(application.services) == ["example-echo", "other"]
    assert [port.address.port for port in application.ports] == [4000, 4000, 5000]


@pytest.mark.usefixtures("here")
def test_adding_writes_all_ports_of_an_installed_server(system: Machine, tmp_path: Path) -> None:
    run(["example-echo", "--name", "echo", "-p", "127.0.0.2:4007"], system)
    tap = tmp_path / "state" / "tapd" / "echo" / "echo.tap"
    arguments = ["example-echo", "--append", str(tap), "--name", "b", "-p", "127.0.0.2:4008"]
    assert run(arguments, system) == 0
    drop_in = tmp_path / "units" / "tapd@echo.socket.d" / "ports.conf"
    assert parse_ports_drop_in(drop_in.read_text(), "x") == ["127.0.0.2:4007", "127.0.0.2:4008"]
    # The script in the place of systemctl says that its old ports are open.
    assert (tmp_path / "asked").read_text().splitlines()[-1] == "restart tapd@echo.socket"


def test_nothing_is_added_to_a_tap_that_runs(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["example-echo"], by_hand)
    with Store(here / "example-echo.tap", load_key()).lock():
        status = run(["example-echo", "--append", "example-echo.tap", "--name", "b"], by_hand)
    assert status == 75
    assert str(os.getpid()) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--append", "nowhere.tap"], "nowhere.tap: there is no such TAP"),
        (["--append", "example-echo.tap"], "already has a service named 'example-echo'"),
        (["--append", "example-echo.tap", "--name", "b"], "already listens on 127.0.0.1:4000"),
        (["--append", "example-echo.tap", "--name", "b", "-p", "1", "--force"], "--force"),
    ],
)
def test_what_cannot_be_added(
    here: Path,
    by_hand: Machine,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    run(["example-echo"], by_hand)
    before = (here / "example-echo.tap").read_bytes()
    capsys.readouterr()
    assert run(["example-echo", *arguments], by_hand) in (64, 66)
    captured = capsys.readouterr()
    assert says in captured.err
    assert not captured.out
    assert (here / "example-echo.tap").read_bytes() == before
    assert not list(here.rglob("generation-*"))


@pytest.mark.usefixtures("here")
def test_everything_wrong_is_said_at_once(
    system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["example-echo", "--name", "a b", "-p", "x", "-p", "7:7:7", "--greeting", "rude"]
    assert run(arguments, system) == 64
    err = capsys.readouterr().err.splitlines()
    assert all(line.startswith("tapd-mktap: ") for line in err)
    for words in ("name 'a b'", "port 'x'", "port '7:7:7'", "be friendly"):
        assert sum(words in line for line in err) == 1, words
    assert len(err) == 4


@pytest.mark.usefixtures("here")
def test_a_group_that_is_not_there_is_said_before_a_start_fails(
    system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["example-echo", "-p", "unix:/run/tapd-test", "--socket-group"]
    assert run([*arguments, "tapd-nobody"], system) == 64
    assert "there is no such group" in capsys.readouterr().err
    assert run([*arguments, "root"], system) == 0


def test_an_option_before_the_type_is_told_where_it_belongs(
    by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--colour", "red", "example-echo"], by_hand) == 64
    assert "there is no option --colour before the type" in capsys.readouterr().err
    assert run(["--helpp"], by_hand) == 64
    assert "Did you mean '--help'?" in capsys.readouterr().err


def test_wrong_options_are_all_named(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["example-echo", "--greting", "x", "--times", "99", "--colour=red"]
    assert run(arguments, by_hand) == 64
    err = capsys.readouterr().err
    assert "no option --greting; did you mean --greeting?" in err
    assert "no option --colour" in err
    assert "99 is not in the range" in err
    assert err.count("\n") == 3
    assert files_below(here) == set()


def test_a_wrong_name_is_not_said_to_be_taken(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is checked under another name, whose TAP is nobody's concern."""
    assert run(["example-echo", "--port", "4040"], by_hand) == 0
    capsys.readouterr()
    assert run(["example-echo", "--port", "4040", "--name", "a b"], by_hand) == 64
    err = capsys.readouterr().err
    assert "name 'a b'" in err
    assert "already there" not in err
    assert files_below(here) == {"example-echo.tap"}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 64, ""),
        (["example-ecko"], 64, "did you mean example-echo?"),
        (["zzz"], 64, "tapd-mktap --help lists the types"),
        (["--nonsense"], 64, "--nonsense"),
        (["example-echo", "more"], 64, "'more' is too much"),
        (["example-echo", "--name"], 64, "--name"),
        (["example-portless"], 64, "--port is needed"),
        (["example-echo", "--now"], 64, "--now"),
        (["example-echo", "--directory", "nowhere"], 64, "is no directory"),
        (["example-broken"], 70, "tapd_example_missing"),
        (["example-defaultless"], 70, "the type example-defaultless can't be used"),
        (["example-wrong"], 70, "is no tapd.model.server_type.ServerType"),
    ],
)
def test_bad_command_lines(
    here: Path,
    by_hand: Machine,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    says: str,
) -> None:
    assert run(arguments, by_hand) == status
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == (1 if says else 0)
    assert files_below(here) == set()


@pytest.mark.usefixtures("here")
def test_help_lists_the_types_that_work(
    by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--help"], by_hand) == 0
    out = capsys.readouterr().out
    assert "example-echo" in out
    assert "Says everything again." in out
    assert "example-broken" not in out
    assert "example-defaultless" not in out
    assert "A server of your own.\n" in out, "not cut short"
    assert run(["-h"], by_hand) == 0
    assert capsys.readouterr().out == out
    assert run(["example-echo", "-h"], by_hand) == 0
    out = capsys.readouterr().out
    for option in ("--greeting", "--name", "--port", "--append", "--directory", "--now",
                   "--dry-run", "--force", "--help"):  # fmt: skip
        assert option in out, option
    assert "--repeats NUMBER" in out
    assert "How often. [default: 1]" in out
    words = " ".join(out.split())
    assert "its files. [default: example-echo]" in words
    assert "[default: 4000]" in words


@pytest.mark.usefixtures("here")
def test_settings_are_options(
    here: Path, by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["example-echo", "--repeats", "7"], by_hand) == 0
    assert load(here / "example-echo.tap").services["example-echo"].repeats == 7
    assert run(["example-echo", "--lineBytes", "9"], by_hand) == 0
    assert load(here / "example-echo.tap").services["example-echo"].line_bytes == 9
    capsys.readouterr()
    assert run(["example-echo", "--repeats", "0", "-p", "x:y", "--name", "b"], by_hand) == 64
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "tapd-mktap: --repeats: '0': write a whole number from 1 up"
    assert "x:y" in said[1], "all that is wrong is said at once"
    assert not (here / "b.tap").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_directory_that_cannot_be_written(here: Path, by_hand: Machine) -> None:
    here.chmod(0o500)
    assert run(["example-echo"], by_hand) == 74


@pytest.mark.usefixtures("here")
def test_a_tap_whose_drop_in_could_not_be_written_is_made_again(
    system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has seen its password."""
    in_the_way = system.unit_directory / "tapd@echo.socket.d" / ".ports.conf.new"
    in_the_way.mkdir(parents=True)
    assert run(["example-echo", "--name", "echo"], system) == 74
    assert "run it again with --force" in capsys.readouterr().err
    in_the_way.rmdir()
    assert run(["example-echo", "--name", "echo", "--force"], system) == 0


def test_this_machine_is_found() -> None:
    booted = Path("/run/systemd/system").is_dir()
    assert find_machine().is_system == (os.geteuid() == 0 and booted)
