"""Twisted's manhole over telnet, for `bench_shell`: run with the Python that has Twisted."""

import sys

from twisted.conch.insults import insults
from twisted.conch.manhole import Manhole
from twisted.conch.telnet import TelnetBootstrapProtocol, TelnetTransport
from twisted.internet import protocol, reactor

factory = protocol.ServerFactory()
factory.noisy = False
factory.protocol = lambda: TelnetTransport(
    TelnetBootstrapProtocol, insults.ServerProtocol, Manhole, {"__name__": "__main__"}
)
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
reactor.run()
