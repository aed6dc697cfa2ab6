"""Proxies and gateways: the PROXY header, WEBIRC, STS; and TLS that a kill does not end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import argon2
import pytest
from by_hand import free_port, serving
from harness import Harness
from hypothesis import given
from hypothesis import strategies as st
from irc_kit import Irc, codes, make_network

from tapd.errors import PeerError
from tapd.model.application import Application
from tapd.services.irc import IrcNetwork
from tapd.services.irc.state.fronts import Fronts
from tapd.testing import kill_everywhere
from tapd.testing.host import Host
from tapd.wire.proxy import V1_BYTES_MAX, V2_BYTES_MAX, V2_SIGNATURE, parse_header

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def v2(address: str = "192.0.2.7", *, command: int = 0x21, extras: bytes = b"") -> bytes:
    """Return a header of version 2 (proxy-protocol.txt, section 2.2)."""
    if ":" in address:
        family, packed = 0x21, socket.inet_pton(socket.AF_INET6, address)
    else:
        family, packed = 0x11, socket.inet_aton(address)
    block = packed + packed + struct.pack(">HH", 1234, 6697) + extras
    return V2_SIGNATURE + bytes((command, family)) + struct.pack(">H", len(block)) + block


TLS = b"\x20" + struct.pack(">H", 5) + b"\x01\0\0\0\0"  # PP2_TYPE_SSL, section 2.2.6

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 6697\r\n"


@pytest.mark.parametrize(
    ("header", "address", "is_secure"),
    [
        (V1, "192.0.2.7", False),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1234 6697\r\n", "2001:db8::7", False),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1234 6697\r\n", "192.0.2.7", False),
        (b"PROXY UNKNOWN whatever\r\n", "", False),
        (v2(), "192.0.2.7", False),
        (v2("2001:db8::7"), "2001:db8::7", False),
        (v2("::1"), "0::1", False),
        (v2(extras=b"\x04\0\x01x" + TLS), "192.0.2.7", True),
        (v2(command=0x20), "", False),
    ],
)
def test_headers_at_every_split(header: bytes, address: str, is_secure: bool) -> None:
    for end in range(len(header)):
        assert end == 0 or parse_header(header[:end]) is None
    parsed = parse_header(header + b"NICK Ann\r\n")
    assert parsed == (address, is_secure, len(header))


@pytest.mark.parametrize(
    "data",
    [
        b"NICK Ann\r\n",
        b"PASS",
        b"PROXY TCP4 nobody 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY " + b"x" * V1_BYTES_MAX,
        V2_SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
        V2_SIGNATURE + b"\x21\x11\xff\xff",
        V2_SIGNATURE + b"\x21\x11\0\x04" + b"\0" * 4,
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(PeerError):
        parse_header(data)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(V2_SIGNATURE.__add__)))
def test_any_bytes_are_a_header_or_not(data: bytes) -> None:
    try:
        header = parse_header(data)
    except PeerError:
        return
    if header is None:
        assert len(data) < V2_BYTES_MAX
    else:
        assert header.size <= len(data)


def test_which_connections_are_a_proxys() -> None:
    fronts = Fronts()
    assert not fronts.begins_with_header(("127.0.0.1", 5), ("127.0.0.1", 6667))
    fronts.proxies = ("127.0.0.1", "localhost")
    assert fronts.begins_with_header(("127.0.0.1", 5), ("127.0.0.1", 6667))
    assert not fronts.begins_with_header(("127.0.0.2", 5), ("127.0.0.1", 6667))
    fronts.proxy_port = 6668
    assert not fronts.begins_with_header(("127.0.0.1", 5), ("127.0.0.1", 6667))
    assert fronts.begins_with_header(("127.0.0.1", 5), ("127.0.0.1", 6668))
    assert fronts.begins_with_header("", "/run/socket")


def proxied() -> Application:
    application = make_network()
    network = application.services["irc"]
    assert isinstance(network, IrcNetwork)
    network.fronts.proxies = ("127.0.0.0/8",)
    return application


@pytest.fixture
def irc(serve: Callable[..., Harness]) -> Irc:
    return Irc(serve(proxied()))


def test_a_client_has_the_address_that_the_proxy_says(irc: Irc) -> None:
    client = irc.connect()
    client.send_raw(v2()[:20])
    irc.harness.crash()
    client.send_raw(v2()[20:] + b"NICK Ann\r\n")
    client.send("USER ann 0 * :Ann")
    assert codes(client.read())[0] == "001"
    user = irc.network.users["ann"]
    assert (user.ip, user.host) == ("192.0.2.7", "192.0.2.7")
    assert "671" in codes(client.ask("WHOIS Ann"))


def test_a_proxy_must_say_it(irc: Irc) -> None:
    """The receiver must not guess whether there is a header (section 2)."""
    client = irc.connect()
    client.send("NICK Ann", "USER ann 0 * :Ann")
    assert client.read_end() == []
    assert not irc.network.users


def test_a_health_check_is_the_proxys_own(irc: Irc) -> None:
    client = irc.connect()
    client.send_raw(v2(command=0x20) + b"NICK Ann\r\nUSER a 0 * :A\r\n")
    client.read()
    assert irc.network.users["ann"].ip == "127.0.0.1"


def test_limits_and_bans_are_about_who_is_behind_it(irc: Irc) -> None:
    irc.network.limits.connections_per_address = 1
    irc.network.limits.connections_per_minute = 3
    ends: list[bytes] = []
    for address in ("192.0.2.7", "192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.7"):
        client = irc.connect()
        client.send_raw(v2(address))
        if irc.network.crowd.total > len(ends) + 1:
            break
        ends.append(client.peer.read())
    assert ends[0] == ends[2] == b""
    assert b"Too many connections from your address" in ends[1]
    assert ends[4] == b""  # too often: without a word


def say(host: Host) -> None:
    peer = host.connect()
    peer.send(v2("2001:db8::7", extras=TLS) + b"NICK A\r\nUSER a 0 * :A\r\nQUIT\r\n")


def test_nobody_notices_a_kill_in_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IrcNetwork, "next_reference", lambda _self: "id")
    assert kill_everywhere(proxied(), say, splits=True).splits > 80


# --- WEBIRC and STS -------------------------------------------------------------------


@pytest.fixture
def plain(serve: Callable[..., Harness]) -> Irc:
    irc = Irc(serve(make_network()))
    irc.network.fronts.gateways = ("127.0.0.1",)
    irc.network.fronts.webirc_hash = CHEAP.hash("gate")
    return irc


def test_webirc(plain: Irc) -> None:
    """ircv3.net/specs/extensions/webirc, with the option ``secure``."""
    client = plain.connect()
    client.send("WEBIRC gate kiwi some.host 2001:db8::5 :secure remote-port=3", "NICK Ann")
    client.send("USER ann 0 * :Ann")
    plain.harness.wait_for(lambda: plain.network.users)
    assert plain.network.users["ann"].ip == "2001:db8::5"
    assert "671" in codes(client.ask("WHOIS Ann"))


@pytest.mark.parametrize(
    "lines",
    [
        ["WEBIRC wrong kiwi h 192.0.2.1"],
        ["WEBIRC gate kiwi h nowhere"],
        ["NICK Ann", "WEBIRC gate kiwi h 192.0.2.1"],
    ],
)
def test_webirc_refused(plain: Irc, lines: list[str]) -> None:
    client = plain.connect()
    client.send(*lines)
    assert client.read_end()[-1] == "ERROR :Closing link: (WEBIRC is not for you)"


def test_webirc_is_for_gateways(plain: Irc) -> None:
    plain.network.fronts.gateways = ("192.0.2.0/24",)
    client = plain.connect()
    client.send("WEBIRC gate kiwi h 192.0.2.1")
    assert client.read_end()


def test_sts_is_told_and_never_given(plain: Irc) -> None:
    """ircv3.net/specs/extensions/sts: only with CAP LS 302, and a REQ gets NAK."""
    plain.network.fronts.sts_port = 6697
    new, old = plain.connect(), plain.connect()
    assert "sts=port=6697,duration=300" in " ".join(new.ask("CAP LS 302"))
    assert "sts" not in old.ask("CAP LS")[0].split(" ")
    assert codes(new.ask("CAP REQ sts")) == ["CAP"]
    assert " NAK " in new.ask("CAP REQ sts")[0]


# --- TLS --------------------------------------------------------------------------------


def make_certificate(directory: Path) -> tuple[Path, Path]:
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return certificate, key


class TlsFront:
    """A TLS terminator, of one connection, in a thread."""

    def __init__(self, directory: Path, port: int) -> None:
        certificate, key = make_certificate(directory)
        self.certificate = certificate
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._port = port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        raw, _ = self.listening.accept()
        with (
            socket.create_connection(("127.0.0.1", self._port)) as inner,
            self._context.wrap_socket(raw, server_side=True) as outer,
        ):
            inner.sendall(v2("192.0.2.7", extras=TLS))
            while True:
                ready = [outer] if outer.pending() else select.select([outer, inner], [], [])[0]
                for source, target in ((outer, inner), (inner, outer)):
                    if source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        target.sendall(data)

    def close(self) -> None:
        self._thread.join(30)
        self.listening.close()

    def connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.certificate))
        raw = socket.create_connection(self.listening.getsockname(), timeout=120)
        return context.wrap_socket(raw, server_hostname="localhost")


def read_until(sock: ssl.SSLSocket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        more = sock.recv(65536)
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


def test_a_client_on_tls_sees_no_kill(tmp_path: Path) -> None:
    """The terminator's connection to the server outlives it, so the client's does (promise 3)."""
    port = free_port()
    application = Application("irc")
    network = IrcNetwork("Tls", "irc.tls.internal", 0.0)
    network.fronts.proxies = ("127.0.0.1",)
    application.listen(f"127.0.0.1:{port}", network)
    with serving(tmp_path, application) as server:
        front = TlsFront(tmp_path, port)
        client = front.connect()
        client.sendall(b"NICK Ann\r\nUSER ann 0 * :Ann\r\nWHOIS Ann\r\n")
        welcome = read_until(client, b" 318 ")
        assert b" 671 Ann Ann :is using a secure connection" in welcome
        assert b" 338 Ann Ann ~ann@192.0.2.7 192.0.2.7 " in welcome
        for number in range(3):
            client.sendall(f"PING before{number}\r\nPING with".encode())
            server.kill(signal.SIGKILL)
            client.sendall(f"in{number}\r\n".encode())
            got = read_until(client, f":within{number}\r\n".encode())
            assert got.count(b"PONG") == 2
        client.close()
        front.close()


HAPROXY = """\
defaults
    timeout connect 5s
    timeout client 10m
    timeout server 10m
