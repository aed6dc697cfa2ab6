"""Every way in which a namespace is saved and loaded, each forced: by TAP and by journal.

The usual way is what pickle does. Where something nests too deeply for C the writer
takes the *flat* way (plain instances nest) or the *deep* one (lists do); where
something fails at load the reader takes the way of *salvage*. Whatever else is in the
namespace must be the same by all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typed_kinds import Prompt

from tapd.image.changes import Changes
from tapd.image.jar import Jar
from tapd.image.pickler import Restoration, StateLoader, StatePickler, dump_graph, load_graph
from tapd.image.replay import Replay
from tapd.model.namespace import Namespace

DEPTH = 5000
BESIDE = "_beside_"


class Failing:
    """Fails when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _fail, ()


def _fail() -> Any:
    raise RuntimeError("it fails at load")


class Link:
    """One of many, each in another."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def _deep() -> Any:
    nested: list[Any] = []
    for _ in range(DEPTH):
        nested = [nested]
    return nested


def _flat() -> Any:
    link = Link(None)
    for _ in range(DEPTH):
        link = Link(link)
    return link


FORMS: dict[str, Callable[[], list[Any]]] = {
    "usual": list,
    "flat": lambda: [_flat()],
    "deep": lambda: [_deep()],
    "salvage": lambda: [Failing()],
    "deep salvage": lambda: [_deep(), Failing()],
}


def _by_tap(prompt: Prompt) -> Prompt:
    dump = dump_graph(prompt.application)
    assert dump.losses == ()
    return Prompt.of(load_graph(dump.data))


def _by_journal(prompt: Prompt) -> Prompt:
    dump = StatePickler(lambda _obj: 7).dump_object(prompt.namespace)
    assert dump.losses == ()
    again = Prompt()
    namespace = Namespace.__new__(Namespace)
    StateLoader(lambda _oid: namespace).restore(namespace, dump.data)
    again.service.namespace = again.namespace = namespace
    return again


def _by_tap_and_journal(prompt: Prompt) -> Prompt:
    """Load a TAP, then a record that says the same once more, as after a turn without a change."""
    prompt.namespace._p_oid = 7
    restoration = Restoration()
    again = Prompt.of(load_graph(dump_graph(prompt.application).data, restoration))
    dump = StatePickler(lambda _obj: 7).dump_object(prompt.namespace)
    StateLoader(lambda _oid: again.namespace, restoration).restore(again.namespace, dump.data)
    return again


def by_jar(prompt: Prompt, change: Callable[[], object] = lambda: None) -> Prompt:
    """Save a TAP, then do `change` in a turn, and load both."""
    jar = Jar()
    jar.adopt(prompt.application)
    data = dump_graph(prompt.application).data
    change()
    prompt.namespace.touch()
    changes: Changes = jar.commit()
    restoration = Restoration()
    application = load_graph(data, restoration)
    other = Jar()
    replay = Replay(other.adopt(application, restoration.durables), restoration, other)
    replay.apply(changes)
    replay.finish()
    return Prompt.of(application)


WAYS: dict[str, Callable[[Prompt], Prompt]] = {
    "tap": _by_tap,
    "journal": _by_journal,
    "tap and journal": _by_tap_and_journal,
    "jar": by_jar,
}


def sent(prompt: Prompt, form: str, way: str) -> Prompt:
    """Return what comes back of a prompt."""
    names = prompt.namespace.names
    names[BESIDE] = FORMS[form]()
    try:
        again = WAYS[way](prompt)
    finally:
        del names[BESIDE]
    del again.namespace.names[BESIDE]
    return again
