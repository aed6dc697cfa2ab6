"""Every way in which a value is saved and loaded: TAP and journal, flat, deep and nested."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

from tapd.image.loss import Loss
from tapd.image.pickling.deep_graph import DeepGraphPickler, NestedGraphPickler
from tapd.image.pickling.deep_states import DeepStatePickler, FlatStatePickler
from tapd.image.pickling.graph import GraphPickler, GraphRoot
from tapd.image.pickling.pickler import StateLoader, StatePickler, dump_graph, load_graph
from tapd.image.pickling.shared_objects import SharedObjects
from tapd.image.pickling.states import _MEMO

Form = Callable[[Any], tuple[Any, list[Loss]]]
"""Saves a value and loads it; returns it with what was lost."""


def _number(_obj: Any) -> int:
    raise AssertionError("no durable object is in it")


def _none(_number: int) -> Any:
    raise AssertionError("no durable object is in it")


def by_tap(value: Any) -> tuple[Any, list[Loss]]:
    dump = dump_graph(value)
    return load_graph(dump.data), list(dump.losses)


def by_plain_pickle(value: Any) -> tuple[Any, list[Loss]]:
    dump = dump_graph(value)
    return pickle.loads(dump.data), list(dump.losses)


def flat_data(value: Any) -> bytes:
    """Return a TAP's pickle in its flat form."""
    buffer = io.BytesIO()
    GraphPickler(buffer, value, flat=True).dump(GraphRoot(value))
    return buffer.getvalue()


def by_flat_tap(value: Any) -> tuple[Any, list[Loss]]:
    buffer = io.BytesIO()
    pickler = GraphPickler(buffer, value, flat=True)
    pickler.dump(GraphRoot(value))
    return load_graph(buffer.getvalue()), pickler.losses


def by_deep_tap(value: Any) -> tuple[Any, list[Loss]]:
    buffer = io.BytesIO()
    pickler = DeepGraphPickler(buffer, value)
    pickler.dump(GraphRoot(value))
    return load_graph(buffer.getvalue()), pickler.losses


def by_nested_tap(value: Any) -> tuple[Any, list[Loss]]:
    first = DeepGraphPickler(io.BytesIO(), value)
    first.dump(GraphRoot(value))
    buffer = io.BytesIO()
    pickler = NestedGraphPickler(buffer, value, first.found())
    pickler.dump(GraphRoot(value))
    return load_graph(buffer.getvalue()), pickler.losses


def by_journal(value: Any) -> tuple[Any, list[Loss]]:
    dump = StatePickler(_number).dump_state(value)
    return StateLoader(_none).load_state(dump.data), list(dump.losses)


def _by_other_state(kind: Any) -> Form:
    def save(value: Any) -> tuple[Any, list[Loss]]:
        buffer = io.BytesIO()
        pickler = kind(buffer, value, "", _number, SharedObjects())
        pickler.memo = _MEMO
        pickler.dump(GraphRoot(value))
        return StateLoader(_none).load_state(buffer.getvalue()), pickler.losses

    return save


FORMS: dict[str, Form] = {
    "TAP": by_tap,
    "plain pickle": by_plain_pickle,
    "flat TAP": by_flat_tap,
    "deep TAP": by_deep_tap,
    "nested TAP": by_nested_tap,
    "journal": by_journal,
    "flat journal": _by_other_state(FlatStatePickler),
    "deep journal": _by_other_state(DeepStatePickler),
}
