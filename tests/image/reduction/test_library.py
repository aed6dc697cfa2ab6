"""Every class of the standard library that can be made here: kept as it is, or named as lost.

And a subclass of each, with an attribute: a ``__reduce__`` of the library's knows
nothing of that. This is how the kinds that nobody thought of are found.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import io
import itertools
import pathlib
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tapd.image.pickling.pickler import Placeholder, dump_graph, load_graph

# Some warn that they are old, some open what has to be closed.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("elsewhere")]

_HOME = types.ModuleType("library_home")
_HOME.__spec__ = __spec__
sys.modules["library_home"] = _HOME
_numbers = itertools.count()

# What opens windows, starts threads or processes, or is gone in a later Python.
_NO_MODULES = frozenset({
    "antigravity", "this", "idlelib", "test", "turtle", "tkinter", "turtledemo", "lib2to3",
    "pydoc_data", "ensurepip", "distutils", "__main__", "curses", "pty", "tty", "asyncore",
    "asynchat", "smtpd", "imp", "readline", "rlcompleter", "socket", "_socket", "multiprocessing",
    "socketserver", "threading", "_thread", "subprocess", "mailbox", "signal", "_decimal",
    "_pydecimal", "_pyio", "_pydatetime", "faulthandler", "pdb", "bdb", "_typing",
    "concurrent", "shelve", "dbm", "code", "cmd", "wave", "sunau", "aifc", "weakref",
    "_weakref", "importlib", "_frozen_importlib", "_frozen_importlib_external",
    "trace", "profile", "cProfile", "_lsprof",
    "webbrowser", "asyncio", "_asyncio", "sched",
    "wsgiref", "http", "urllib", "ftplib", "poplib", "imaplib",
    "smtplib", "nntplib", "telnetlib", "xmlrpc", "ssl", "_ssl", "tempfile", "pydoc", "unittest",
    "_pyrepl", "_interpreters", "_interpqueues", "_interpchannels", "_ctypes", "ctypes",
})  # fmt: skip
_MODULES = sorted(
    name
    for name in sys.stdlib_module_names
    if name not in _NO_MODULES and not name.startswith(("_test", "_x"))
)
_ARGUMENTS: list[tuple[Any, ...]] = [
    (), (1_000_000,), ("a",), (b"a",), ([1],), ({"a": 1},), (int,), ("a", "b"), (1_000_000, 2),
    (len,), ("a", 1), (1, 2, 3), (("a", 1),), (int, 1), (types.SimpleNamespace(a=1),),
]  # fmt: skip

# Not made to be instantiated by anybody, and named differently from Python to Python.
_ODD = ("typing.", "re._", "_sre.", "sre_", "enum.", "logging.RootLogger",
        "logging.FileHandler", "pickle.PickleBuffer",
        "_pickle.PickleBuffer")  # fmt: skip


def _made(cls: Any) -> Iterator[Any]:
    """Yield an instance of `cls`, if one of the usual arguments makes one."""
    for args in _ARGUMENTS:
        with contextlib.suppress(BaseException):
            obj = cls(*args)
            if type(obj) is cls:
                yield obj
                return


def _classes(module_name: str) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            return
    for value in list(vars(module).values()):
        if (
            isinstance(value, type)
            and value.__module__.partition(".")[0] == module_name
            and not issubclass(value, (io.IOBase, type, enum.Enum))
            and not f"{value.__module__}.{value.__qualname__}".startswith(_ODD)
        ):
            yield value


def _raw(obj: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in type(obj).__mro__:
        own = type.__dict__["__dict__"].__get__(base)
        attributes = own.get("__dict__")
        if type(attributes) in (types.GetSetDescriptorType, types.MemberDescriptorType):
            found |= attributes.__get__(obj)
        for name, member in own.items():
            if type(member) is types.MemberDescriptorType and not name.startswith("__"):
                with contextlib.suppress(Exception):
                    found[name] = member.__get__(obj)
    return found


def _alike(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two objects are of one type and hold the same, as far as is seen."""
    if one is other or (type(one) is type(other) and depth > 3):
        return True
    if type(one) is not type(other):
        return False
    with contextlib.suppress(Exception):
        if one == other:
            return True
    if isinstance(one, (int, str, bytes, float, complex)):
        return bool(one != one and other != other)  # noqa: PLR0124 - a NaN
    ours, theirs = _held(one), _held(other)
    return ours.keys() == theirs.keys() and all(
        _alike(ours[name], theirs[name], depth + 1) for name in ours
    )


def _held(obj: Any) -> dict[Any, Any]:
    held: dict[Any, Any] = _raw(obj)
    if isinstance(obj, (list, tuple)):
        held |= enumerate(obj)
    elif isinstance(obj, dict):
        held |= {repr(key): value for key, value in obj.items()}
    elif isinstance(obj, BaseException):
        held["args"] = obj.args
    return held


def _is_kept_or_named(obj: Any) -> str | None:
    """Return what is wrong with what becomes of `obj`; None where it is kept or named."""
    dump = dump_graph({"it": obj, "after": 1})
    back = load_graph(dump.data)
    if back["after"] != 1:
        return "its neighbour is lost"
    if dump.losses:
        return None if all("it" in loss.path for loss in dump.losses) else "it has no path"
    if type(back["it"]) is Placeholder:
        return f"it is lost at load only: {back['it']!r}"
    if not _alike(obj, back["it"]):
        return f"it differs: {_raw(obj)} {_raw(back['it'])}"
    return None


@pytest.fixture
def elsewhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some make a file with the name that they are given."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("module_name", _MODULES)
def test_what_the_library_has_is_kept_or_named(module_name: str) -> None:
    wrong = {}
    for cls in _classes(module_name):
        for obj in _made(cls):
            problem = _is_kept_or_named(obj)
            if problem is not None:
                wrong[cls] = problem
    assert not wrong


@pytest.mark.parametrize("module_name", _MODULES)
def test_an_attribute_of_a_subclass_is_kept_or_named(module_name: str) -> None:
    wrong = {}
    for cls in _classes(module_name):
        try:
            derived = type(f"Derived{next(_numbers)}", (cls,), {"__module__": "library_home"})
        except TypeError:  # it is final
            continue
        setattr(_HOME, derived.__name__, derived)
        for obj in _made(derived):
            with contextlib.suppress(Exception):
                object.__setattr__(obj, "added", [1])
                problem = _is_kept_or_named(obj)
                if problem is not None:
                    wrong[cls] = problem
    assert not wrong


def test_many_are_looked_at() -> None:
    count = sum(1 for name in _MODULES for cls in _classes(name) for _ in _made(cls))
    assert count > 300
