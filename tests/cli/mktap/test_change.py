"""`tapd-mktap TYPE` once more: what was told changes, all else stays."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from by_hand import serving, wait_for

from tapd.cli.machine import Machine
from tapd.cli.mktap.command import run
from tapd.model.access.accounts import verify_password
from tapd.model.application import Application
from tapd.services.telnet import ShellFactory
from tapd.store.generations import Store
from tapd.store.key import load_key
from tapd.units.render import parse_ports_drop_in


def load(path: Path) -> Application:
    return Store(path, load_key()).load().application


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != "lock"
    }


@pytest.fixture
def installed(here: Path, system: Machine, capsys: pytest.CaptureFixture[str]) -> Path:
    """The TAP of an installed server, with state that no option gives."""
    assert run(["example-echo", "--name", "echo", "-p", "127.0.0.2:4007", "-w", "one"], system) == 0
    assert not list(here.iterdir())
    tap = system.installed_path("echo")
    capsys.readouterr()
    return tap


def test_a_port_changes_and_nothing_else(
    installed: Path, system: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = load(installed)
    drop_in = system.unit_directory / "tapd@echo.socket.d" / "ports.conf"
    text = drop_in.read_text() + "# mine\nBacklog = 9\n"
    drop_in.write_text(text)
    assert run(["example-echo", "--name", "echo", "-p", "127.0.0.2:4008"], system) == 0
    out = capsys.readouterr().out
    assert "example-echo answers on 127.0.0.2:4008" in out
    after = load(installed)
    assert after.lineage == before.lineage
    assert [str(port.address) for port in after.ports] == ["127.0.0.2:4008"]
    assert after.services["example-echo"].greeting == "hello"
    hashes = [app.authorizer.accounts["admin"].password_hash for app in (before, after)]
    assert hashes[0] == hashes[1]
    assert drop_in.read_text() == text.replace("127.0.0.2:4007", "127.0.0.2:4008")
    # The script in the place of systemctl says that all is active.
    assert (tmp_path / "asked").read_text().splitlines()[-3:] == [
        "is-active --quiet tapd@echo.socket",
        "daemon-reload",
        "restart tapd@echo.socket",
    ]


def test_settings_and_passwords_change(installed: Path, system: Machine) -> None:
    assert run(["example-echo", "--name", "echo", "--repeats", "3", "-w", "two"], system) == 0
    after = load(installed)
    assert after.services["example-echo"].repeats == 3
    assert verify_password(after.authorizer.accounts["admin"].password_hash, "two")
    assert [str(port.address) for port in after.ports] == ["127.0.0.2:4007"], "no port was given"
    assert run(["example-echo", "--name", "echo", "-u", "eve", "-w", "three"], system) == 0
    after = load(installed)
    assert verify_password(after.authorizer.accounts["admin"].password_hash, "two")
    assert verify_password(after.authorizer.accounts["eve"].password_hash, "three")


@pytest.mark.usefixtures("installed")
def test_an_account_keeps_its_password_where_none_is_given(here: Path, system: Machine) -> None:
    """What would be generated for a new server is not for one that exists."""
    options = ["telnet", "--name", "shell", "-p", "127.0.0.2:4009"]
    assert run([*options, "-u", "ann", "-w", "one"], system) == 0
    assert run([*options, "-u", "ann"], system) == 0
    assert run([*options, "-u", "bob"], system) == 0
    accounts = load(system.installed_path("shell")).authorizer.accounts
    assert verify_password(accounts["ann"].password_hash, "one")
    assert "bob" in accounts
    assert not list(here.iterdir())


def test_told_the_same_again_nothing_is_written(
    system: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path / "state") | files_below(tmp_path / "units")
    assert run(["example-echo", "--name", "echo", "-p", "127.0.0.2:4007"], system) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert files_below(tmp_path / "state") | files_below(tmp_path / "units") == before


@pytest.mark.usefixtures("installed")
def test_a_dry_run_changes_nothing(
    system: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path / "state") | files_below(tmp_path / "units")
    arguments = ["example-echo", "--name", "echo", "-p", "127.0.0.2:4009", "--repeats", "2"]
    assert run([*arguments, "--dry-run"], system) == 0
    captured = capsys.readouterr()
    assert "# repeats=2 is set" in captured.out
    assert "ListenStream=127.0.0.2:4009" in captured.out
    assert "Nothing was changed" in captured.err
    assert files_below(tmp_path / "state") | files_below(tmp_path / "units") == before


def test_who_could_not_write_a_drop_in_is_not_told_to_set_the_state_aside(
    installed: Path, system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = system.unit_directory / "tapd@echo.service.d" / ".10-tapd-mktap.conf.new"
    in_the_way.mkdir(parents=True)
    arguments = ["example-echo", "--name", "echo", "--idle-exit", "9"]
    assert run(arguments, system) == 74
    assert capsys.readouterr().err.endswith("fix that and run it again\n")
    in_the_way.rmdir()
    lineage = load(installed).lineage
    assert run(arguments, system) == 0
    assert load(installed).lineage == lineage


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["example-echo"], 73, "already there"),
        (["example-echo", "--greeting", "hi"], 64, "--greeting can't be changed"),
        (["example-portless", "-p", "1"], 73, "a server of another type"),
        (["example-echo", "--allow-read", "/nowhere/at/all"], 64, "no such directory"),
        (["example-echo", "-p", "0"], 64, "picks no free port"),
        (["example-echo", "-p", "udp:1"], 64, "takes no datagrams"),
    ],
)
def test_what_cannot_be_changed(
    system: Machine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    says: str,
) -> None:
    before = files_below(tmp_path / "state") | files_below(tmp_path / "units")
    assert run([*arguments, "--name", "echo"], system) == status
    assert says in capsys.readouterr().err
    assert files_below(tmp_path / "state") | files_below(tmp_path / "units") == before


@pytest.mark.usefixtures("installed")
def test_options_of_units_go_into_a_drop_in_and_out_again(system: Machine, tmp_path: Path) -> None:
    drop_in = system.unit_directory / "tapd@echo.service.d" / "10-tapd-mktap.conf"
    assert not drop_in.exists()
    arguments = ["example-echo", "--name", "echo"]
    options = ["--idle-exit", "60", "--allow-network", "--allow-write", str(tmp_path)]
    assert run([*arguments, *options], system) == 0
    text = drop_in.read_text()
    for line in ("--idle-exit=60", "PrivateNetwork=no", f"BindPaths={tmp_path}"):
        assert line in text
    taken_back = ["--idle-exit", "0", "--no-allow-network", "--allow-write", "none"]
    assert run([*arguments, *taken_back], system) == 0
    assert "[Service]\n" in drop_in.read_text()
    assert "=" not in "".join(
        line for line in drop_in.read_text().splitlines() if not line.startswith("#")
    )


def test_a_removed_server_comes_back_as_it_was(
    installed: Path, system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(system.systemctl[0]).write_text('#!/bin/sh\n[ "$1" != is-active ]\n')
    lineage = load(installed).lineage
    assert run(["--remove", "echo"], system) == 0
    assert f"stays in {installed.parent}" in capsys.readouterr().out
    assert not list(system.unit_directory.rglob("*.conf"))
    assert not list(system.unit_directory.iterdir())
    assert run(["example-echo", "--name", "echo"], system) == 0
    drop_in = system.unit_directory / "tapd@echo.socket.d" / "ports.conf"
    assert parse_ports_drop_in(drop_in.read_text(), "x") == ["127.0.0.2:4007"]
    assert load(installed).lineage == lineage


def test_what_people_wrote_survives_a_removal(
    installed: Path, system: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(system.systemctl[0]).write_text('#!/bin/sh\n[ "$1" != is-active ]\n')
    drop_in = system.unit_directory / "tapd@echo.socket.d" / "ports.conf"
    drop_in.write_text(drop_in.read_text() + "Backlog=9\n")
    own = system.unit_directory / "tapd@echo.service.d" / "override.conf"
    own.parent.mkdir()
    own.write_text("[Service]\nNice=5\n")
    assert run(["--remove", "echo", "--purge", "--yes"], system) == 0
    assert "what you wrote there stays" in capsys.readouterr().out
    assert not installed.parent.exists()
    assert own.exists()
    assert "Backlog=9" in drop_in.read_text()
    assert "ListenStream=1" not in drop_in.read_text()


def test_the_state_that_a_removal_left_can_be_removed(installed: Path, system: Machine) -> None:
    """Without its ports the socket unit can't be loaded, and systemctl stops no such unit."""
    Path(system.systemctl[0]).write_text(
        '#!/bin/sh\ncase "$*" in is-active* | "stop "*.socket*) exit 5 ;; esac\n'
    )
    assert run(["--remove", "echo"], system) == 0
    assert installed.exists()
    assert run(["--remove", "echo", "--purge", "--yes"], system) == 0
    assert not installed.parent.exists()


