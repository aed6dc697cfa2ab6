"""Makes the golden TAPs, and says what is in them.

Run by each Python of a release: ``golden_taps.py make tests/golden`` writes the
TAP of this tapd and this Python there, signed with the key that lies beside it,
which signs nothing else. TAPs of earlier releases are never made
again: `check` must hold for them for ever.
"""

# The texts are laid out as they are typed.
# ruff: noqa: ISC004

from __future__ import annotations

import pathlib
import platform
import sys
import threading
from typing import Any

from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree

import tapd
from tapd.image.code.definitions import cell_contents
from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Placeholder
from tapd.image.tracking.jar import Jar
from tapd.image.typed import compile_typed
from tapd.model.access.accounts import verify_password
from tapd.model.application import Application
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent
from tapd.model.durable.tracked import (
    TrackedBytearray,
    TrackedDeque,
    TrackedDict,
    TrackedList,
    TrackedSet,
)
from tapd.model.service import Service
from tapd.services.telnet import ShellFactory
from tapd.store.key import Key, parse_key
from tapd.store.snapshot import load_application, take_snapshot
from tapd.store.tapfile import parse_tap

KEY_NAME = "key"

TYPED = (
    "import collections, dataclasses, datetime, enum, functools, re, threading",
    "def double(n, *, by=2):\n    'twice'\n    return n * by\n",
    "def make_counter():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n"
    "        return n\n    def now():\n        return n\n    return up, now\n",
    "up, now = make_counter()",
    "up(); up()",
    "square = lambda n: n * n",
    "class Animal:\n    legs = 4\n    def __init__(self, name):\n        self.name = name\n"
    "    def speak(self):\n        return f'{self.name} speaks'\n",
    "class Dog(Animal):\n    def speak(self):\n        return super().speak() + ': wau'\n",
    "rex = Dog('rex')",
    "@dataclasses.dataclass(order=True)\nclass Point:\n    x: int\n    y: int = 0\n",
    "class Colour(enum.Enum):\n    RED = 1\n    BLUE = 'b'\n",
    "@functools.lru_cache\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
    "points = sorted([Point(2), Point(1, 5)])",
    "red = Colour.RED",
    "moment = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.timezone.utc)",
    "pattern = re.compile('a+', re.I)",
    "ordered = collections.OrderedDict(b=1, a=2)",
    "lock = threading.Lock()",
    "def words(text):\n    return [word for word in text.split() if word]\n",
)


def make_application(run_in: Any) -> Application:
    """Return a telnet application that somebody has lived in.

    Args:
        run_in: runs typed code in a namespace.
    """
    application = Application("golden", uid=1000, gid=1000)
    application.authorizer.add_account("admin", "woohoo")
    application.listen("127.0.0.1:4040", ShellFactory())
    data = application.add_service(Service(), "data")
    loop: list[Any] = [1]
    loop.append(loop)
    contents: dict[str, Any] = {
        "items": TrackedList([1, "two", b"three", 4.5, None, (6, [7])]),
        "by_name": TrackedDict(a=1, b=TrackedDict(c=[2])),
        "members": TrackedSet({"x", "y"}),
        "bytes": TrackedBytearray(b"bytes"),
        "recent": TrackedDeque([1, 2, 3], 3),
        "tree": OOBTree({f"key {number:03}": number for number in range(100)}),
        "numbers": IOBTree({1: "one"}),
        "loop": loop,
        "deep": _nested(2000),
        "lost": threading.Thread(),
    }
    for name, value in contents.items():
        setattr(data, name, value)
    data.same = data.items
    namespace = data.namespace = Namespace()
    namespace.names["__name__"] = "__main__"
    for text in TYPED:
        run_in(text, namespace)
    namespace.names["service"] = data
    application.call_later(86_400.0 * 365_000, application.authorizer.add_account, "late", "comer")
    application.call_later(86_400.0 * 365_000, namespace.names["double"], 21)
    return application


def _nested(depth: int) -> Any:
    deep: Any = Holder()
    for _ in range(depth):
        deep = Holder(deep)
    return deep


class Holder(Persistent):
    """Holds one thing."""

    def __init__(self, held: Any = None) -> None:
        self.held = held


