"""Shows the contents of a TAP as a tree with sizes, without running its code.

A `Graph` walks the stubs of a pickle breadth first, so that every object belongs to its
shortest path, and adds up the size of each part in bytes.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any

from tapd.inspection.preview import READ_BYTES, Preview, read_beginning
from tapd.inspection.secrecy import hide, is_secret_name, is_secret_value
from tapd.inspection.stubs import Stub, StubType, collector_paused, read_stubs
from tapd.model.address import Address

ROOT_NAME = "application"
_MAPPINGS = {
    "tapd.model.durable.tracked:TrackedDict", "tapd.model.durable.namespace:Namespace",
    "collections:OrderedDict", "collections:defaultdict",
}  # fmt: skip
_ADDRESS = "tapd.model.address:Address"
SCALARS = (str, bytes, bytearray, int, float, bool, type(None), complex)
_SCALAR_TYPES = frozenset(SCALARS)  # stubs are never instances of a subclass
_TEXT_MAX = 60
_LABELS_MAX = 60
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\u024f\u0370-\u1fff\u2010-\u2027\u3040-\ud7ff]")


def read_graph(data: bytes | memoryview, source: str) -> Graph:
    """Read the pickle `data`, which may be hostile, without running its code.

    Raises:
        TapDamaged: it is not a readable pickle.
    """
    root, stubs = read_stubs(data, source)
    called = sorted(name for name, stub in stubs.items() if stub.called)
    return Graph(root, tuple(sorted(stubs)), tuple(called), len(data))


def read_first_graph(data: bytes | memoryview, read_bytes: int = READ_BYTES) -> Graph | None:
    """Read about `read_bytes` of a large TAP's pickle, without running its code.

    Returns:
        A graph with the sizes and counts of the part that was read; None if the
        pickle must be read as a whole (`read_graph`).
    """
    preview = read_beginning(data, read_bytes)
    if preview is None:
        return None
    return Graph(preview.root, tuple(sorted(preview.stubs)), (), len(data), preview)


def printable(text: str) -> str:
    """Return `text` without characters that a terminal might interpret."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def describe_scalar(value: Any) -> str:
    """Return a short `repr` of a str, bytes, number, bool or None."""
    if isinstance(value, str | bytes | bytearray) and len(value) > _TEXT_MAX:
        return f"{printable(repr(value[:_TEXT_MAX]))}... ({len(value)} long)"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    return printable(repr(value))


def type_label(obj: Any) -> str:
    """Return the name of the type of `obj`; for a stub, the name in the pickle."""
    if isinstance(obj, StubType):
        kind = "name" if obj.made_of is None else "typed class"
        return f"{kind} {printable(obj.reference)}"
    if isinstance(obj, Stub):
        if type(obj).own_name == "Placeholder" and len(obj.args) == 3:
            return f"lost {printable(str(obj.args[1]))} ({printable(str(obj.args[2]))})"
        reference = printable(type(obj).reference)
        return f"call of {reference}" if type(obj).called else reference
    return type(obj).__name__


def is_scalar(value: Any) -> bool:
    """Whether `value` has no parts: a text, a number, a name."""
    kind = type(value)
    return kind in _SCALAR_TYPES or (kind is StubType and value.made_of is None)


def _key_label(key: Any) -> str:
    text = describe_scalar(key) if isinstance(key, SCALARS) else _key_repr(key)
    return f"[{text}]"


def _key_repr(key: Any) -> str:
    if type(key) is tuple and len(key) <= 4 and all(isinstance(part, SCALARS) for part in key):
        return f"({', '.join(map(describe_scalar, key))})"
    return f"<{type_label(key)}>"


