"""docs/what-is-kept.md says what the tests find; and what is renewed is ready for use."""

from __future__ import annotations

import re
import sys
import threading

import kept_page
import typed_kinds
from other_pythons import MINORS

from tapd.image.pickling.pickler import dump_graph, load_graph

_HINT = "stale: run tests/support/kept_page.py"


def test_the_page_has_every_kind() -> None:
    page = kept_page.PAGE.read_text(encoding="utf-8")
    cells = [
        tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        for line in page.splitlines()
        if line.startswith("| ")
    ]
    fates = {"kept", "renewed", "lost"}
    zoo: list[tuple[str, ...]] = [row for row in cells if len(row) == 3 and row[1] in fates]
    expected: list[tuple[str, ...]] = [
        tuple(map(kept_page._cell, row)) for row in kept_page.zoo_rows()
    ]
    if sys.version_info[:2] != (3, MINORS[0]):  # what Python says of an object differs a little
        zoo, expected = [row[:2] for row in zoo], [row[:2] for row in expected]
    assert zoo == expected, _HINT
    typed = [row for row in cells if len(row) == 2 and row[1].startswith("`")]
    assert typed == [tuple(map(kept_page._cell, row)) for row in kept_page.typed_rows()], _HINT
    whole = f"{len(typed_kinds.KINDS)} of {len(typed_kinds.KINDS)}"
    matrix = [row for row in cells if row[0].startswith("written by")]
    assert matrix == [(f"written by 3.{minor}", whole, whole, whole) for minor in MINORS], _HINT


def test_what_is_renewed_is_one_of_the_kept_kinds() -> None:
    zoo = kept_page.load_zoo()
    assert zoo.RENEWED.keys() <= zoo.KEPT.keys()


def test_what_is_renewed_is_ready_for_use() -> None:
    lock, rlock, event, semaphore = (
        threading.Lock(), threading.RLock(), threading.Event(), threading.Semaphore(2),
    )  # fmt: skip
    event.set()
    with lock, rlock, semaphore:
        data = dump_graph([lock, rlock, event, semaphore]).data
    lock, rlock, event, semaphore = load_graph(data)
    assert lock.acquire(blocking=False)
    assert rlock.acquire(blocking=False)
    assert event.is_set()
    assert semaphore.acquire(blocking=False)
    assert not semaphore.acquire(blocking=False)  # its count is state
