"""The datagram ports that a turn serves."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from tapd.model.application import Port
from tapd.net.rate_limit import Tellings
from tapd.net.streams.datagrams import DatagramPort
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.sockets import IN, OUT, Sockets
from tapd.store.journal.records import Identity


class Ports:
    """All datagram ports; also their view of the turn (`net.streams.datagrams.PortTurn`).

    Owns the ports, and the list of those that the next commit looks at. Their sockets belong
    to the service manager.

    Attributes:
        touched: those that ran or wrote something, or can send again.
        may_receive: whether a port may run a datagram.
        call: run a function in the next turn.
        tell: log something, rate limited.
    """

    def __init__(
        self,
        schedule: Schedule,
        sockets: Sockets,
        tellings: Tellings,
        may_receive: Callable[[DatagramPort, Identity], bool],
    ) -> None:
        self.touched: list[DatagramPort] = []
        self.may_receive = may_receive
        self.call = schedule.call
        self.tell = tellings.tell
        self._schedule = schedule
        self._sockets = sockets
        self._ports: list[DatagramPort] = []

    def __iter__(self) -> Iterator[DatagramPort]:
        return iter(self._ports)

    def serve(self, sock: socket.socket, port: Port) -> None:
        """Serve `port` at `sock`."""
        served = DatagramPort(self, sock, port)
        self._ports.append(served)
        self._sockets.add(served)
        served.interest = IN

    def stop(self) -> None:
        """Stop receiving; the ports can still send."""
        for port in self._ports:
            if self._sockets.by_fd.pop(port.fd, None) is not None:
                self._sockets.epoll.unregister(port.fd)
                port.interest = -1

    def touch_port(self, port: DatagramPort) -> None:
        """Have this turn (or the next) look at `port`."""
        if not port.touched:
            port.touched = True
            self.touched.append(port)
            if not self._schedule.is_running:
                self._schedule.wake()

    def receive(self, port: DatagramPort, event: int) -> None:
        """Give `port` the datagrams that wait."""
        if event & OUT:
            self.touch_port(port)
        if port.wants_input:
            port.receive()

    def externalise(self, ports: list[DatagramPort]) -> list[tuple[str, int]]:
        """Send the datagrams, discard those that were run.

        Returns:
            Name and number sent of the ports for which nothing else tells the number.
        """
        sent: list[tuple[str, int]] = []
        for port in ports:
            count = port.externalise()
            if count is not None:
                sent.append((port.name, count))
            interest = IN if port.wants_input else OUT
            if port.interest not in (interest, -1):
                self._sockets.epoll.modify(port.fd, interest)
                port.interest = interest
        return sent
