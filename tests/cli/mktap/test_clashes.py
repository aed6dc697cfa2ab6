"""Ports that somebody else has, as `tapd-mktap` says them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapd.cli.machine import Machine
from tapd.cli.mktap.clashes import find_clashes
from tapd.cli.mktap.command import run
from tapd.model.address import Address, parse_address

HOST = "127.0.0.3"  # of these tests only


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that this process has."""
    with socket.create_server((HOST, 0)) as holder:
        yield f"{HOST}:{holder.getsockname()[1]}"


@pytest.fixture
def free() -> str:
    """A port that nobody has."""
    with socket.create_server((HOST, 0)) as holder:
        return f"{HOST}:{holder.getsockname()[1]}"


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_taken_port_is_said_and_the_server_made(
    system: Machine, taken: str, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    assert run(["example-echo", "--name", "echo", "-p", taken, *dry], system) == 0
    err = capsys.readouterr().err
    assert f"can't listen on {taken}: it is in use by" in err
    assert f"(process {os.getpid()})" in err
    assert system.installed_path("echo").exists() is not bool(dry)


@pytest.mark.usefixtures("here")
def test_nothing_is_made_that_could_not_start_now(
    system: Machine, tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path)
    assert run(["example-echo", "--name", "echo", "-p", taken, "--now"], system) == 69
    assert f"(process {os.getpid()})" in capsys.readouterr().err
    assert files_below(tmp_path) == before


@pytest.mark.usefixtures("here")
def test_no_server_is_moved_to_a_taken_port(
    system: Machine, tmp_path: Path, free: str, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its ports are open (the script in the place of systemctl says so), and stay as they are."""
    assert run(["example-echo", "--name", "echo", "-p", free], system) == 0
    before = files_below(tmp_path / "state") | files_below(tmp_path / "units")
    assert run(["example-echo", "--name", "echo", "-p", taken], system) == 69
    assert f"can't listen on {taken}" in capsys.readouterr().err
    assert files_below(tmp_path / "state") | files_below(tmp_path / "units") == before
    assert "restart" not in (tmp_path / "asked").read_text()


@pytest.mark.usefixtures("here")
def test_what_its_own_sockets_hold_is_free(
    system: Machine, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of those, only what is new is tried: its own unit lets go of the others."""
    assert run(["example-echo", "--name", "echo", "-p", taken], system) == 0
    capsys.readouterr()
    port = taken.rpartition(":")[2]
    arguments = ["example-echo", "--name", "echo", "-p", taken, "-p", f"0.0.0.0:{port}", "--now"]
    assert run(arguments, system) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("here")
def test_two_servers_on_one_port(
    system: Machine, free: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["example-echo", "--name", "a+b", "-p", free], system) == 0
    assert run(["example-echo", "--name", "two", "-p", free, "--now"], system) == 0
    said = f"tapd-mktap: {free} is a port of the server a\\x2bb, too: stop that one (systemctl stop"
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert len(err.splitlines()) == 1
    with contextlib.closing(socket.create_server((HOST, int(free.rpartition(":")[2])))):
        assert run(["example-echo", "--name", "three", "-p", free, "--now"], system) == 69
    assert not system.installed_path("three").exists()


@pytest.mark.usefixtures("here")
def test_who_has_the_port_is_named_not_who_wants_it(
    system: Machine, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other server of that port is not started, and could not be."""
    Path(system.systemctl[0]).write_text('#!/bin/sh\n[ "$1" != is-active ]\n')
    assert run(["example-echo", "--name", "one", "-p", taken], system) == 0
    capsys.readouterr()
    assert run(["example-echo", "--name", "two", "-p", taken], system) == 0
    assert f"(process {os.getpid()})" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_both_loopbacks_are_said_once(
    system: Machine, free: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free.rpartition(":")[2]
    assert run(["example-echo", "--name", "one", "-p", port], system) == 0
    assert run(["example-echo", "--name", "two", "-p", port], system) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("port", "wanted", "clashes"),
    [
        ("127.0.0.3:1", "0.0.0.0:1", True),
        ("0.0.0.0:1", "127.0.0.3:1", True),
        ("127.0.0.3:1", "127.0.0.4:1", False),
        ("127.0.0.3:1", "127.0.0.3:2", False),
        ("127.0.0.3:1", "udp:127.0.0.3:1", False),
        ("0.0.0.0:1", "[::]:1", False),
        ("udp:unix:/x", "udp:unix:/x", True),
        ("unix:@x", "unix:@x", True),
        ("unix:@x", "unix:@y", False),
    ],
)
def test_which_ports_are_one(system: Machine, port: str, wanted: str, clashes: bool) -> None:
    directory = system.unit_directory / "tapd@other.socket.d"
    directory.mkdir(parents=True)
    kind = "Datagram" if port.startswith("udp:") else "Stream"
    value = port.removeprefix("udp:").removeprefix("unix:")
    (directory / "ports.conf").write_text(
        f"[Socket]\nListenStream=vsock::1\nListen{kind}={value}\n"
    )
    addresses: list[Address] = [*parse_address(wanted)]
    said = [clash.text for clash in find_clashes(system, "mine", addresses)]
    assert any("of the server other, too" in text for text in said) is clashes


def test_a_drop_in_that_cannot_be_read_is_no_clash(system: Machine) -> None:
    directory = system.unit_directory / "tapd@other.socket.d"
    directory.mkdir(parents=True)
    (directory / "ports.conf").write_bytes(b"[Socket]\ngarbage\n\xff")
    assert find_clashes(system, "mine", [Address(path="@tapd-test-clash")]) == []
