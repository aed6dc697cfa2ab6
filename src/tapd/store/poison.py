"""Poison calls: loads state without the calls that killed earlier loads.

``NAME.d/loading`` lists them, in one line of JSON. `host.load_trial` identifies the calls and
writes the file; this module reads it, for every load: a start, a load beside the server,
`tapctl`.
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

Code = tuple[str, int]  # the file with a name's code, and its time of change (ns)


@contextlib.contextmanager
def avoiding(directory: Path) -> Iterator[None]:
    """Refuse the known poison calls in the block; for loads beside the server, or in its place."""
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
    """Return the contents of the file; one death where they are malformed."""
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
    """Return those names whose code has not changed."""
    return {
        name: (path, changed_ns)
        for name, (path, changed_ns) in banned.items()
        if not path or _changed_ns(path) == changed_ns
    }


def code_of(name: str) -> Code | None:
    """Return the file of a name's code; None where a change could not be detected."""
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
    """Return a name that identifies a call, without running an object's own code."""
    if type(called) is str:
        return called[:_NAME_MAX]
    cls: Any = called if issubclass(type(called), type) else type(called)
    try:
        return f"{type.__getattribute__(cls, '__module__')}:{cls.__qualname__}"[:_NAME_MAX]
    except BaseException:
        return "an object"