def check(application: Application) -> None:
    """Assert that everything of `make_application` is there, and works."""
    assert repr(application) == "<golden app>"
    assert verify_password(application.authorizer.password_hash("admin"), "woohoo")
    assert [str(port.address) for port in application.ports] == ["127.0.0.1:4040"]
    assert application.ports[0].service is application.services["shellfactory"]
    assert type(application.ports[0].service) is ShellFactory
    data: Any = application.services["data"]
    _check_data(data)
    _check_typed(data.namespace.names)
    assert data.namespace.names["service"] is data
    adder, doubler = application.delayeds.values()
    assert adder.function == application.authorizer.add_account
    assert adder.args == ("late", "comer")
    assert doubler.function is data.namespace.names["double"]
    assert adder.is_pending


def _check_data(data: Any) -> None:
    assert data.items == [1, "two", b"three", 4.5, None, (6, [7])]
    assert data.same is data.items
    assert data.by_name == {"a": 1, "b": {"c": [2]}}
    assert data.members == {"x", "y"}
    assert data.bytes == b"bytes"
    assert (list(data.recent), data.recent.maxlen) == ([1, 2, 3], 3)
    assert list(data.tree.values()) == list(range(100))
    assert data.numbers[1] == "one"
    assert data.loop[1] is data.loop
    depth, deep = 0, data.deep
    while deep.held is not None:
        depth, deep = depth + 1, deep.held
    assert depth == 2000
    assert type(data.lost) is Placeholder
    assert data.lost.loss.type_name == "threading.Thread"


def _check_typed(names: dict[str, Any]) -> None:
    assert names["double"](4) == 8
    assert names["double"].__doc__ == "twice"
    assert names["double"].__globals__ is names
    assert (names["up"](), names["now"]()) == (3, 3)
    assert cell_contents(names["now"].__closure__[0]) == 3
    assert names["square"](5) == 25
    assert names["rex"].speak() == "rex speaks: wau"
    assert (type(names["rex"]), names["Dog"].__mro__[1]) == (names["Dog"], names["Animal"])
    point = names["Point"]
    assert names["points"] == [point(1, 5), point(2)]
    assert names["red"] is names["Colour"].RED is names["Colour"](1)
    assert names["fib"](30) == 832040
    assert names["moment"].isoformat() == "2026-11-23T12:00:00+00:00"
    assert names["pattern"].match("AA")
    assert list(names["ordered"]) == ["b", "a"]
    assert names["lock"].acquire(blocking=False)
    assert names["words"]("a b") == ["a", "b"]
    assert names["threading"] is threading


def run_typed(text: str, namespace: Namespace) -> None:
    """Compile as a prompt does, and run."""
    code = compile_typed(text, namespace)
    assert code is not None, text
    exec(code, namespace.names)


def read_key(directory: pathlib.Path) -> Key:
    """Return the key of the golden TAPs (`load_key` asks for a mode that a checkout has not)."""
    return parse_key((directory / KEY_NAME).read_text(), KEY_NAME)


def load(path: pathlib.Path, key: Key) -> Application:
    """Load a TAP as a daemon does, up to its jar."""
    pickle, _manifest = parse_tap(path.read_bytes(), key, path.name)
    restoration = Restoration()
    application = load_application(pickle, path, restoration)
    jar = Jar()
    jar.adopt(application, restoration.durables)
    restoration.finish()
    assert not jar.commit()
    return application


def make(directory: pathlib.Path) -> None:
    """Write the TAP of this release and this Python."""
    application = make_application(run_typed)
    Jar().adopt(application)
    snapshot = take_snapshot(application, 1, read_key(directory))
    minor = ".".join(platform.python_version_tuple()[:2])
    path = directory / f"tapd-{tapd.__version__}-python-{minor}.tap"
    path.write_bytes(b"".join(snapshot.chunks))


def main() -> None:
    """Make this Python's TAP, or check all that are there."""
    command, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "make":
        make(directory)
    else:
        for path in sorted(directory.glob("*.tap")):
            check(load(path, read_key(directory)))


if __name__ == "__main__":
    import golden_taps  # the same file, under a name that lasts

    golden_taps.main()