@pytest.mark.usefixtures("installed")
def test_a_drop_in_that_cannot_be_read_is_said_before_anything_is_stopped(
    system: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drop_in = system.unit_directory / "tapd@echo.socket.d" / "ports.conf"
    drop_in.write_text(drop_in.read_text() + "what is this\n")
    asked = (tmp_path / "asked").read_text()
    assert run(["--remove", "echo"], system) == 78
    assert "nor a comment; fix or remove it" in capsys.readouterr().err
    assert (tmp_path / "asked").read_text() == asked


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--remove", "nobody"], 66, "no server of that name"),
        (["--remove", "../etc"], 64, "name '../etc'"),
        (["--remove", "echo", "--purge"], 64, "--yes"),
        (["--remove", "echo", "example-echo"], 64, "stands alone"),
        (["--purge"], 64, "--remove"),
        (["--yes", "example-echo"], 64, "--remove"),
    ],
)
def test_what_is_not_removed(
    system: Machine,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    says: str,
) -> None:
    assert run(arguments, system) == status
    assert says in capsys.readouterr().err
    assert system.installed_path("echo").exists()


@pytest.mark.usefixtures("here")
def test_removal_is_not_for_taps_by_hand(
    by_hand: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--remove", "echo"], by_hand) == 64
    assert "remove it" in capsys.readouterr().err


def test_a_running_server_changes_itself(
    tmp_path: Path,
    by_hand: Machine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Settings at once; ports only when it is stopped, since nobody can hand it others."""
    monkeypatch.setenv("TAPD_KEY_FILE", str(tmp_path / "key"))
    application = Application("telnet")
    shell = ShellFactory()
    application.authorizer.add_account("admin", "woohoo")
    application.listen(f"unix:{tmp_path}/socket", shell)
    with serving(tmp_path, application) as server:
        wait_for((tmp_path / "telnet.d" / "control").exists, "control socket")
        arguments = ["telnet", "--directory", str(tmp_path)]
        assert run([*arguments, "--tries", "7", "--password", "other"], by_hand) == 0
        assert "tries=7 is set" in capsys.readouterr().out
        assert run([*arguments, "--port", "4999"], by_hand) == 75
        assert "stop it first" in capsys.readouterr().err
        assert "tries=7 is set now, by tapd-mktap of uid" in server.log()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/socket")
            assert client.recv(10)
    after = Store(tmp_path / "telnet-shutdown.tap", server.key).load().application
    assert after.services["shellfactory"].tries_max == 7
    assert verify_password(after.authorizer.accounts["admin"].password_hash, "other")
    assert "other" not in server.log()


ROOM = """
from tapd import Service

class Room(Service):
    pass

class Hall(Service):
    pass
"""


@pytest.mark.usefixtures("here")
def test_a_server_of_ones_own_is_told_the_same_again(
    by_hand: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is named by an argument, not by an option that could be left out."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, other = tmp_path / "code", tmp_path / "other"
    for directory in (code, other):
        directory.mkdir()
        (directory / "rerun_room.py").write_text(ROOM)
    room = ["app", "rerun_room:Room", "--path", str(code), "--name", "room"]
    assert run([*room, "--port", "4001"], by_hand) == 0
    capsys.readouterr()
    assert run([*room, "--port", "4001"], by_hand) == 0
    out = capsys.readouterr().out
    assert "room.tap is there, and there is nothing to change in it.\ntapd room.tap\n" in out
    assert run([*room, "--port", "4002"], by_hand) == 0
    assert "room answers on 127.0.0.1:4002" in capsys.readouterr().out
    hall = ["app", "rerun_room:Hall", "--path", str(code), "--name", "room", "--port", "4002"]
    assert run(hall, by_hand) == 73
    assert "a server of another type" in capsys.readouterr().err
    del sys.modules["rerun_room"]
    sys.path.remove(str(code))
    moved = ["app", "rerun_room:Room", "--path", str(other), "--name", "room", "--port", "4002"]
    assert run(moved, by_hand) == 64
    assert f"lies in {code}, and --path can't be changed" in capsys.readouterr().err
