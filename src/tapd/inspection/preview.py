"""Reads the beginning of a large TAP quickly, without running its code.

A TAP's pickle is the root, bare, and then a queue of objects with their states, breadth first.
Its beginning contains the application, its services, and the first of their contents. A bounded
part is read by the standard library's Python unpickler, since that can be stopped and asked for
what it has so far.

Only certain results are used: complete states, and the parts already set in the state being
read. Objects still on the stack are dropped, since it is unknown where they belong.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from typing import Any

from tapd.inspection.stubs import (
    Stub,
    StubFinder,
    StubType,
    collector_paused,
    give_by,
    give_state,
    memory_bounded,
)

READ_BYTES = 2 << 20
_FRAME_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a graph.

    Attributes:
        root: the root, a stub.
        stubs: the names met so far, with their stubs.
        cut: the id of the object being read at the end; 0 if there was none.
        given: the ids of the objects whose states were read.
    """

    root: Stub
    stubs: dict[str, StubType]
    cut: int
    given: frozenset[int]


class _EnoughError(Exception):
    """Enough was read."""


class _Bounded(io.BytesIO):
    """A pickle that ends after a number of reads; a long text counts like a frame."""

    def __init__(self, data: bytes | memoryview, left_bytes: int) -> None:
        super().__init__(data)
        self._left = left_bytes

    def _take(self, size: int) -> None:
        if self._left <= 0:
            raise _EnoughError
        self._left -= min(size, _FRAME_BYTES)

    def read(self, size: int | None = -1, /) -> bytes:
        self._take(_FRAME_BYTES if size is None or size < 0 else size)
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self._take(len(buffer))
        return super().readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._take(len(line))
        return line


_InPython: Any = pickle._Unpickler  # noqa: SLF001 - pickle's own in Python, whose stack can be seen


class _Beginning(StubFinder, _InPython):  # type: ignore[misc]  # an untyped base, as above
    """Finds a stub for every name, and can be stopped."""

    def levels(self) -> list[list[Any]]:
        """Return the stack, split at its marks, outermost first."""
        return [*self.metastack, self.stack]


def read_beginning(data: bytes | memoryview, read_bytes: int = READ_BYTES) -> Preview | None:
    """Read about `read_bytes` of a pickle, which may be hostile.

    Returns:
        The beginning. None if the pickle does not look like a TAP, is damaged or
        complete, or if its beginning has nothing of interest: then read all of it.
    """
    reader = _Beginning(_Bounded(data, read_bytes))
    with collector_paused(), memory_bounded(len(data)):
        try:
            reader.load()
        except _EnoughError:
            return _assemble(reader.levels(), reader.stubs)
        except (Exception, MemoryError):
            return None  # reading all of it will report the problem
    return None


def _assemble(levels: list[list[Any]], stubs: dict[str, StubType]) -> Preview | None:
    if len(levels) < 2 or len(levels[0]) != 3:
        return None
    finish, root, queue = levels[0]
    if type(finish) is not StubType or finish.own_name != "finish_graph":
        return None
    if not isinstance(root, Stub) or not isinstance(queue, Stub):
        return None
    items = [*(queue.items or ()), *levels[1]]
    triples = []
    for at in range(0, len(items) - 2, 3):
        obj, meta, state = items[at : at + 3]
        if not (obj is None or isinstance(obj, Stub | StubType)) or not _is_meta(meta):
            break
        triples.append((obj, meta, state))
    if len(triples) < 2:
        return None
    # The last one may continue: nothing read so far says that it is complete.
    last, _meta, begun = triples.pop()
    for obj, meta, state in triples:
        give_by(meta.own_name if type(meta) is StubType else "", obj, state)
    if type(begun) in (dict, list):
        give_state(last, begun)
    given = frozenset(id(obj) for obj, _meta, _state in triples)
    return Preview(root, stubs, id(last), given)


def _is_meta(meta: Any) -> bool:
    return meta is None or type(meta) in (int, tuple, StubType)
