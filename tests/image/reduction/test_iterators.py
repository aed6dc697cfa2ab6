"""An iterator over a list of the state stands where it stood, however it comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tapd.image.evolution.versions import Restoration
from tapd.image.pickling.pickler import dump_graph, load_graph
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.durable.persistent import Persistent


class Shelf(Persistent):
    """Holds a list and one who goes through it."""

    items: list[Any]
    walker: Any


def saved(shelf: Shelf) -> Shelf:
    Jar().adopt(shelf)
    restored: Shelf = load_graph(dump_graph(shelf).data)
    return restored


def killed(shelf: Shelf) -> Shelf:
    root: Any = Shelf()
    jar = Jar()
    jar.adopt(root)
    base = dump_graph(root).data
    root.shelf = shelf
    changes = jar.commit()
    restoration = Restoration()
    restored: Any = load_graph(base, restoration)
    replay = Replay(Jar().adopt(restored), restoration)
    replay.apply(changes)
    replay.finish()
    found: Shelf = restored.shelf
    return found


WAYS = [saved, killed]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [iter, reversed], ids=["iter", "reversed"])
@pytest.mark.parametrize("steps", range(5))
def test_it_goes_on_where_it_stood(
    way: Callable[[Shelf], Shelf], make: Callable[[list[int]], Any], steps: int
) -> None:
    shelf = Shelf()
    shelf.items = [1, 2, 3]
    shelf.walker = make(shelf.items)
    for _ in range(steps):
        next(shelf.walker, None)
    restored = way(shelf)
    assert restored.items == [1, 2, 3]
    rest = list(shelf.walker)
    assert list(restored.walker) == rest


@pytest.mark.parametrize("way", WAYS)
def test_it_sees_what_is_appended(way: Callable[[Shelf], Shelf]) -> None:
    shelf = Shelf()
    shelf.items = [1, 2]
    shelf.walker = iter(shelf.items)
    next(shelf.walker)
    restored = way(shelf)
    restored.items.append(3)
    assert list(restored.walker) == [2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_it_may_be_in_its_own_list(way: Callable[[Shelf], Shelf]) -> None:
    shelf = Shelf()
    shelf.items = [1, 2]
    shelf.items.append(iter(shelf.items))
    next(shelf.items[2])
    restored = way(shelf)
    assert len(restored.items) == 3
    assert next(restored.items[2]) == 2
