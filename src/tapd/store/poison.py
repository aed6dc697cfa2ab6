"""Calls that killed earlier loads, as ``NAME.d/loading`` lists them, and a load without them.

The file is one line of JSON. `host.load_trial` writes it and finds out which call kills;
here it is read, for whoever loads: a start, a load beside the server, `tapctl`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapd.errors import CannotKeep
from tapd.image import hooks
from tapd.store.files import open_regular

LOADING_NAME = "loading"
_NAME_MAX = 200
_BYTES_MAX = 1 << 20

Code = tuple[str, int]  # the file that a name's code is in, and when it was changed (ns)


@contextlib.contextmanager
def avoiding(directory: Path) -> Iterator[None]:
    """Load without what is known to kill; for who loads beside the server, or in its place."""
    banned = still_banned(read_loading(directory / LOADING_NAME).get("banned", {}))
    if not banned or hooks.announce is not None:
        yield
        return

    def refuse(called: object) -> None:
        if call_name(called) in banned:
            raise CannotKeep("it killed the server each time it was loaded")

    hooks.announce = refuse
    try:
        yield
    finally:
        hooks.announce = None


def read_loading(path: Path) -> dict[str, Any]:
    """Return what the loads before this one left; of a line that makes no sense, one death."""
    try:
        with open_regular(path) as file:
            known = json.loads(file.readline(_BYTES_MAX))
        return known if type(known) is dict and _is_sound(known) else {"deaths": 1}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError):
        return {"deaths": 1}


def _is_sound(known: dict[str, Any]) -> bool:
    numbers = all(type(known.get(name, 0)) is int for name in ("deaths", "at"))
    skipped, banned = known.get("skipped", []), known.get("banned", {})
    return (
        numbers
        and type(known.get("what", "")) is str
        and type(skipped) is list
        and all(type(each) is list and [*map(type, each)] == [int, str] for each in skipped)
        and type(banned) is dict
        and all(type(code) is list and [*map(type, code)] == [str, int] for code in banned.values())
    )


def still_banned(banned: dict[str, Any]) -> dict[str, Code]:
    """Return those names of which the code is what it was."""
    return {
        name: (path, changed_ns)
        for name, (path, changed_ns) in banned.items()
        if not path or _changed_ns(path) == changed_ns
    }


def code_of(name: str) -> Code | None:
    """Return where the code of a name is; None where it can't be said that it changed."""
    module = sys.modules.get(name.partition(":")[0])
    path = getattr(module, "__file__", None)
    if type(path) is not str or name.startswith("builtins:"):
        return None
    changed_ns = _changed_ns(path)
    return None if changed_ns is None else (path, changed_ns)


def _changed_ns(path: str) -> int | None:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None


def call_name(called: object) -> str:
    """Return what tells one call from another, without an object's own code."""
    if type(called) is str:
        return called[:_NAME_MAX]
    cls: Any = called if issubclass(type(called), type) else type(called)
    try:
        return f"{type.__getattribute__(cls, '__module__')}:{cls.__qualname__}"[:_NAME_MAX]
    except BaseException:
        return "an object"
