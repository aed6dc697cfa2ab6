"""Inherited sockets: taken whole, or refused with words (sd_listen_fds(3))."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapd.errors import SocketMismatch
from tapd.model.address import Address
from tapd.systemd import inherited
from tapd.systemd.inherited import describe_listener, listener_address, match_ports, take_inherited


def take_in_child(fds: list[int], check: Callable[[dict[str, str]], Any], **environ: str) -> Any:
    """Return what `check` returns in a child that has `fds` as 3, 4, … and `environ`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 200) for fd in [writing, *fds]]
            for index, fd in enumerate(high[1:]):
                os.dup2(fd, 3 + index, inheritable=True)
            own = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), "KEPT": "1"}
            try:
                answer = check(own | environ)
            except SocketMismatch as error:
                answer = f"refused: {error}"
            os.write(high[0], json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = json.loads(answers.read())
    os.waitpid(child, 0)
    return answer


def take(environ: dict[str, str]) -> Any:
    found = take_inherited(environ)
    fds = [entry.fileno() for entry in found.listeners]
    every = fds + [fd for entries in found.stored.values() for fd in entries]
    return {
        "fds": fds,
        "stored": found.stored,
        "inheritable": [fd for fd in every if os.get_inheritable(fd)],
        "blocking": [entry.fileno() for entry in found.listeners if entry.getblocking()],
        "environ": environ,
    }


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_listeners_and_stored(listener: socket.socket) -> None:
    reading, writing = os.pipe()
    answer = take_in_child(
        [listener.fileno(), reading, writing, listener.fileno()],
        take,
        LISTEN_FDNAMES="tapd@x.socket:tapd-vault-1:tapd-vault-1:tapd@x.socket",
    )
    assert answer == {
        "fds": [3, 6],
        "stored": {"tapd-vault-1": [4, 5]},
        "inheritable": [],
        "blocking": [],
        "environ": {"KEPT": "1"},
    }
    os.close(reading)
    os.close(writing)


def test_names_may_be_missing(listener: socket.socket) -> None:
    assert take_in_child([listener.fileno()], take)["fds"] == [3]


def is_empty(taken: inherited.Inherited) -> bool:
    return not taken.listeners and not taken.stored


def test_nothing_announced_or_for_another_process() -> None:
    assert is_empty(take_inherited({}))
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"}
    assert is_empty(take_inherited(environ))
    assert environ == {}


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LISTEN_FDS": "x"}, "LISTEN_FDS='x' is not a number"),
        ({"LISTEN_FDS": "-1"}, "is not a number"),
        ({"LISTEN_FDNAMES": "a:b"}, "announces 1 descriptors and LISTEN_FDNAMES names 2"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, "descriptor 4 (b) is not open"),
    ],
)
def test_senseless_announcements(
    listener: socket.socket, environ: dict[str, str], words: str
) -> None:
    def close_and_take(own: dict[str, str]) -> Any:
        os.closerange(4, 200)
        return take(own)

    answer = take_in_child([listener.fileno()], close_and_take, **environ)
    assert answer.startswith("refused: ")
    assert words in answer


def test_all_that_is_no_listener_is_named(listener: socket.socket, tmp_path: Path) -> None:
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connected, peer = socket.socketpair()
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    file = (tmp_path / "file").open("w")
    fds = [entry.fileno() for entry in (listener, datagram, connected, netlink, file)]
    answer = take_in_child(fds, take, LISTEN_FDNAMES="a:b:c:d:e")
    assert "(a)" not in answer
    assert "descriptor 4 (b) is a datagram socket that is not bound" in answer
    assert "descriptor 5 (c) is a stream socket that does not listen" in answer
    assert "descriptor 6 (d)" in answer
    assert "descriptor 7 (e) is no socket" in answer
    for entry in (datagram, connected, peer, netlink, file):
        entry.close()


# --- matching -----------------------------------------------------------------------


