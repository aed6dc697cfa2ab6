"""Limits the connections from one address to one service.

Only services with a limit (`Service.connections_per_address_max`) are counted, from the
first new connection on; the others cost nothing. The counts are volatile: the next process
counts anew. An IPv6 address counts as its /64. Peers on a UNIX socket are not counted,
since the socket's file mode controls access.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any

from tapd.model.access.peers import UNIX, group_of_peer
from tapd.model.service import Service
from tapd.net.streams.stream import Stream


class Crowd:
    """The connections of those services that have a limit for each address."""

    def __init__(self) -> None:
        self._counts: dict[str, collections.Counter[str]] = {}  # by the name of the service
        self._groups: dict[Stream, tuple[str, str]] = {}

    def why_full(self, service: Service, peer: Any, streams: Iterable[Stream]) -> str:
        """Return why `service` takes no more connections from `peer`; "" where it does.

        Args:
            service: whose connection it would be.
            peer: its socket address.
            streams: all that there are.
        """
        most = service.connections_per_address_max
        if not most:
            return ""
        group = group_of_peer(peer)
        if group == UNIX:
            return ""
        counts = self._counts.get(service.name)
        if counts is None:
            counts = self._counts[service.name] = collections.Counter()
            for stream in streams:
                self.add(stream, _service_of(stream), stream.get_extra_info("peername"))
        if counts[group] < most:
            return ""
        return f"{group} has {most} connections, as many as one address may have"

    def add(self, stream: Stream, service: Service | None, peer: Any) -> None:
        """Count a connection from `peer` to `service`, where those are counted."""
        if not self._counts or service is None:
            return
        name = service.name
        counts = self._counts.get(name)
        if counts is not None and stream not in self._groups:
            group = group_of_peer(peer)
            counts[group] += 1
            self._groups[stream] = name, group

    def remove(self, stream: Stream) -> None:
        """Remove a connection from the count, where it was counted."""
        if stream not in self._groups:
            return
        name, group = self._groups.pop(stream)
        counts = self._counts[name]
        counts[group] -= 1
        if not counts[group]:
            del counts[group]


def _service_of(stream: Stream) -> Service | None:
    """Return the service of a stream's protocol; None where it has none, as a stand-in."""
    try:
        service = stream.protocol.service
    except BaseException:  # an author's property
        return None
    return service if isinstance(service, Service) else None
