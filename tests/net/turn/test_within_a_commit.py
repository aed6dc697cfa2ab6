"""Authors' code that runs within a commit: signal handlers, ``__del__``, collector callbacks.

Python runs them between any two instructions. So a change is made at each instruction of a
commit, one by one, until it has none left; the next turn's record and the peer's bytes
must have it, once.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from harness import Harness

from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.application import Application
from tapd.model.durable.persistent import Persistent
from tapd.model.protocol import Protocol
from tapd.model.service import Service
from tapd.net.turn.commit import Commits

Serve = Callable[..., Harness]

STRIDE = int(os.environ.get("TAPD_TEST_STRIDE", "13"))
"""Every so many instructions; 1 in a soak (`make soak`)."""


class Plain:
    """Holds what is not tracked."""

    def __init__(self) -> None:
        self.marks: list[int] = []


class Kept(Persistent):
    def __init__(self) -> None:
        self.count = 0
        self.marks: list[int] = []
        self.table: dict[int, int] = {}
        self.plain = Plain()


class Busy(Protocol):
    """Changes everything that there is at each byte."""

    service: Shop

    def data_received(self, data: bytes) -> None:
        kept = self.service.kept
        kept.count += 1
        kept.marks.append(0)
        kept.table[len(kept.table)] = 0
        kept.plain.marks.append(0)
        self.service.other.count += 1
        self.transport.write(data)


class Shop(Service):
    protocol = Busy

    def __init__(self) -> None:
        self.kept = Kept()
        self.other = Kept()


def append(shop: Shop) -> None:
    shop.kept.marks.append(1)


def insert(shop: Shop) -> None:
    shop.kept.marks.insert(0, 1)


def set_key(shop: Shop) -> None:
    shop.kept.table[-1] = 1


def delete_key(shop: Shop) -> None:
    shop.kept.table.pop(0, None)


def set_attribute(shop: Shop) -> None:
    shop.kept.count += 100


def set_plain(shop: Shop) -> None:
    shop.kept.plain.marks.append(1)
    shop.kept.count = shop.kept.count  # who changes a plain object outside of a turn says so


def add_object(shop: Shop) -> None:
    shop.kept.marks.append(Kept())


def write(shop: Shop) -> None:
    for protocol in shop.connections:
        protocol.transport.write(b"!")


def write_many(shop: Shop) -> None:
    connections = tuple(each.transport for each in shop.connections)
    connections[0].write_many(connections, b"!")


CHANGES = [append, insert, set_key, delete_key, set_attribute, set_plain, add_object]


class Handler:
    """Runs `change` at the instruction number `at` of the next commit."""

    def __init__(self, change: Callable[[], None], at: int) -> None:
        self._change = change
        self._left = at
        self.has_run = False

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if "/tapd/" not in frame.f_code.co_filename or self.has_run:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left < 0 and not self.has_run:
                self.has_run = True
                sys.settrace(None)
                self._change()
        return self


def state_of(shop: Shop) -> Any:
    kept = shop.kept
    marks = [each.marks if isinstance(each, Kept) else each for each in kept.marks]
    return kept.count, marks, dict(kept.table), list(kept.plain.marks), shop.other.count


class OneTurn:
    """A shop in a jar, whose next commit is interrupted."""

    def __init__(self) -> None:
        self.shop = Shop()
        self.shop.kept.marks += [0] * 5
        self.shop.kept.table.update({3: 0, 4: 0})
        self.jar = Jar()
        self.jar.adopt(self.shop)
        self.commits = [self.jar.commit()]
        self.tap = dump_graph(self.shop).data
        kept = self.shop.kept
        kept.count += 1
        kept.marks.append(0)
        kept.table[5] = 0
        kept.plain.marks.append(0)
        self.shop.other.count += 1

    def commit(self, handler: Callable[..., Any] | None) -> None:
        sys.settrace(handler)
        try:
            self.commits.append(self.jar.commit())
        finally:
            sys.settrace(None)
        while self.jar.has_changes:  # what `net.turn.turn` makes another turn for
            self.commits.append(self.jar.commit())

    def restore(self) -> Shop:
        """Return what a kill would restore now."""
        restoration = Restoration()
        root = load_graph(self.tap, restoration)
        jar = Jar()
        replay = Replay(jar.adopt(root, restoration.durables), restoration, jar)
        for changes in self.commits[1:]:
            replay.apply(changes)
        replay.finish()
        assert isinstance(root, Shop)
        return root


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_change_is_missed_and_none_comes_twice(change: Callable[[Shop], None]) -> None:
    for step in itertools.count(len(change.__name__), STRIDE):
        one = OneTurn()
        handler = Handler(functools.partial(change, one.shop), step)
        one.commit(handler)
        assert state_of(one.restore()) == state_of(one.shop), step
        if not handler.has_run:
            break
    assert step > 100


@pytest.mark.parametrize("write", [write, write_many])
def test_what_is_written_then_is_sent(serve: Serve, write: Callable[[Shop], None]) -> None:
    application = Application("a")
    shop = application.add_service(Shop())
    harness = serve(application, strict=False)
    shop = harness.application.services[shop.name]
    assert isinstance(shop, Shop)
    peer = harness.connect()
    commit = Commits.commit
    for step in itertools.count(0, STRIDE):
        handler = Handler(functools.partial(write, shop), step)

        def traced(commits: Any, handler: Handler = handler) -> None:
            sys.settrace(handler)
            try:
                commit(commits)
            finally:
                sys.settrace(None)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Commits, "commit", traced)
            peer.sock.sendall(b"x")
            harness.serving.step()
        harness.pump()
        assert sorted(peer.read()) == sorted(b"x!" if handler.has_run else b"x"), step
        if not handler.has_run:
            break
    assert step > 100
