"""Old names of what has moved lead to what there is today."""

from __future__ import annotations

import importlib
import pickle

import pytest

from tapd.image.evolution.moved import MOVED, MOVED_NAMES, todays_name
from tapd.image.evolution.names import renamed
from tapd.image.pickling.pickler import load_graph


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_module_is_imported_by_its_old_name(old: str) -> None:
    found = importlib.import_module(old)
    if not hasattr(found, "__path__"):  # the name is a folder's today
        assert found.__name__ == MOVED[old]
    assert importlib.import_module(MOVED[old])


@pytest.mark.parametrize("old", MOVED_NAMES)
def test_a_moved_class_is_found_by_its_old_name(old: str) -> None:
    module, _colon, name = old.partition(":")
    assert ":".join(renamed(module, name)) == todays_name(module, name) == MOVED_NAMES[old]
    now, _colon, qualname = MOVED_NAMES[old].partition(":")
    found = getattr(importlib.import_module(now), qualname)
    assert load_graph(pickle.PROTO + b"\x05c" + f"{module}\n{name}\n.".encode()) is found
