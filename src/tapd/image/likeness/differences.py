"""A difference between two graphs: its path, and both sides in a few words.

For `image.likeness.graphs`. A place in the graphs is a node that refers to its parent, so a
path is built only when it is shown.
"""

from __future__ import annotations

from typing import Any

from tapd.image.likeness.anatomy import has_own_state
from tapd.image.likeness.summary import show
from tapd.model.durable.persistent import Tracked, is_durable_type
from tapd.values import Value

_NONE = type(None)

MISSING: Any = type("Missing", (), {"__slots__": ()})()
"""Takes the place of a part that one side lacks."""

# A node: the node that led to it, the kind of its label, the label, and the pair.
Node = tuple[Any, int, Any, Any, Any]
TEXT, ATTRIBUTE, INDEX, KEY, KEYS = range(5)


class Difference(Value):
    """A place where two graphs differ.

    Attributes:
        path: from the root; "" for the root itself.
        owner: the class of the nearest durable object on the path.
        one, other: both sides, for people; "missing" for an absent part.
        type_name: of the object that differs.
        other_path: set where one graph has a single object and the other has two: the
            second place.
        is_one: with `other_path`: the first graph has the single object.
        holder: the class of the object that holds the difference.
        is_hooked: a class on the path defines its own saved state.
    """

    path: str
    owner: str
    one: str
    other: str
    type_name: str
    other_path: str | None = None
    is_one: bool = True
    holder: str = ""
    is_hooked: bool = False


class Outcome(Value):
    """The result of a comparison.

    Attributes:
        differences: nearest to the root first.
        objects: how many pairs were compared.
        is_whole: it was completed within its limits.
    """

    differences: tuple[Difference, ...]
    objects: int
    is_whole: bool


def difference_at(node: Node, known: Node | None, *, is_one: bool) -> Difference:
    """Return the difference at a node.

    Args:
        node: the place.
        known: where the same object was met before, if that is the difference.
        is_one: it is the first graph that has one object.
    """
    one, other = node[3], node[4]
    there = one if one is not MISSING else other
    is_hooked = False
    step = node
    while step is not None:
        is_hooked = is_hooked or has_own_state(type(step[3])) or has_own_state(type(step[4]))
        step = step[0]
    above, root = node[0], there
    while above is not None and (
        not is_durable_type(type(above[3])) or issubclass(type(above[3]), Tracked)
    ):
        root, above = above[3], above[0]
    return Difference(
        path_of(node),
        type(above[3] if above is not None else root).__qualname__,
        _shown(one),
        _shown(other),
        type(there).__qualname__,
        None if known is None else path_of(known),
        is_one,
        type(node[0][3] if node[0] is not None else there).__qualname__,
        is_hooked,
    )


def _shown(value: Any) -> str:
    return "missing" if value is MISSING else show(value)


def path_of(node: Node | None) -> str:
    """Return the path of a node from the root."""
    labels: list[str] = []
    while node is not None:
        above, kind, label = node[:3]
        if kind == TEXT:
            labels.append(label)
        elif kind == INDEX:
            labels.append(f"[{label}]")
        elif kind == ATTRIBUTE:
            labels.append(f".{label}")
        elif kind == KEY:
            labels.append(f"[{key_label(label)}]")
        else:
            labels.append(f".<item {show(label, 40)}>")
        node = above
    if len(labels) > _LABELS_MAX:
        labels[_LABELS_MAX:] = ["..."]
    return "".join(reversed(labels)).removeprefix(".")


_LABELS_MAX = 100


def key_label(key: Any) -> str:
    """Return the label of a key in a path."""
    if type(key) in (str, int, bytes, float, bool, _NONE):
        return show(key, 60)
    return f"<{type(key).__qualname__}>"