listen irc
    mode tcp
    bind 127.0.0.1:{tls} ssl crt {pem}
    server tapd 127.0.0.1:{port} send-proxy-v2-ssl
"""
STUNNEL = """\
foreground = yes
pid =
[irc]
accept = 127.0.0.1:{tls}
connect = 127.0.0.1:{port}
protocol = proxy
cert = {pem}
"""


@pytest.mark.parametrize(
    ("program", "arguments", "configuration"),
    [("haproxy", ("-db", "-f"), HAPROXY), ("stunnel4", (), STUNNEL)],
)
def test_terminators_that_people_use(
    tmp_path: Path, program: str, arguments: tuple[str, ...], configuration: str
) -> None:
    """As docs/irc.md has it: the clients behind them see no kill."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt install {program}")
    certificate, key = make_certificate(tmp_path)
    pem = tmp_path / "both.pem"
    pem.write_text(certificate.read_text() + key.read_text())
    port, tls = free_port(), free_port()
    path = tmp_path / "configuration"
    path.write_text(configuration.format(tls=tls, port=port, pem=pem))
    application = Application("irc")
    network = IrcNetwork("Tls", "irc.tls.internal", 0.0)
    network.fronts.proxies = ("127.0.0.1",)
    application.listen(f"127.0.0.1:{port}", network)
    with (
        serving(tmp_path, application) as server,
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([program, *arguments, path], stdout=log, stderr=log) as process,
    ):
        try:
            context = ssl.create_default_context(cafile=str(certificate))
            raw = connect_when_ready(process, tls)
            with context.wrap_socket(raw, server_hostname="localhost") as client:
                client.sendall(b"NICK Ann\r\nUSER ann 0 * :Ann\r\nWHOIS Ann\r\n")
                assert b" 671 Ann Ann " in read_until(client, b" 318 ")
                for number in range(3):
                    client.sendall(b"PING with")
                    server.kill(signal.SIGKILL)
                    client.sendall(f"in{number}\r\n".encode())
                    read_until(client, f":within{number}\r\n".encode())
        finally:
            process.terminate()


def connect_when_ready(process: subprocess.Popen[bytes], port: int) -> socket.socket:
    while process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=120)
        os.sched_yield()
    raise AssertionError(f"it ended with {process.returncode}")
