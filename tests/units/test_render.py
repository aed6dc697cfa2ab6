"""Drop-ins of one server: what systemd is told of its ports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapd.errors import UsageError
from tapd.model.address import Address, parse_address
from tapd.units.render import (
    change_ports_drop_in,
    new_ports_drop_in,
    parse_ports_drop_in,
    ports_drop_in_path,
    render_listen,
)


def render_ports_drop_in(name: str, addresses: Sequence[Address]) -> str:
    """Return the drop-in of a new server."""
    return change_ports_drop_in(new_ports_drop_in(name), addresses).render()


def test_the_ports_stand_in_the_order_of_the_application() -> None:
    text = render_ports_drop_in("telnet", parse_address("4040") + parse_address("10.1.2.3:23"))
    assert text.splitlines()[4:] == [
        "[Socket]",
        "ListenStream=127.0.0.1:4040",
        "ListenStream=[::1]:4040",
        "ListenStream=10.1.2.3:23",
        "NoDelay=yes",
    ]


def test_datagram_ports_are_listed_as_such() -> None:
    addresses = [
        address for text in ("udp:53", "53", "udp:unix:/run/x") for address in parse_address(text)
    ]
    text = render_ports_drop_in("dns", addresses)
    assert [line for line in text.splitlines() if line.startswith("Listen")] == [
        "ListenStream=127.0.0.1:53",
        "ListenStream=[::1]:53",
        "ListenDatagram=127.0.0.1:53",
        "ListenDatagram=[::1]:53",
        "ListenDatagram=/run/x",
    ]
    assert "NoDelay" not in text
    assert sorted(parse_ports_drop_in(text, "x")) == sorted(map(str, addresses))


def test_no_tcp_option_is_set_where_a_unix_socket_would_get_it() -> None:
    text = render_ports_drop_in("web", parse_address("unix:/run/web.sock"))
    assert "ListenStream=/run/web.sock\n" in text
    assert "NoDelay" not in text


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("unix:@abstract", "@abstract"),
        ("unix:/run/100%.sock", "/run/100%%.sock"),
        ("[::]:23", "[::]:23"),
        ("*:23", "0.0.0.0:23"),
    ],
)
def test_listen_stream_values(address: str, value: str) -> None:
    assert render_listen(parse_address(address)[0]) == value


@pytest.mark.parametrize("address", [Address("127.0.0.1", 0), Address(path="/run/a b")])
def test_what_systemd_cannot_listen_on_is_refused(address: Address) -> None:
    with pytest.raises(UsageError, match="systemd"):
        render_ports_drop_in("x", [address])


ADDRESSES = st.one_of(
    st.builds(Address, st.ip_addresses().map(str), st.integers(1, 65535)),
    st.builds(
        Address,
        path=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\\"))
        .map("/{}x".format)
        .filter(lambda path: len(path.encode()) < 108),
    ),
)


@given(st.lists(ADDRESSES, min_size=1, max_size=5))
def test_what_is_written_is_what_systemd_reads(addresses: list[Address]) -> None:
    values = parse_ports_drop_in(render_ports_drop_in("x", addresses), "x")
    assert values == [str(address) for address in addresses]


def test_paths_of_one_server() -> None:
    assert ports_drop_in_path("irc") == Path("/etc/systemd/system/tapd@irc.socket.d/ports.conf")
