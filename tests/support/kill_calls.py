"""Kills between system calls: before and after each one that the server makes on a socket.

A kill is an exception that no code of the server catches; once it came, every further call
raises it as well, so that nothing can go on past it. The calls are those that `net` makes on
connections, and the write to the journal. The fault points of the production code count, too.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from harness import Harness

from tapd.testing.process import Process

SOCKET_CALLS = ("recv_into", "recvmsg", "send", "setsockopt", "getsockopt", "shutdown")


class Killed(KeyboardInterrupt):
    """The process is dead."""


class KillCalls:
    """Counts the instants at which a server can be killed, and kills it at one.

    Attributes:
        at: kill at this instant, counted from 1; 0 for never.
        passed: how many instants came so far.
        where: the name of the one at which it was killed.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, names: Sequence[str] = (*SOCKET_CALLS, "write")
    ) -> None:
        """Count the calls of `names`, and fault points where these are all."""
        self.at = 0
        self.passed = 0
        self.where = ""
        self._is_counting = False
        self._has_points = "write" in names
        for name in names:
            if name == "write":
                monkeypatch.setattr(os, "write", self._wrapped("write", os.write))
                continue
            monkeypatch.setattr(
                socket.socket, name, self._wrapped(name, getattr(socket.socket, name))
            )

        die = Process.die

        def die_unseen(process: Process) -> None:
            self._is_counting = False  # what the kernel does then is no call of the server's
            die(process)

        monkeypatch.setattr(Process, "die", die_unseen)

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            self.point(f"before {name}")
            try:
                return call(*arguments)
            finally:
                self.point(f"after {name}")

        return wrapper

    def point(self, name: str) -> None:
        """Pass one instant."""
        if not self._is_counting:
            return
        self.passed += 1
        if self.at and self.passed >= self.at:
            self.where = self.where or name
            raise Killed

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count while the server runs, and no calls of its peers."""
        self._is_counting = True
        try:
            yield
        finally:
            self._is_counting = False

    def aim(self, at: int) -> None:
        """Begin to count anew, and kill at the instant `at`."""
        self.at, self.passed, self.where = at, 0, ""

    def pump(self, harness: Harness) -> bool:
        """Let the server run until it is at rest or killed; return whether it was killed."""
        harness.fault = self.point if self._has_points else lambda _name: None
        with warnings.catch_warnings():
            # Killed in its start, it leaves to the collector what it had taken over.
            warnings.simplefilter("ignore", ResourceWarning)
            was_killed = self._was_killed(harness)
            if was_killed and harness.process is None:
                gc.collect()
        if was_killed:
            self.at = 0
            harness.give_up()
        return was_killed

    def _was_killed(self, harness: Harness) -> bool:
        try:
            with self.counted():
                if harness.process is None:
                    harness.start()
                harness.pump()
        except Killed:
            return True
        return False

    def pump_to_rest(self, harness: Harness) -> bool:
        """Let the server run until it is at rest, over the kill; return whether there was one."""
        was_killed = self.pump(harness)
        if was_killed:
            harness.start()
            harness.pump()
        return was_killed