def children_of(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield label and value of each direct part of `obj`."""
    if isinstance(obj, Stub):
        yield from _stub_children(obj)
    elif isinstance(obj, dict):
        yield from _entries(obj.items())
    elif isinstance(obj, (list, tuple)):
        yield from ((f"[{index}]", value) for index, value in enumerate(obj))
    elif isinstance(obj, set | frozenset):
        yield from ((f"{{{index}}}", value) for index, value in enumerate(obj))
    elif type(obj) is StubType:
        yield from ((f"({index})", value) for index, value in enumerate(obj.made_of or ()))
        if obj.class_state is not None:
            yield ".<state>", obj.class_state


def _entries(pairs: Any) -> Iterator[tuple[str, Any]]:
    for key, value in pairs:
        yield _key_label(key), value
        if not isinstance(key, SCALARS):
            yield f"<key>{_key_label(key)}", key


@functools.lru_cache(4096)
def _attribute_label(name: str) -> str:
    return f".{printable(name)}"


def _stub_children(obj: Stub) -> Iterator[tuple[str, Any]]:
    yield from ((f"({index})", value) for index, value in enumerate(obj.args))
    if obj.items is not None:
        yield from ((f"[{index}]", value) for index, value in enumerate(obj.items))
    if obj.entries is not None:
        yield from _entries(obj.entries)
    yield from _state_children(obj, obj.state)


def _state_children(obj: Stub, state: Any) -> Iterator[tuple[str, Any]]:
    if state is None:
        return
    if isinstance(state, dict):
        if type(obj).reference in _MAPPINGS:
            yield from _entries(state.items())
        else:
            for name, value in state.items():
                yield _attribute_label(name if type(name) is str else str(name)), value
    elif (
        type(state) is tuple
        and len(state) == 2
        and all(part is None or isinstance(part, dict) for part in state)
    ):
        for part in state:  # __dict__ and slots, as copyreg pairs them
            yield from _state_children(obj, part)
    elif isinstance(state, list) and type(obj).reference.startswith("tapd.model.durable.tracked:"):
        yield from ((f"[{index}]", value) for index, value in enumerate(state))
    elif isinstance(state, list) and type(obj).reference == _ADDRESS:
        fields = zip(Address.__match_args__, state, strict=False)
        yield from ((f".{name}", value) for name, value in fields)
    else:
        yield ".<state>", state


def _scalar_bytes(value: Any) -> int:
    """Return the approximate size of a scalar in a pickle."""
    kind = type(value)
    if kind is int:
        return 2 if 0 <= value < 256 else 5 if value.bit_length() < 32 else value.bit_length() // 8
    if kind is str:
        size = len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        return size + (3 if size < 256 else 6)
    if kind is bytes or kind is bytearray:
        return len(value) + (3 if len(value) < 256 else 6)
    if value is None or kind is bool:
        return 1
    return 9 if kind is float else 3


class Graph:
    """The objects of a pickle, as a tree of shortest paths, with sizes.

    Attributes:
        root: the root of the pickle: a stub or a builtin container.
        names: every ``module:name`` that it refers to.
        called: those that a load would call, apart from classes of plain instances.
        pickle_bytes: the size of the pickle.
    """

    def __init__(
        self,
        root: Any,
        names: tuple[str, ...],
        called: tuple[str, ...],
        pickle_bytes: int,
        preview: Preview | None = None,
    ) -> None:
        self._preview = preview
        self.root = root
        self.pickle_bytes = pickle_bytes
        self.names = names
        self.called = called
        self._index: dict[int, int] | None = None
        self._totals: list[int] = []
        self._parents: list[int] = []
        self._objects: list[Any] = []
        self._labels: list[str] = []

    def _walk(self) -> dict[int, int]:
        """Number all objects with parts, breadth first, and add up sizes."""
        if self._index is None:
            with collector_paused():
                self._index = self._number_and_measure()
        return self._index

    def _number_and_measure(self) -> dict[int, int]:
        index = {id(self.root): 0}
        objects, parents, labels, sizes = [self.root], [-1], [ROOT_NAME], [0]
        position = 0
        texts: set[int] = set()
        while position < len(objects):
            size = 4
            for label, child in children_of(objects[position]):
                size += 3 + (len(label) if label[0] == "[" else 0)
                if is_scalar(child):
                    if type(child) in (str, bytes) and len(child) > 8:
                        if id(child) in texts:
                            continue  # met before: a pickle contains it once
                        texts.add(id(child))
                    size += _scalar_bytes(child)
                elif id(child) not in index:
                    index[id(child)] = len(objects)
                    objects.append(child)
                    parents.append(position)
                    labels.append(label)
                    sizes.append(0)
            sizes[position] = size
            position += 1
        for at in range(len(objects) - 1, 0, -1):
            sizes[parents[at]] += sizes[at]
        self._objects, self._parents, self._labels, self._totals = objects, parents, labels, sizes
        return index

    def __len__(self) -> int:
        """Return how many objects there are, not counting strings and numbers."""
        return len(self._walk())

    def path(self, at: int) -> str:
        """Return the path of object number `at`; a very long one is cut in the middle."""
        labels = []
        while at >= 0:
            labels.append(self._labels[at])
            at = self._parents[at]
        labels.reverse()
        if (left_out := len(labels) - _LABELS_MAX) > 0:
            half = _LABELS_MAX // 2
            labels[half:-half] = [f" ...({left_out} more)... "]
        return "".join(labels)

    def size_bytes(self, obj: Any) -> int:
        """Return the approximate size of `obj` with everything below it in the tree."""
        if is_scalar(obj):
            return _scalar_bytes(obj)
        at = self._walk()[id(obj)]
        return self._totals[at]

    def render_tree(
        self, *, depth_max: int, children_max: int, with_secrets: bool = False
    ) -> Iterator[tuple[int, str, int]]:
        """Yield depth, line and size of each part, as a tree.

        Args:
            depth_max: maximum depth.
            children_max: how many parts of one object to name; the largest.
            with_secrets: show passwords, hashes and the like (`secrecy`).
        """
        index = self._walk()
        stack: list[tuple[int, str, Any, int]] = [(0, ROOT_NAME, self.root, -1)]
        hidden_below = -1  # the depth of a part that is entirely secret
        while stack:
            depth, label, obj, parent = stack.pop()
            if depth <= hidden_below:
                hidden_below = -1
            if hidden_below < 0 and not with_secrets and is_secret_name(label):
                hidden_below = depth
            if label.startswith("... "):
                yield depth, label, obj
                continue
            if is_scalar(obj):
                shown = describe_scalar(obj) if isinstance(obj, SCALARS) else type_label(obj)
                if hidden_below >= 0 or (not with_secrets and is_secret_value(obj)):
                    shown = hide(obj) or shown
                yield depth, f"{label} = {shown}", _scalar_bytes(obj)
                continue
            at = index[id(obj)]
            if self._parents[at] != parent or self._labels[at] != label:
                yield depth, f"{label}: {type_label(obj)}, see {self.path(at)}", 0
                continue
            counted = f"{count_label(obj)}{self._unread_label(obj)}"
            yield depth, f"{label}: {type_label(obj)}{counted}", self._totals[at]
            if depth < depth_max:
                stack.extend(reversed(self._children_to_show(obj, at, depth + 1, children_max)))

    def _unread_label(self, obj: Any) -> str:
        """Return a note for an object that a preview has read only in part."""
        if self._preview is None:
            return ""
        is_bare = isinstance(obj, Stub) and not (obj.args or obj.items or obj.entries)
        if is_bare and obj.state is None and id(obj) not in self._preview.given:
            return ", not read"
        return " or more" if id(obj) == self._preview.cut else ""

    def _children_to_show(
        self, obj: Any, at: int, depth: int, children_max: int
    ) -> list[tuple[int, str, Any, int]]:
        children = [(depth, label, child, at) for label, child in children_of(obj)]
        if len(children) <= children_max:
            return children
        by_size = sorted(
            range(len(children)), key=lambda number: -self.size_bytes(children[number][2])
        )
        kept = [children[number] for number in sorted(by_size[:children_max])]
        rest = sum(self.size_bytes(children[number][2]) for number in by_size[children_max:])
        is_cut = self._preview is not None and id(obj) == self._preview.cut
        many = f"{'at least ' * is_cut}{len(children) - children_max}"
        return [*kept, (depth, f"... {many} more", rest, at)]

    def largest(self, count: int) -> list[tuple[int, str, str]]:
        """Return size, path and type of the `count` largest parts, largest first.

        A part that is nearly all of a larger one (over 95 %) replaces it.
        """
        self._walk()
        order = sorted(range(len(self._objects)), key=lambda at: (-self._totals[at], at))
        best_child: dict[int, int] = {}
        for at in order[1:]:
            best_child.setdefault(self._parents[at], at)
        chosen = (
            at
            for at in order
            if at not in best_child or self._totals[best_child[at]] <= 0.95 * self._totals[at]
        )
        return [
            (self._totals[at], self.path(at), type_label(self._objects[at]))
            for at in itertools.islice(chosen, count)
        ]

    def by_type(self) -> list[tuple[int, int, str]]:
        """Return own size, number and name of each type, largest first."""
        self._walk()
        own = list(self._totals)
        for at in range(1, len(own)):
            own[self._parents[at]] -= self._totals[at]
        sizes: dict[str, list[int]] = {}
        for obj, size in zip(self._objects, own, strict=True):
            entry = sizes.setdefault(type_label(obj), [0, 0])
            entry[0] += size
            entry[1] += 1
        return sorted(((size, count, name) for name, (size, count) in sizes.items()), reverse=True)


def count_label(obj: Any) -> str:
    """Return the number of parts of `obj`, in words; "" if it has none."""
    if type(obj) is StubType:
        return ""
    if isinstance(obj, Stub):
        state = obj.state if isinstance(obj.state, dict | list) else ()
        many = len(state) + len(obj.items or ()) + len(obj.entries or ())
        return f" of {many}" if many else ""
    return f" of {len(obj)}"
