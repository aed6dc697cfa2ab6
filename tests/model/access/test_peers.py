"""Whom a connection's costs are counted for."""

from __future__ import annotations

import os
import socket

import pytest

from tapd.model.access.peers import group_of_host, group_of_peer


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("0::1", "::/64"),  # as the IRC server writes it
        ("not: an address", "not: an address"),
        ("", ""),
    ],
)
def test_an_address_counts_for_what_one_customer_has(host: str, group: str) -> None:
    assert group_of_host(host) == group
    assert group_of_peer((host, 1)) == group
    assert group_of_peer((host, 1, 0, 0)) == group


def test_a_unix_sockets_peer_counts_for_its_user() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert group_of_peer(here.getpeername(), here) == f"unix: user {os.getuid()}"
    assert group_of_peer("", here) == "unix"  # closed by now: it can't be asked
    assert group_of_peer(None) == "unix"
