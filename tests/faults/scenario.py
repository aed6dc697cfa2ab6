"""The scenario: a few clients, one after the other, so that every byte is known.

First life: clients come, by TCP, by a UNIX socket and by datagrams; lines are cut in two
packets; a timer; a client that ends; a checkpoint; more lines; a reload for new code.
Second life: more lines; a client that resets, one whose output ends before its input;
SIGKILL. Third: more lines; the server closes one; a stop with clients there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import socket
import struct
from pathlib import Path

from by_hand import Server, wait_for

from tapd.cli.client import ControlClient, try_connect
from tapd.errors import TapdError

Transcripts = dict[str, list[str]]
ANSWER_S = 30.0
EOF = "EOF"


@dataclasses.dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server answers."""

    tcp: int
    unix: Path
    udp: int


class Client:
    """A client of the TCP port or the UNIX socket; notes what it gets."""

    def __init__(self, address: int | Path, name: str, transcripts: Transcripts) -> None:
        self.may_repeat = isinstance(address, Path)  # docs/promises.md, UNIX stream sockets
        self._got = transcripts.setdefault(name, [])
        if isinstance(address, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(ANSWER_S)
            self._socket.connect(str(address))
        else:
            self._socket = socket.create_connection(("127.0.0.1", address), timeout=ANSWER_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.ask(name)

    def ask(self, *pieces: str) -> str:
        """Send a line, in `pieces`, and return the answer."""
        self.tell(*pieces)
        return self.read()

    def tell(self, *pieces: str) -> None:
        """Send a line, in `pieces`."""
        for piece in (*pieces[:-1], f"{pieces[-1]}\n"):
            self._socket.sendall(piece.encode())

    def read(self) -> str:
        """Return the next line, or EOF."""
        while True:
            while b"\n" not in self._buffer:
                data = self._socket.recv(1 << 16)
                if not data:
                    self._got.append(f"{self._buffer.decode()}{EOF}")
                    return self._got[-1]
                self._buffer += data
            line, _, self._buffer = self._buffer.partition(b"\n")
            text = line.decode()
            if not (self.may_repeat and text in self._got):
                self._got.append(text)
                return text

    def end_input(self) -> None:
        """Send FIN."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End without a word."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Sender:
    """A client of the datagram port."""

    def __init__(self, port: int, transcripts: Transcripts) -> None:
        self._got = transcripts.setdefault("datagrams", [])
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(("127.0.0.1", port))

    def ask(self, text: str) -> None:
        """Send `text`, and wait for the answer; that to the one before may come again."""
        self._socket.send(text.encode())
        while (answer := self._socket.recv(1000).decode()) in self._got:
            pass
        self._got.append(answer)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def play(server: Server, addresses: Addresses, transcripts: Transcripts, states: list[str]) -> int:
    """Play all of it, from the start to the stop; return the manager's status.

    Raises:
        OSError, EOFError, AssertionError: a client did not get its answer.
    """
    server.start()
    with contextlib.ExitStack() as ends:

        def meet(name: str, address: int | Path = addresses.tcp) -> Client:
            client = Client(address, name, transcripts)
            ends.callback(client.close)
            return client

        early, local = meet("early"), meet("local", addresses.unix)
        sender = Sender(addresses.udp, transcripts)
        ends.callback(sender.close)
        early.ask("say in", " pieces")
        local.ask("say in", " pieces, too")
        local.ask("say more")
        sender.ask("first")
        sender.ask("second")
        early.tell("later")
        early.read()
        short = meet("short")
        short.ask("say little")
        short.end_input()
        short.read()
        short.read()
        early.ask("ended 1")
        _ask_server(server, "checkpoint")
        for client in (early, local):
            client.ask("say after the checkpoint")
        sender.ask("third")
        _renew(server)
        for client in (early, local):
            client.ask("say after the reload")
        early.tell("many 300")
        for _ in range(300):
            early.read()
        hasty = meet("hasty")
        hasty.ask("say I go")
        hasty.reset()
        early.ask("ended 2")
        halved = meet("halved")
        halved.ask("half")
        halved.read()
        halved.tell("after half")
        halved.end_input()
        early.ask("ended 3")
        states.append(early.ask("state"))
        _kill(server)
        states.append(early.ask("state"))
        late = meet("late")
        for client in (early, local, late):
            client.ask("say after the", " kill")
        sender.ask("fourth")
        late.ask("quit")
        late.read()
        early.ask("ended 4")
        states.append(early.ask("state"))
        # With clients there: what they do at their end would come before or after it.
        return server.stop(60)


def _ask_server(server: Server, request: str) -> object:
    """Make a request at the control socket; whatever becomes of it is an answer."""
    found: list[ControlClient] = []

    def is_there() -> bool:
        call = try_connect(server.tap)
        found.extend([call] if call else [])
        return call is not None or server.poll() is not None

    wait_for(is_there, "control socket", ANSWER_S)
    if not found:
        raise EOFError("the manager has ended")
    with found[0] as call, contextlib.suppress(TapdError, OSError, json.JSONDecodeError):
        return call.ask(request)
    return None


def _renew(server: Server) -> None:
    """Have new code taken over; where the process ended meanwhile, it has been."""
    server.write_new_code()
    before = server.child()
    answer = _ask_server(server, "reload")
    if answer is not None:
        _wait_for_next(server, before)


def _kill(server: Server) -> None:
    _wait_for_next(server, None)
    before = server.child()
    server.kill(signal.SIGKILL)
    _wait_for_next(server, before)


def _wait_for_next(server: Server, before: int | None) -> None:
    wait_for(
        lambda: server.poll() is not None or server.child() not in (None, before),
        "next process",
        ANSWER_S,
    )
    if server.poll() is not None:
        raise EOFError("the manager has ended")
