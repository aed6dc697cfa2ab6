"""A small server for the manager's tests: it exits, crashes or hangs on command.

Run as ``managed_child.py LOG``. Every start appends a line to LOG. Clients send
lines; the first word is a command.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from tapd.systemd.inherited import take_inherited
from tapd.systemd.limits import store_descriptors_max
from tapd.systemd.notify import Notifier
from tapd.systemd.vault import Vault


def note(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(f"{text}\n")


class Server:
    def __init__(self, log: Path) -> None:
        self.log = log
        self.watchdog = "WATCHDOG_USEC" in os.environ
        self.parent = os.getppid()
        names = os.environ.get("LISTEN_FDNAMES")
        descriptors_max = store_descriptors_max(os.environ)
        self.notify_path = os.environ.get("NOTIFY_SOCKET")
        inherited = take_inherited(os.environ)
        self.notifier = Notifier.from_environ(os.environ)
        self.vault = Vault(self.notifier, segments_max=descriptors_max)
        self.selector = selectors.DefaultSelector()
        for listener in inherited.listeners:
            self.selector.register(listener, selectors.EVENT_READ, self.accept)
        held = self.vault.recover(inherited.stored)
        self.next_key = 0
        for one in held:
            self.add(socket.socket(fileno=one.fd))
            self.next_key = max(self.next_key, one.key + 1)
        note(log, f"start {os.getpid()} {names} {len(held)}")
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGINT, self.on_int)
        signal.signal(signal.SIGHUP, self.on_hangup)
        self.asked: set[str] = set()

    def on_term(self, _number: int, _frame: object) -> None:
        note(self.log, f"SIGTERM parent={'same' if os.getppid() == self.parent else 'gone'}")
        if not self.asked & {"slow", "stubborn"}:
            self.notifier.stopping("saving")
            os._exit(0)

    def on_hangup(self, _number: int, _frame: object) -> None:
        note(self.log, "SIGHUP")
        if "renew" in self.asked:
            os._exit(0)

    def on_int(self, _number: int, _frame: object) -> None:
        note(self.log, "SIGINT")
        if "stubborn" not in self.asked:
            os._exit(3)

    def accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        assert self.vault.put(self.next_key, connection.fileno())
        self.next_key += 1
        self.add(connection)

    def add(self, connection: socket.socket) -> None:
        self.selector.register(connection, selectors.EVENT_READ, self.read)

    def read(self, connection: socket.socket) -> None:
        data = connection.recv(4096)
        if not data:
            self.selector.unregister(connection)
            connection.close()
            return
        for line in data.decode().splitlines():
            word, _, argument = line.partition(" ")
            connection.sendall(f"{self.obey(word, argument)}\n".encode())

    def obey(self, word: str, argument: str) -> str:
        if word == "pid":
            return str(os.getpid())
        if word == "env":
            return os.environ.get(argument, "-")
        if word == "exit":
            os._exit(int(argument))
        if word == "kill":
            os.kill(os.getpid(), int(argument))
            signal.pause()
        if word == "hang":
            signal.pause()
        if word in ("slow", "stubborn", "renew"):
            self.asked.add(word)
        if word == "store":  # a second entry, of a kind that is polled
            reading, writing = os.pipe()
            self.notifier._pass("FDSTORE=1\nFDNAME=tapd-polled", [reading])
            self.writing = writing
        if word == "hangup":
            os.close(self.writing)
        if word == "remove":
            self.notifier.remove_fd("tapd-polled")
        if word == "impostor" and os.fork() == 0:
            impostor = Notifier.from_environ({"NOTIFY_SOCKET": str(self.notify_path)})
            impostor.store_fd("tapd-impostor", 0)
            os._exit(0)
        if word == "trigger":
            self.notifier._say(1, "WATCHDOG=trigger")
            signal.pause()
        if word in ("idle", "sleep"):
            self.end(float(argument or 0))
        return f"{word} {argument}"

    def end(self, sleep_s: float) -> NoReturn:
        if sleep_s:
            self.notifier.wake_at(time.time() + sleep_s)
            os._exit(150)
        self.notifier.stopping()
        os._exit(0)

    def serve(self) -> NoReturn:
        self.notifier.ready("serving")
        assert self.notifier.barrier(5)
        note(self.log, "ready")
        while True:
            if self.watchdog:
                self.notifier.watchdog()
            for key, _ in self.selector.select(0.05 if self.watchdog else None):
                key.data(key.fileobj)


if __name__ == "__main__":
    Server(Path(sys.argv[1])).serve()
