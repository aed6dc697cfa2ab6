"""The vault: what is put into it outlives the process, whenever that dies."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from held import discard

from tapd.errors import ConnectionsUnreadable, DescriptorLost
from tapd.linux.sockets import socket_cookie
from tapd.systemd.notify import Barrier, Notifier
from tapd.systemd.segment import Segment
from tapd.systemd.vault import Held, Vault


class LocalStore:
    """A store that answers at once; `stored_max` 0 refuses everything visibly."""

    def __init__(self, stored_max: int = 1000) -> None:
        self.stored: dict[str, list[int]] = {}
        self.stored_max = stored_max
        self.answers = True
        self.barriers: list[int] = []

    def store_fd(self, name: str, fd: int) -> bool:
        if len(self.stored) < self.stored_max:
            self.stored.setdefault(name, []).append(os.dup(fd))
        return True

    def remove_fd(self, name: str) -> bool:
        for fd in self.stored.pop(name):
            os.close(fd)
        return True

    def begin_barrier(self) -> Barrier:
        reading, writing = os.pipe()
        self.barriers.append(writing)
        if self.answers:
            self.answer()
        return Barrier(reading)

    def answer(self) -> None:
        while self.barriers:
            os.close(self.barriers.pop())

    def duplicates(self) -> dict[str, list[int]]:
        return {name: [os.dup(fd) for fd in fds] for name, fds in self.stored.items()}

    def close(self) -> None:
        self.answer()
        for name in list(self.stored):
            self.remove_fd(name)


@pytest.fixture
def store() -> Iterator[LocalStore]:
    store = LocalStore()
    yield store
    store.close()


def recover(store: Any, **options: Any) -> tuple[Vault, list[Held]]:
    vault = Vault(store, **options)
    return vault, vault.recover(store.duplicates())


def test_round_trip(store: LocalStore, pairs: Any) -> None:
    made = pairs(5)
    vault = Vault(store, segment_connections=2)
    for key, (ours, _) in enumerate(made):
        assert vault.put(key, ours.fileno())
    assert (len(vault), vault.segments, vault.unprotected) == (5, 3, 0)
    for ours, _ in made:
        ours.close()
    vault.close()
    vault, held = recover(store)
    assert [one.key for one in held] == [0, 1, 2, 3, 4]
    for one, (_, peer) in zip(held, made, strict=True):
        assert not os.get_inheritable(one.fd)
        assert socket_cookie(one.fd) == one.cookie
        os.write(one.fd, b"%d" % one.key)
        assert peer.recv(10) == b"%d" % one.key
    discard(held)
    vault.close()


def test_recovery_takes_nothing_out(store: LocalStore, pairs: Any) -> None:
    vault = Vault(store, segment_connections=3)
    for key, (ours, _) in enumerate(pairs(7)):
        vault.put(key, ours.fileno())
    partly = Segment(0).read(os.dup(store.stored["tapd-vault-0"][0]))
    os.close(next(partly).fd)
    os.close(next(partly).fd)
    partly.close()  # killed here: the offset stands at 2 messages
    for _ in range(3):
        again, held = recover(store)
        assert [one.key for one in held] == list(range(7))
        discard(held)
        again.close()
    vault.close()


def test_recovery_while_a_child_has_the_sending_end(store: LocalStore, pairs: Any) -> None:
    vault = Vault(store)
    vault.put(1, pairs(1)[0][0].fileno())
    again, held = recover(store)  # `vault` is still open: no end of file to read
    assert [one.key for one in held] == [1]
    discard(held)
    again.close()
    vault.close()


def test_names_go_on_after_recovery(store: LocalStore, pairs: Any) -> None:
    made = pairs(3)
    vault = Vault(store, segment_connections=1)
    for key in (0, 1):
        vault.put(key, made[key][0].fileno())
    again, held = recover(store, segment_connections=1)
    assert again.put(2, made[2][0].fileno())
    names = {"tapd-vault-0", "tapd-vault-1", "tapd-vault-2"}
    assert names <= set(store.stored)
    discard(held)
    vault.close()
    again.close()


def test_ended_connections_come_back_until_compacted(store: LocalStore, pairs: Any) -> None:
    made = pairs(4)
    vault = Vault(store, segment_connections=2)
    for key, (ours, _) in enumerate(made):
        vault.put(key, ours.fileno())
    for key in (0, 2, 3):
        vault.forget(key)
    vault.forget(99)
    assert len(vault) == 1
    again, held = recover(store)
    assert [one.key for one in held] == [0, 1, 2, 3]
    discard(held)
    again.close()
    vault.close()


@pytest.mark.parametrize("ended", ["older", "newer", "neither"])
def test_a_key_that_was_given_twice(
    ended: str, store: LocalStore, pairs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (older, _), (newer, _peer) = pairs(2)
    first = Vault(store)
    first.put(1, older.fileno())
    first.close()  # killed before it had written down that there is a connection 1
    second, held = recover(store)
    discard(held)
    second.put(1, newer.fileno())
    if ended != "neither":
        (older if ended == "older" else newer).shutdown(socket.SHUT_RDWR)
    third, held = recover(store)
    stays = older if ended == "newer" else newer
    assert [one.cookie for one in held] == [socket_cookie(stays.fileno())]
    assert ("was two connections" in caplog.text) == (ended == "neither")
    discard(held)
    second.close()
    third.close()


def test_compaction(store: LocalStore, pairs: Any) -> None:
    made = pairs(9)
    vault = Vault(store, segment_connections=4)
    for key, (ours, _) in enumerate(made):
        vault.put(key, ours.fileno())
    assert vault.compact(100) == 0, "full segments stay"
    for key in (0, 1, 2, 4, 5, 6, 7):
        vault.forget(key)
    assert vault.compact(0) == 1, "the segment without a living connection costs no move"
    assert vault.compact(100) == 1
    assert vault.compact(100) == 0
    # Connection 3 was copied into the segment of connection 8.
    assert (len(vault), len(store.stored)) == (2, 2), "that segment and the spare one"
    again, held = recover(store)
    assert [one.key for one in held] == [3, 8]
    discard(held)
    again.close()
    vault.close()


def test_segments_of_many_restarts_are_merged(store: LocalStore, pairs: Any) -> None:
    held: list[Held] = []
    for key, (ours, _) in enumerate(pairs(20)):
        discard(held)
        vault, held = recover(store)
        assert vault.put(key, ours.fileno())
        vault.compact(1000)
        assert len(store.stored) <= 2
        vault.close()
    discard(held)
    vault, held = recover(store)
    assert [one.key for one in held] == list(range(20))
    discard(held)
    vault.close()


def test_a_row_of_kills_does_not_fill_the_store(store: LocalStore, pairs: Any) -> None:
    """Each process brings a segment, and lives too short to give any back in its own time."""
    made = pairs(60)
    held: list[Held] = []
    most = 0
    for key, (ours, _) in enumerate(made):
        discard(held)
        vault = Vault(store)
        held = vault.recover(store.duplicates(), set(range(key - 3)).__contains__)
        vault.prepare()
        assert vault.put(key, ours.fileno())
        most = max(most, len(store.stored))
        vault.close()
    discard(held)
    assert most <= 12
    vault, held = recover(store)
    assert {57, 58, 59} <= {one.key for one in held}
    assert len(held) < 30, "duplicates of the dead do not pile up either"
    discard(held)
    vault.close()


def test_what_is_over_needs_no_descriptor(store: LocalStore, pairs: Any) -> None:
    """A recovery has as many files open as there are connections, not as there were."""
    made = pairs(60)
    vault = Vault(store)
    for key, (ours, _) in enumerate(made):
        vault.put(key, ours.fileno())
        ours.close()
    vault.close()
    stored = store.duplicates()
    again = Vault(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_fd = os.dup(0)
    os.close(next_fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd + 20, hard))
    try:
        held = again.recover(stored, lambda key: key % 10 != 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [one.key for one in held] == [0, 10, 20, 30, 40, 50]
    assert made[1][1].recv(1) == b"", "its peer is told"
    discard(held)
    again.close()


def test_compaction_keeps_what_was_closed_unnoticed(store: LocalStore, pairs: Any) -> None:
    """Some code closed the descriptor: the segment is all that keeps the connection."""
    (first, _), (second, _) = pairs(2)
    vault = Vault(store, segment_connections=1)
    vault.put(1, first.fileno())
    vault.put(2, second.fileno())
    first.close()
    vault._segments[0].messages = 2  # as if another connection had died in it
    with pytest.raises(DescriptorLost, match="connection 1"):
        vault.compact(10)
    vault.close()
    again, held = recover(store)
    assert [one.key for one in held] == [1, 2]
    discard(held)
    again.close()


def test_full_send_buffer_opens_a_segment(store: LocalStore, pairs: Any) -> None:
    ((ours, _),) = pairs(1)
    vault = Vault(store, segment_connections=100_000)
    for key in range(1000):
        assert vault.put(key, ours.fileno())
    assert 2 <= vault.segments < 10
    again, held = recover(store)
    assert len(held) == 1000
    discard(held)
    again.close()
    vault.close()


def test_the_next_segment_is_stored_ahead(store: LocalStore, pairs: Any) -> None:
    vault = Vault(store, segment_connections=4)
    for key, (ours, _) in enumerate(pairs(4)):
        vault.put(key, ours.fileno())
    assert len(store.stored) == 2
    vault.close()


def test_no_store(pairs: Any, caplog: pytest.LogCaptureFixture) -> None:
    (ours, _), (other, _) = pairs(2)
    for nowhere in (None, Notifier()):
        vault = Vault(nowhere)
        assert not vault.put(1, ours.fileno())
        assert not vault.put(2, other.fileno())
        assert vault.unprotected == 2
        assert vault.compact(10) == 0
        vault.forget(1)
    assert len(caplog.records) == 2, "one warning a vault"


@pytest.mark.parametrize("is_known", [True, False])
def test_full_store(
    store: LocalStore, pairs: Any, caplog: pytest.LogCaptureFixture, is_known: bool
) -> None:
    """Known from $FDSTORE, or noticed because the manager closed what it refused."""
    store.stored_max = 2
    vault = Vault(store, segment_connections=2, segments_max=2 if is_known else None)
    kept = [vault.put(key, ours.fileno()) for key, (ours, _) in enumerate(pairs(8))]
    assert kept == [True] * 4 + [False] * 4
    assert vault.unprotected == 4
    assert len(vault) == 4
    (warning,) = caplog.records
    assert "no more than 2 segments of 2 connections" in warning.message
    assert "Raise FileDescriptorStoreMax=" in warning.message
    vault.forget(0)
    vault.forget(1)
    assert vault.compact(10) == 1
    vault._pause_until_s = 0.0
    assert vault.put(9, pairs(1)[0][0].fileno()), "there is room again"
    vault.close()


def test_manager_that_does_not_answer(
    store: LocalStore, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapd.systemd.vault._BARRIER_S", 0.01)
    store.answers = False
    vault = Vault(store, segment_connections=4)
    made = pairs(3)
    assert not vault.put(1, made[0][0].fileno())
    assert not vault.put(2, made[1][0].fileno())
    assert not vault.is_safe(2)
    store.answer()
    assert vault.put(3, made[2][0].fileno())
    assert vault.is_safe(2)
    assert not vault.is_safe(4)
    again, held = recover(store)
    assert [one.key for one in held] == [1, 2, 3], "what was put meanwhile is safe now"
    discard(held)
    again.close()
    vault.close()


def test_segment_taken_away(
    store: LocalStore, pairs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """``systemctl clean --what=fdstore``: what was in the segment moves to a new one."""
    made = pairs(3)
    vault = Vault(store, segment_connections=10)
    for key in (0, 1):
        vault.put(key, made[key][0].fileno())
    store.remove_fd("tapd-vault-0")
    assert vault.put(2, made[2][0].fileno())
    assert "dropped tapd-vault-0" in caplog.text
    again, held = recover(store)
    assert [one.key for one in held] == [0, 1, 2]
    discard(held)
    again.close()
    vault.close()


def test_no_more_in_flight(
    store: LocalStore,
    pairs: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_segment: Segment, _held: Held) -> None:
        raise OSError(errno.ETOOMANYREFS, "too many references")

    vault = Vault(store)
    monkeypatch.setattr(Segment, "send", refuse)
    assert not vault.put(1, pairs(1)[0][0].fileno())
    assert "LimitNOFILE" in caplog.text
    vault.close()


def test_strange_entries_are_passed_over(
    store: LocalStore, caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = os.pipe()
    listener = socket.create_server(("127.0.0.1", 0))
    stored = {
        "tapd-vault-1": [reading],
        "tapd-vault-2": [os.dup(listener.fileno())],
        "tapd-other": [writing],
    }
    vault = Vault(store)
    assert vault.recover(stored) == []
    assert len(caplog.records) == 2
    os.close(writing)  # not of the vault: still open
    listener.close()
    vault.close()


def test_no_file_left_for_a_segment(
    store: LocalStore,
    notifier: Notifier,
    pairs: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ((ours, _),) = pairs(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_fd = os.dup(0)
    os.close(next_fd)
    vaults = [Vault(store), Vault(notifier)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd, hard))
        kept_without_a_pair = vaults[0].put(1, ours.fileno())
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd + 2, hard))
        kept_without_a_barrier = vaults[1].put(1, ours.fileno())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not kept_without_a_pair
    assert not kept_without_a_barrier
    assert "can't open a segment" in caplog.text
    assert "takes no descriptor" in caplog.text
    vaults[0]._pause_until_s = 0.0
    assert vaults[0].put(1, ours.fileno()), "there is room again"
    for vault in vaults:
        vault.close()


def test_recovery_stores_the_next_segment(store: LocalStore) -> None:
    vault, _ = recover(store)
    assert list(store.stored) == ["tapd-vault-0"]
    vault.close()


def test_too_few_files_leave_all_in_the_vault(store: LocalStore, pairs: Any) -> None:
    """A recovery that can't have every connection has none, and gives nothing back."""
    vault = Vault(store)
    for key, (ours, _) in enumerate(pairs(30)):
        vault.put(key, ours.fileno())
    stored = store.duplicates()
    before = set(store.stored)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    next_fd = os.dup(0)
    os.close(next_fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd + 10, hard))
    again = Vault(store)
    try:
        with pytest.raises(ConnectionsUnreadable, match="Raise LimitNOFILE="):
            again.recover(stored)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(store.stored) == before, "each failed start would fill the store a little more"
    assert len(list(Path("/proc/self/fd").iterdir())) < open_before
    whole, held = recover(store)
    assert len(held) == 30
    discard(held)
    for each in (vault, again, whole):
        each.close()


@pytest.mark.parametrize("what", ["sender", "connection"])
def test_a_descriptor_that_foreign_code_closed(what: str, store: LocalStore, pairs: Any) -> None:
    (first, _), (second, _) = pairs(2)
    vault = Vault(store)
    assert vault.put(1, first.fileno())
    cookie = socket_cookie(second.fileno())
    fd = vault.sender_fd if what == "sender" else second.fileno()
    copy = os.dup(fd)
    os.close(fd)
    try:
        with pytest.raises(DescriptorLost):
            vault.put(2, second.fileno(), cookie)
    finally:
        os.dup2(copy, fd)
        os.close(copy)
    vault.close()
    again, held = recover(store)
    assert [one.key for one in held] == [1]
    discard(held)
    again.close()
