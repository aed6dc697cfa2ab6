"""Binding ports without a service manager: ports in use, their owners, leftover sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from tapd.errors import AddressUnusable
from tapd.host.manager.binding import bind_all, find_holder, is_open, why_not_free
from tapd.model.address import Address, parse_address
from tapd.systemd.inherited import listener_address


def test_port_in_use_names_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(
            AddressUnusable, match=rf"in use by .*process {os.getpid()}\)"
        ) as caught:
            bind_all([Address("127.0.0.1", port)])
        assert "tapd-mktap --port" in str(caught.value)
        assert str(os.getpid()) in find_holder(port)
    assert find_holder(port) == ""


def test_nothing_stays_bound_when_one_address_fails(tmp_path: Path) -> None:
    free = Address(path=str(tmp_path / "s"))
    with pytest.raises(AddressUnusable, match="does not have that address"):
        bind_all([free, Address("192.0.2.1", 4040)])
    assert not Path(free.path).exists()


def test_host_that_is_no_address() -> None:
    with pytest.raises(AddressUnusable, match="is not an IP address"):
        bind_all([Address("localhost.invalid", 4040)])


def test_wildcards_of_both_families_stand_together() -> None:
    (first,) = bind_all([Address("0.0.0.0", 0)])
    port = first.listener.getsockname()[1]
    (second,) = bind_all([Address("::", port)])
    first.close()
    second.close()


def test_unix_socket_mode_and_removal(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (bound,) = bind_all([Address(path=str(path))], unix_mode=0o660)
    assert path.stat().st_mode & 0o777 == 0o660
    bound.close()
    assert not path.exists()


def test_unix_socket_group(tmp_path: Path) -> None:
    """The group gets its rights together with the socket, and nobody before it."""
    path = tmp_path / "socket"
    group = os.getgroups()[-1] if os.getgroups() else os.getgid()
    with contextlib.closing(bind_all([Address(path=str(path))], 0o660, group)[0]):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group)


def test_unix_socket_of_another_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (bound,) = bind_all([Address(path=str(path))])
    path.unlink()
    path.touch()
    bound.close()
    assert path.exists()


def test_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (bound,) = bind_all(parse_address(f"unix:{path}"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    with pytest.raises(AddressUnusable, match="another process listens there"):
        bind_all(parse_address(f"unix:{path}"))
    bound.close()


def test_file_in_the_place_of_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(AddressUnusable, match="is no socket"):
        bind_all([Address(path=str(path))])
    assert path.read_text() == "precious"


def test_abstract_unix_socket() -> None:
    (bound,) = bind_all(parse_address(f"unix:@tapd-test-bind-{os.getpid()}"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0tapd-test-bind-{os.getpid()}")
    bound.close()


@pytest.mark.parametrize("path", ["socket", "@"])
def test_unix_datagram_socket(tmp_path: Path, path: str) -> None:
    path = f"@{tmp_path}" if path == "@" else str(tmp_path / path)
    (address,) = parse_address(f"udp:unix:{path}")
    with contextlib.closing(bind_all([address])[0]) as bound:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(path.replace("@", "\0"))
            client.send(b"ping")
        assert bound.listener.recv(10) == b"ping"


@pytest.mark.parametrize("kind", ["127.0.0.1:{port}", "udp:127.0.0.1:{port}"])
def test_whether_an_ip_address_is_free(kind: str) -> None:
    with contextlib.closing(bind_all(parse_address(kind.format(port=0)))[0]) as bound:
        port = bound.listener.getsockname()[1]
        (address,) = parse_address(kind.format(port=port))
        assert f"(process {os.getpid()})" in why_not_free(address)
    assert why_not_free(address) == ""
    assert why_not_free(address) == "", "the first look left nothing behind"
    assert "does not have that address" in why_not_free(Address("192.0.2.1", port))


@pytest.mark.parametrize("abstract", [True, False])
def test_whether_a_unix_address_is_free(tmp_path: Path, abstract: bool) -> None:
    path = f"@{tmp_path}" if abstract else str(tmp_path / "socket")
    (address,) = parse_address(f"unix:{path}")
    assert why_not_free(address) == ""
    with contextlib.closing(bind_all([address])[0]):
        assert why_not_free(address) != ""
    assert why_not_free(address) == ""
    assert not list(tmp_path.iterdir())


def test_looking_removes_no_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert why_not_free(Address(path=str(path))) == ""
    assert path.exists()


@pytest.mark.parametrize("is_datagram", [False, True])
def test_who_listens_is_seen(tmp_path: Path, is_datagram: bool) -> None:
    for host, path in (
        ("127.0.0.1", ""), ("::1", ""), ("", str(tmp_path / "a b")), ("", "@tapd-tests/open"),
    ):  # fmt: skip
        (bound,) = bind_all([Address(host, 0, path, is_datagram=is_datagram)])
        address = listener_address(bound.listener)
        assert is_open(address)
        assert not is_open(address.replace(path=address.path and f"{address.path}2", port=1))
        bound.close()
        assert not is_open(address)
