"""The vault of a process that is killed at each of its steps."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import Any

from held import discard

from tapd.linux.sockets import socket_cookie
from tapd.systemd.notify import Notifier
from tapd.systemd.vault import Vault


def run_until_fault(number: int, receiver: Any, stored: Any, life: Callable[..., None]) -> bool:
    """Run `life` in a child that is killed at its fault point `number`; was it?

    `receiver` plays the service manager meanwhile.
    """
    child = os.fork()
    if child == 0:
        left = number

        def fault(_name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        notifier = Notifier.from_environ({"NOTIFY_SOCKET": receiver.path})
        vault = Vault(notifier, segment_connections=2, fault=fault)
        try:
            life(vault, stored)
            os._exit(0)
        finally:
            os._exit(1)
    end = os.pidfd_open(child)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(receiver.socket, select.POLLIN)
    while end not in dict(poll.poll()):
        receiver.read()
    os.close(end)
    receiver.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def empty(receiver: Any, made: Any) -> list[int]:
    """Recover what the manager has, check that it is what was `made`, and give it all back."""
    held = Vault(None).recover(receiver.duplicates())
    assert all(socket_cookie(made[one.key][0].fileno()) == one.cookie for one in held)
    discard(held)
    for name in list(receiver.stored):
        for fd in receiver.stored.pop(name):
            os.close(fd)
    return [one.key for one in held]


def test_kill_at_each_step_of_keeping(receiver: Any, pairs: Any) -> None:
    made = pairs(5)
    done_reading, done = os.pipe()

    def life(vault: Vault, _stored: Any) -> None:
        for key, (ours, _) in enumerate(made):
            assert vault.put(key, ours.fileno())
            os.write(done, b"x")

    number = 0
    while True:
        number += 1
        was_killed = run_until_fault(number, receiver, {}, life)
        os.write(done, b".")
        count = len(os.read(done_reading, 100)) - 1
        keys = empty(receiver, made)
        # The put that was under way may have made it or not.
        assert keys in (list(range(count)), list(range(count + 1)))
        if not was_killed:
            break
    assert number > 20
    os.close(done_reading)
    os.close(done)


def test_kill_at_each_step_of_recovery_and_compaction(receiver: Any, pairs: Any) -> None:
    made = pairs(7)
    living = {0, 3, 6}

    def fill(vault: Vault, _stored: Any) -> None:
        for key, (ours, _) in enumerate(made):
            assert vault.put(key, ours.fileno())

    def live(vault: Vault, stored: Any) -> None:
        for one in vault.recover(stored):
            if one.key not in living:
                vault.forget(one.key)
        assert len(vault) == len(living)
        assert vault.compact(100) > 0

    number = 0
    while True:
        number += 1
        assert not run_until_fault(1_000_000, receiver, {}, fill)
        stored = receiver.duplicates()
        was_killed = run_until_fault(number, receiver, stored, live)
        for fds in stored.values():
            for fd in fds:
                os.close(fd)
        keys = empty(receiver, made)
        assert set(keys) >= living
        assert len(set(keys)) == len(keys)
        if not was_killed:
            break
    assert number > 20