@pytest.fixture
def bind() -> Iterator[Callable[..., socket.socket]]:
    made: list[socket.socket] = []

    def make(
        host: str = "127.0.0.1", path: str = "", dual: bool = False, datagram: bool = False
    ) -> socket.socket:
        if datagram:
            entry = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
            entry.bind(path or (host, 0))
        elif path:
            entry = socket.socket(socket.AF_UNIX)
            entry.bind(path)
            entry.listen()
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            entry = socket.create_server((host, 0), family=family, dualstack_ipv6=dual)
        made.append(entry)
        return entry

    yield make
    for entry in made:
        entry.close()


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("is_unix", [False, True])
def test_streams_and_datagrams_of_one_number_are_told_apart(
    bind: Callable[..., socket.socket], tmp_path: Path, is_unix: bool
) -> None:
    stream = bind(path=str(tmp_path / "stream") if is_unix else "")
    datagram = bind(path=str(tmp_path / "datagram") if is_unix else "", datagram=True)
    addresses = [listener_address(entry) for entry in (datagram, stream)]
    assert [address.is_datagram for address in addresses] == [True, False]
    pairs = match_ports(addresses, [stream, datagram])
    assert [sock for _address, sock in pairs] == [datagram, stream]
    as_stream = [address.replace(is_datagram=False) for address in addresses]
    with pytest.raises(SocketMismatch, match="no socket was passed"):
        match_ports(as_stream, [stream, datagram])


def test_match_in_the_order_of_the_ports(bind: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    unix = bind(path=path)
    abstract = bind(path="\0tapd-test-match")
    four = bind()
    six = bind("::1")
    addresses = [
        Address("::1", port_of(six)),
        Address(path="@tapd-test-match"),
        Address("127.0.0.1", port_of(four)),
        Address(path=path),
    ]
    pairs = match_ports(addresses, [four, unix, six, abstract])
    assert [listener for _, listener in pairs] == [six, abstract, four, unix]
    assert [str(address) for address, _ in pairs] == [describe_listener(one) for _, one in pairs]


def test_same_path_by_another_name(bind: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "run")
    listener = bind(path=str(tmp_path / "alias" / "s"))
    assert match_ports([Address(path=str(tmp_path / "run" / "s"))], [listener])


def test_hosts_are_compared(bind: Any) -> None:
    listener = bind()
    with pytest.raises(SocketMismatch) as caught:
        match_ports([Address("127.0.0.2", port_of(listener))], [listener], "telnet")
    text = str(caught.value)
    assert f"no socket was passed for 127.0.0.2:{port_of(listener)}" in text
    assert f"no port of the application answers on 127.0.0.1:{port_of(listener)}" in text
    assert "systemctl restart tapd@telnet.socket" in text


def test_ipv6_spellings_are_one(bind: Any) -> None:
    listener = bind("::1")
    assert match_ports([Address("0:0::0:1", port_of(listener))], [listener])


def test_wildcards(bind: Any) -> None:
    four, dual = bind("0.0.0.0"), bind("::", dual=True)
    assert match_ports([Address("0.0.0.0", port_of(four))], [four])
    assert match_ports([Address("0.0.0.0", port_of(dual))], [dual]), "ListenStream=PORT"
    assert match_ports([Address("::", port_of(dual))], [dual])
    with pytest.raises(SocketMismatch):
        match_ports([Address("127.0.0.1", port_of(four))], [four])
    with pytest.raises(SocketMismatch):
        match_ports([Address("0.0.0.0", port_of(dual))], [bind("::")])


def test_port_0_takes_what_is_left(bind: Any) -> None:
    named, picked, six = bind(), bind(), bind("::1")
    pairs = match_ports(
        [
            Address("::1", 0),
            Address("127.0.0.1", 0),
            Address("127.0.0.1", port_of(named)),
        ],
        [named, picked, six],
    )
    assert [listener for _, listener in pairs] == [six, picked, named]
    assert match_ports([Address("127.0.0.1", 0)], [six]), "any that is left"


def test_port_0_takes_no_unix_socket(bind: Any, tmp_path: Path) -> None:
    with pytest.raises(SocketMismatch):
        match_ports([Address("127.0.0.1", 0)], [bind(path=str(tmp_path / "s"))])


def test_one_listener_serves_one_port(bind: Any) -> None:
    listener = bind()
    address = Address("127.0.0.1", port_of(listener))
    with pytest.raises(SocketMismatch, match="no socket was passed"):
        match_ports([address, address], [listener])


def test_loopback_of_a_machine_without_ipv6(bind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = bind()
    addresses = [Address("127.0.0.1", port_of(listener)), Address("::1", port_of(listener))]
    monkeypatch.setattr(inherited, "has_ipv6_loopback", lambda: False)
    assert match_ports(addresses, [listener]) == [(addresses[0], listener)]
    with pytest.raises(SocketMismatch):
        match_ports(addresses[1:], [])
    monkeypatch.setattr(inherited, "has_ipv6_loopback", lambda: True)
    with pytest.raises(SocketMismatch):
        match_ports(addresses, [listener])
