"""Every way in which namespaces are saved and loaded, each forced, by TAP and by journal.

The usual way is what pickle does. Where something nests too deeply for C the writer
takes the *flat* way (plain instances nest) or the *deep* one (lists do); where
something fails at load the reader takes the way of *salvage*. Whatever else is in a
namespace must be the same by all of them.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable
from typing import Any

from tapd.image.pickling.pickler import Restoration, StatePickler, dump_graph, load_graph
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.model.application import Application
from tapd.model.durable.namespace import Namespace
from tapd.model.service import Service

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


def _nested(make: Callable[[Any], Any], depth: int) -> Any:
    made = make(None)
    for _ in range(depth):
        made = make(made)
    return made


def _in_list(inner: Any) -> list[Any]:
    return [inner]


@functools.cache
def _too_deep() -> int:
    """Return how many levels are too many for this Python's pickle."""
    depth = 1000
    while True:
        try:
            pickle.dumps(_nested(_in_list, depth))
        except RecursionError:
            return depth
        depth *= 2


def is_costly(form: str, way: str) -> bool:
    """Whether many namespaces would take minutes: some Pythons nest deeper before they fail."""
    return _too_deep() > 2000 and form not in ("usual", "salvage") and way == "jar"


FORMS: dict[str, Callable[[], list[Any]]] = {
    "usual": list,
    "flat": lambda: [_nested(Link, _too_deep())],
    "deep": lambda: [_nested(_in_list, _too_deep())],
    "salvage": lambda: [Failing()],
    "flat salvage": lambda: [_nested(Link, _too_deep()), Failing()],
    "deep salvage": lambda: [_nested(_in_list, _too_deep()), Failing()],
}


def application_of(texts: dict[str, str]) -> Application:
    """Return an application with a namespace for each text, which has been typed there."""
    from typed_kinds import type_into

    application = Application("telnet")
    for name, text in texts.items():
        service = application.add_service(Service(), name)
        service.namespace = Namespace()
        service.namespace.names["__name__"] = "__main__"
        type_into(service.namespace, text)
        StatePickler(lambda _obj: 1).dump_object(service.namespace)  # as the turn's end does
    return application


def namespaces_of(application: Application) -> dict[str, Namespace]:
    """Return the namespaces by the names of their texts."""
    return {name: service.namespace for name, service in application.services.items()}


def by_tap(application: Application) -> Application:
    """Save it, and load what was saved."""
    dump = dump_graph(application)
    assert dump.losses == ()
    return load_graph(dump.data)  # type: ignore[no-any-return]  # what was dumped


def by_jar(application: Application, change: Callable[[], object] = lambda: None) -> Application:
    """Save it, have every namespace written by a turn in which `change` is done, and load both."""
    beside = [namespace.names.pop(BESIDE) for namespace in namespaces_of(application).values()]
    jar = Jar()
    jar.adopt(application)
    data = dump_graph(application).data
    change()
    for namespace, each in zip(namespaces_of(application).values(), beside, strict=True):
        namespace.names[BESIDE] = each
        namespace.touch()
    changes = jar.commit()
    assert jar.losses == []
    restoration = Restoration()
    loaded = load_graph(data, restoration)
    other = Jar()
    replay = Replay(other.adopt(loaded, restoration.durables), restoration, other)
    replay.apply(changes)
    replay.finish()
    return loaded  # type: ignore[no-any-return]  # what was dumped


WAYS: dict[str, Callable[[Application], Application]] = {
    "tap": by_tap,
    "two taps": lambda application: by_tap(by_tap(application)),
    "jar": by_jar,
    "jar and tap": lambda application: by_tap(by_jar(application)),
}


def sent(application: Application, form: str, way: str) -> Application:
    """Return what comes back of an application, with something beside all that forces the form."""
    beside = FORMS[form]()
    for namespace in namespaces_of(application).values():
        namespace.names[BESIDE] = beside
    again = WAYS[way](application)
    _drop(namespaces_of(application).values())
    _drop(namespaces_of(again).values())
    return again


def _drop(namespaces: Iterable[Namespace]) -> None:
    for namespace in namespaces:
        del namespace.names[BESIDE]
