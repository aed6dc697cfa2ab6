r"""The test kit for authors: runs a server inside a test, and kills it at any chosen place.

::

    from tapd.testing import Host, kill_everywhere

    def test_echo():
        with Host(make_application()) as host:
            peer = host.connect()
            peer.send_line("hello")
            host.kill()
            peer.expect("hello\n")

The names here are imported at first use, so that the pytest plugin costs nothing in a
test run that does not use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = [
    "AuthorMistake", "DatagramPeer", "Host", "KillDifference", "KillReport", "LostState", "Peer",
    "Remote", "Unexpected", "kill_everywhere",
]  # fmt: skip

if TYPE_CHECKING:
    from tapd.testing.datagrams import DatagramPeer
    from tapd.testing.failures import AuthorMistake, KillDifference, LostState, Unexpected
    from tapd.testing.host import Host
    from tapd.testing.kill import KillReport, kill_everywhere
    from tapd.testing.peers import Peer
    from tapd.testing.remote import Remote

_HOMES = {
    "AuthorMistake": "tapd.testing.failures",
    "DatagramPeer": "tapd.testing.datagrams",
    "Host": "tapd.testing.host",
    "KillDifference": "tapd.testing.failures",
    "KillReport": "tapd.testing.kill",
    "LostState": "tapd.testing.failures",
    "Peer": "tapd.testing.peers",
    "Remote": "tapd.testing.remote",
    "Unexpected": "tapd.testing.failures",
    "kill_everywhere": "tapd.testing.kill",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tapd.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
