"""A full disk, or one that fails to fsync: no early answers, no loss, no duplicates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Harness
from storm_service import make_application

from tapd.errors import StateUnwritable
from tapd.net.turn.commit import Journal
from tapd.store.journal.file import split_records
from tapd.store.journal.records import parse_before

Serve = Callable[..., Harness]


class FullDisk:
    """A journal on a disk that is full until `is_full` is taken back."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.is_full = True
        self.fails_to_sync = False
        self.syncs = 0

    @property
    def size(self) -> int:
        return self.journal.size

    @property
    def end(self) -> tuple[int, int]:
        return self.journal.end

    def append(self, payload: bytes) -> None:
        if self.is_full:
            raise StateUnwritable("no space left")
        self.journal.append(payload)

    def sync(self) -> None:
        self.syncs += 1
        if self.fails_to_sync:
            raise StateUnwritable("input/output error")
        self.journal.sync()

    def take_back(self) -> None:
        self.journal.take_back()

    def close(self) -> None:
        self.journal.close()


def fill_disk(harness: Harness) -> FullDisk:
    assert harness.serving.commits.journal is not None
    disk = FullDisk(harness.serving.commits.journal)
    harness.serving.commits.journal = disk  # type: ignore[assignment]  # its size can't be set
    return disk


def test_what_is_written_while_the_disk_is_full_is_sent_afterwards(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    disk = fill_disk(harness)
    peer.send(b"0 a\n")
    assert harness.serving.commits.is_stalled
    (stream,) = harness.serving.streams.values()
    stream.write(b"from a task\n")  # as a task or a thread's result may, outside of a turn
    stream.close()
    disk.is_full = False
    harness.wait_for(lambda: not harness.serving.commits.is_stalled)
    assert peer.read_end() == b"0 1 a\nfrom a task\n"


def test_input_after_what_was_written_while_the_disk_is_full_is_counted_once(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    disk = fill_disk(harness)
    peer.send(b"0 a\n")
    (stream,) = harness.serving.streams.values()
    stream.write(b"from a task\n")
    peer.sock.sendall(b"1 b\n")
    disk.is_full = False
    harness.wait_for(lambda: not harness.serving.commits.is_stalled)
    harness.pump()
    assert stream.taken == 8
    harness.crash()
    peer.send(b"2 c\n")
    peer.expect(b"0 1 a\nfrom a task\n1 2 b\n2 3 c\n")


def test_no_generation_begins_while_a_record_waits(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    disk = fill_disk(harness)
    (stream,) = harness.serving.streams.values()
    stream.write(b"once\n")
    journal = harness.state.begin_generation()  # there is room for this one
    with pytest.raises(StateUnwritable):
        harness.serving.change_journal(journal, "boot", clean=False)
    harness.state.abandon_journal(journal)
    disk.is_full = False
    harness.wait_for(lambda: not harness.serving.commits.is_stalled)
    peer.expect(b"once\n")
    harness.crash()
    peer.send(b"0 a\n")
    peer.expect(b"0 1 a\n")


def test_what_could_not_be_synced_is_in_the_journal_once(serve: Serve) -> None:
    """`--sync always`, and a disk that reports an error: nothing is sent, and nothing is twice."""
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    generations: list[bool] = []
    harness.serving.commits.on_unsynced = lambda: generations.append(True)
    harness.serving.commits.sync_always = True
    disk = fill_disk(harness)
    disk.is_full, disk.fails_to_sync = False, True
    peer.send(b"0 a\n")
    assert harness.serving.commits.is_stalled
    assert peer.read() == b"", "sent before it was confirmed"
    harness.wait_for(lambda: disk.syncs > 3)
    disk.fails_to_sync = False
    harness.wait_for(lambda: not harness.serving.commits.is_stalled)
    peer.expect(b"0 1 a\n")
    assert generations == [True]
    harness.crash()
    peer.send(b"1 b\n")
    peer.expect(b"1 2 b\n")


def test_killed_while_a_record_can_not_be_synced(serve: Serve) -> None:
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    harness.serving.commits.sync_always = True
    disk = fill_disk(harness)
    disk.is_full, disk.fails_to_sync = False, True
    peer.send(b"0 a\n")
    harness.crash()
    peer.send(b"1 b\n")
    peer.expect(b"0 1 a\n1 2 b\n")


def test_a_journal_is_on_the_disk_before_the_next_one_says_anything(serve: Serve) -> None:
    """Else a power cut could leave the next one's records without those before them."""
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    disk = fill_disk(harness)
    disk.is_full = False
    real = harness.state.begin_generation()
    new = FullDisk(real)
    with pytest.raises(StateUnwritable):
        harness.serving.change_journal(new, "boot", clean=False)  # type: ignore[arg-type]  # its size
    assert disk.syncs == 1
    harness.state.abandon_journal(real)
    harness.state.sync_journal()  # of the one that stays
    peer.send(b"0 a\n")
    peer.expect(b"0 1 a\n")


def test_a_disk_that_is_full_after_two_deaths(serve: Serve) -> None:
    """Marks of what is tried can't be written; nothing is run twice or left out."""
    harness = serve(make_application("a"))
    peers = [harness.connect() for _ in range(3)]
    for peer in peers:
        peer.expect(b"hello\n")
        peer.sock.sendall(b"0 x\n")
    harness.start_unclean(2)
    disk = fill_disk(harness)
    assert harness.serving.trials.careful is not None
    assert harness.serving.trials.careful.is_single
    harness.pump()
    assert harness.serving.commits.is_stalled
    disk.is_full = False
    harness.wait_for(lambda: not harness.serving.commits.is_stalled and not harness.serving.is_busy)
    assert sorted(peer.read() for peer in peers) == [b"0 1 x\n", b"0 2 x\n", b"0 3 x\n"]


def test_a_journal_begins_with_where_the_one_before_ended(serve: Serve) -> None:
    """Else a start could not tell that it was cut at a record's end."""
    harness = serve(make_application("a"))
    peer = harness.connect()
    peer.expect(b"hello\n")
    assert harness.serving.commits.journal is not None
    before = harness.serving.commits.journal
    harness.save()
    new = harness.state.store.journal_path(harness.state.generation)
    first = next(split_records(new.read_bytes()))
    assert parse_before(first) == before.end
    peer.send(b"0 a\n")
    harness.crash()
    peer.send(b"1 b\n")
    peer.expect(b"0 1 a\n1 2 b\n")
