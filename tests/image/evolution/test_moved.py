"""Modules that have moved are found by the names that TAPs know them by."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tapd.image.evolution.moved import MOVED_NAMES, todays_name
from tapd.image.evolution.names import named, renamed
from tapd.image.pickling.pickler import load_graph

EARLIER = Path(__file__).parents[2] / "golden" / "modules-0.1.0.txt"
"""Every module of 0.1.0 but those of the commands: any of them may be named in a TAP."""


def test_every_module_of_an_earlier_tapd_is_found() -> None:
    """In a process of its own: importing some of them changes the process."""
    code = f"""
import importlib, pathlib
from tapd.image.evolution import names
from tapd.image.evolution.moved import MOVED
for name in pathlib.Path({str(EARLIER)!r}).read_text().split():
    module = importlib.import_module(name)
    is_folder_now = hasattr(module, "__path__")
    today = name if is_folder_now else MOVED.get(name, name)
    if (module.__name__, module.__spec__.name) != (today, today):
        print(name, module.__name__, module.__spec__)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_what_a_pickle_names_by_its_old_name_is_found() -> None:
    from tapd.model.access.accounts import Account

    assert named("tapd.model.accounts", "Account") is Account
    assert load_graph(b"\x80\x05ctapd.model.accounts\nAccount\n.") is Account


@pytest.mark.parametrize("old", MOVED_NAMES)
def test_a_moved_class_is_found_by_its_old_name(old: str) -> None:
    module, _colon, name = old.partition(":")
    assert ":".join(renamed(module, name)) == todays_name(module, name) == MOVED_NAMES[old]
    now, _colon, qualname = MOVED_NAMES[old].partition(":")
    found = getattr(importlib.import_module(now), qualname)
    assert load_graph(pickle.PROTO + b"\x05c" + f"{module}\n{name}\n.".encode()) is found


def test_a_module_that_a_namespace_holds_is_found() -> None:
    """As ``import tapd.model.accounts as accounts`` at a prompt was saved."""
    saved = b"\x80\x05cimportlib\nimport_module\n\x8c\x13tapd.model.accounts\x85R."
    code = f"""
from tapd.image.pickling.pickler import load_graph
import sys
module = load_graph({saved!r})
from tapd.model.access import accounts
assert module is accounts and accounts.__name__ == "tapd.model.access.accounts", module
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_tap_has_the_new_names() -> None:
    from tapd.image.pickling.pickler import dump_graph
    from tapd.model.access.accounts import Account

    saved = b"".join([bytes(part) for part in [dump_graph([Account]).data]])
    assert b"tapd.model.access.accounts" in saved
    assert pickle.loads(saved) == [Account]
