"""Statements that change what is there, by every way that Python has for its type."""

from __future__ import annotations

import array
import collections
import enum
import functools
import io
import random
import types
from collections.abc import Callable, Iterator
from typing import Any

from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet
from tests.twin.limits import is_left_out
from tests.twin.places import Place
from tests.twin.prelude import WITHOUT
from tests.twin.values import Values

Moves = Iterator[Callable[[], str]]


def move(values: Values, place: Place) -> str | None:
    """Return a statement that changes the object at `place`; None where nothing can."""
    found = list(_moves(values, place.path, place.obj))
    return values.rng.choice(found)() if found else None


def _moves(v: Values, p: str, obj: Any) -> Moves:
    for types_, moves in _TABLE:
        if isinstance(obj, types_):
            yield from moves(v, p)
    if isinstance(obj, dict) and not isinstance(obj, collections.OrderedDict):
        yield from _bare_dict(v, p)  # an OrderedDict itself is broken by that
    if hasattr(obj, "__dict__") and not isinstance(obj, _NO_DICT):
        yield from _by_dict(v, p)
    if not isinstance(obj, _NO_ATTRIBUTES):
        yield from _by_attributes(v, p)
        if not (isinstance(obj, _PERSISTENT) and is_left_out("object.__setattr__ of a durable")):
            yield lambda: f"object.__setattr__({p}, 'a', {v.any()})"


def _by_attributes(v: Values, p: str) -> Moves:
    name = v.rng.choice(["a", "b", "a", "b", "c", "x"])
    yield lambda: f"{p}.{name} = {v.any()}"
    yield lambda: f"{p}.{name} = {v.any()}"
    yield lambda: f"{p}.{name} += {v.rng.choice(['1', '[1]', f'[{v.any()}]', '(2,)'])}"
    yield lambda: f"{p}.a, {p}.b = {p}.b, {p}.a"
    yield lambda: f"del {p}.{name}"
    yield lambda: f"setattr({p}, {name!r}, {v.any()})"
    yield lambda: f"{p}.add({v.any()})"
    yield lambda: f"{p}.cached.append({v.any()})"
    yield lambda: f"{p}.kept = {v.any()}"
    yield lambda: f"{p}.kept.append({v.any()})"
    yield lambda: f"{p}.twice = {v.any()}"
    yield lambda: f"{p}.__class__ = {v.rng.choice(v.classes or ['list'])}"
    yield lambda: f"{p}.__init__(name={v.word()}, a={v.any()})"


def _by_dict(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.__dict__[{v.word()}] = {v.any()}"
    yield lambda: f"vars({p})[{v.word()}] = {v.any()}"
    yield lambda: f"{p}.__dict__.update(a={v.any()})"
    yield lambda: f"vars({p}).pop('a', None)"
    yield lambda: f"{p}.__dict__ |= {{'x': {v.any()}}}"
    yield lambda: f"{p}.__dict__.setdefault('z', []).append({v.any()})"
    yield lambda: f"{p}.__dict__ = {{'name': 'new', {v.named_pairs()}}}"


def _list(v: Values, p: str) -> Moves:
    for _ in range(3):
        yield lambda: f"{p}.append({v.any()})"
    yield lambda: f"{p}[0] = {v.any()}"
    yield lambda: f"{p}[-1] = {v.any()}"
    yield lambda: f"{p}.append({p}[0])"
    yield lambda: f"{p}.extend([{v.items()}])"
    yield lambda: f"{p}.insert({v.number()}, {v.any()})"
    yield lambda: f"{p}.pop()"
    yield lambda: f"{p}.pop(0)"
    yield lambda: f"del {p}[{v.number()}]"
    yield lambda: f"{p}[1:2] = [{v.items()}]"
    yield lambda: f"{p}[:] = [{v.items()}]"
    yield lambda: f"{p}[:] = list({p})[::-1]"
    yield lambda: f"del {p}[::2]"
    yield lambda: f"{p}.reverse()"
    yield lambda: f"{p}.sort(key=name_of)" if v.rng.random() < 0.1 else f"{p}.sort()"
    yield lambda: f"{p}.clear()"
    yield lambda: f"{p}.__init__([{v.items()}])"
    if not is_left_out("a base class's method"):
        yield lambda: f"list.append({p}, {v.any()})"
        yield lambda: f"list.__setitem__({p}, 0, {v.any()})"
    yield lambda: f"heapq.heappush({p}, {v.number()})"
    yield lambda: f"heapq.heapify({p})"
    yield lambda: f"heapq.heappop({p})"
    yield lambda: f"heapq.heapreplace({p}, {v.number()})"
    yield lambda: f"bisect.insort({p}, {v.number()})"
    yield lambda: f"random.Random({v.number()}).shuffle({p})"
    yield lambda: f"operator.iadd({p}, [{v.items()}])"
    yield lambda: f"operator.setitem({p}, 0, {v.any()})"
    yield lambda: f"{p} *= 2" if v.rng.random() < 0.3 else f"{p} += [{v.any()}]"
    yield lambda: f"v.add = {p}.append"
    yield lambda: f"v.items = {p}"


def _dict(v: Values, p: str) -> Moves:
    for _ in range(3):
        yield lambda: f"{p}[{v.key()}] = {v.any()}"
    yield lambda: f"{p}[{v.word()}] = {v.any()}"
    yield lambda: f"{p}['y'] = {p}['x']"
    yield lambda: f"del {p}[{v.word()}]"
    yield lambda: f"del {p}[next(iter({p}))]"
    yield lambda: f"{p}.pop({v.key()}, None)"
    yield lambda: f"{p}.popitem()"
    yield lambda: f"{p}.update({{{v.pairs()}}})"
    yield lambda: f"{p}.update(x={v.any()}, y={v.any()})"
    yield lambda: f"{p} |= {{{v.pairs()}}}"
    yield lambda: f"{p}.setdefault({v.word()}, []).append({v.any()})"
    yield lambda: f"{p}.setdefault({v.key()}, {v.any()})"
    yield lambda: f"{p}[next(iter({p}))] = {v.any()}"
    yield lambda: f"{p}[{v.word()}] = {p}.pop('x', None)"
    yield lambda: f"{p}[{v.word()}] += {v.rng.choice(['1', '[1]'])}"
    yield lambda: f"{p}.clear()"
    yield lambda: f"{p}.__init__(x={v.any()})"
    yield lambda: f"v.items = {p}"


def _bare_dict(v: Values, p: str) -> Moves:
    if not is_left_out("a base class's method"):
        yield lambda: f"dict.__setitem__({p}, {v.word()}, {v.any()})"
        yield lambda: f"dict.update({p}, z={v.any()})"
    yield lambda: f"exec('y = [1]', {{}}, {p})"


def _ordered_dict(_v: Values, p: str) -> Moves:
    yield lambda: f"{p}.move_to_end(next(iter({p})))"
    yield lambda: f"{p}.popitem(last=False)"


def _default_dict(v: Values, p: str) -> Moves:
    yield lambda: f"{p}[{v.key()}]"
    yield lambda: f"{p}[{v.word()}].append({v.any()})"
    yield lambda: f"{p}.default_factory = {v.rng.choice(['dict', 'list', 'int'])}"


def _counter(v: Values, p: str) -> Moves:
    yield lambda: f"{p}[{v.key()}] += 1"
    yield lambda: f"{p}.update({v.numbers()})"
    yield lambda: f"{p}.subtract({v.numbers()})"
    yield lambda: f"{p} += collections.Counter({v.numbers()})"


def _set(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.add({v.key()})"
    yield lambda: f"{p}.add({v.number()})"
    yield lambda: f"{p}.discard({v.rng.choice([v.number(), v.alias()])})"
    for sign in ("|", "-", "&", "^"):
        yield functools.partial("{} {}= set({})".format, p, sign, v.numbers())
    yield lambda: f"{p}.update({v.numbers()})"
    yield lambda: f"{p}.clear()"
    yield lambda: f"{p}.__init__({v.numbers()})"
    if not is_left_out("a base class's method"):
        yield lambda: f"set.add({p}, {v.number()})"


def _deque(v: Values, p: str) -> Moves:
    for method in ("append", "append", "appendleft"):
        yield functools.partial("{}.{}({})".format, p, method, v.any())
    yield lambda: f"{p}.pop()"
    yield lambda: f"{p}.popleft()"
    yield lambda: f"{p}.extend([{v.items()}])"
    yield lambda: f"{p}.extendleft([{v.items()}])"
    yield lambda: f"{p}.rotate({v.number()})"
    yield lambda: f"{p}[0] = {v.any()}"
    yield lambda: f"del {p}[0]"
    yield lambda: f"{p}.insert(1, {v.any()})"
    yield lambda: f"{p}.append({p}[0])"
    yield lambda: f"{p}.reverse()"
    yield lambda: f"{p}.clear()"
    yield lambda: f"{p}.__init__([{v.items()}], 3)"
    if not is_left_out("a base class's method"):
        yield lambda: f"collections.deque.append({p}, {v.any()})"


def _bytearray(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.append({v.number()})"
    yield lambda: f"{p}[:2] = b'new'"
    yield lambda: f"{p} += b'more'"
    yield lambda: f"struct.pack_into('>H', {p}, 1, 500)"
    yield lambda: f"memoryview({p})[0] = {v.number()}"
    yield lambda: f"io.BytesIO(b'read').readinto({p})"
    yield lambda: f"del {p}[0]"
    yield lambda: f"{p}.extend(b'abc')"
    yield lambda: f"{p}.__init__(b'again')"


def _tree(v: Values, p: str) -> Moves:
    for _ in range(2):
        yield lambda: f"{p}[{v.word()}] = {v.any()}"
    yield lambda: f"{p}[{v.rng.choice('159')}] = {v.any()}"
    yield lambda: f"{p}.update({{{v.named_pairs()}}})"
    yield lambda: f"{p}.update({{n: [n] for n in range({v.rng.choice(['3', '90'])})}})"
    yield lambda: f"{p}.setdefault({v.word()}, []).append({v.any()})"
    yield lambda: f"{p}.insert({v.word()}, {v.any()})"
    yield lambda: f"del {p}[{v.word()}]"
    yield lambda: f"{p}.pop({v.word()}, None)"
    yield lambda: f"{p}.clear()"
    yield lambda: f"{p}['x'] = {p}['y']"


def _tree_set(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.add({v.word()})"
    yield lambda: f"{p}.insert({v.word()})"
    yield lambda: f"{p}.remove({v.word()})"
    yield lambda: f"{p}.update(['x', 'y'])"


def _chain_map(v: Values, p: str) -> Moves:
    yield lambda: f"{p}[{v.word()}] = {v.any()}"
    yield lambda: f"{p}.maps.append({{{v.named_pairs()}}})"
    yield lambda: f"{p}.maps[-1]['x'] = {v.any()}"


def _partial(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.keywords['key'] = {v.any()}"
    yield lambda: f"{p}.args[0].append({v.any()})"
    yield lambda: f"{p}()[0].append({v.any()})"
    yield lambda: f"{p}.note = {v.any()}"


def _method(v: Values, p: str) -> Moves:
    # In a list: `extend` would ask a set for its order.
    yield lambda: f"{p}([{v.any()}])"
    yield lambda: f"{p}({v.atom()})"
    yield lambda: f"{p}.__self__.append({v.any()})"


def _function(v: Values, p: str) -> Moves:
    for _ in range(3):
        yield lambda: f"show({p}({v.any()}))"
    yield lambda: f"{p}.note = {v.any()}"
    yield lambda: f"show({p}.get())"
    yield lambda: f"app.a = {p}.get"
    yield lambda: f"app.b = {p}.__closure__[0].cell_contents"
    yield lambda: f"{p}.__closure__[0].cell_contents = {v.any()}"
    yield lambda: f"{p}.__defaults__[0].append({v.any()})"


def _exception(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.add_note('seen')"
    yield lambda: f"{p}.args = ({v.items()},)".replace("(,)", "()")
    yield lambda: f"{p}.__cause__ = ValueError({v.any()})"


def _file(_v: Values, p: str) -> Moves:
    yield lambda: f"{p}.read(1)"
    yield lambda: f"{p}.write({p}.getvalue()[:1])"
    yield lambda: f"{p}.truncate(1)"


def _iterator(_v: Values, p: str) -> Moves:
    yield lambda: f"show(next({p}, None))"


def _array(v: Values, p: str) -> Moves:
    yield lambda: f"{p}.append({v.number()})"
    yield lambda: f"{p}[0] = {v.number()}"
    yield lambda: f"struct.pack_into('i', {p}, 0, 7)"


_Table = tuple[tuple[tuple[type, ...], Callable[[Values, str], Moves]], ...]
_TABLE: _Table = (
    ((list, collections.UserList), _list),
    ((dict, collections.UserDict), _dict),
    ((collections.OrderedDict,), _ordered_dict),
    ((collections.defaultdict,), _default_dict),
    ((collections.Counter,), _counter),
    ((set,), _set),
    ((collections.deque,), _deque),
    ((bytearray,), _bytearray),
    ((OOBTree, IOBTree), _tree),
    ((OOTreeSet,), _tree_set),
    ((collections.ChainMap,), _chain_map),
    ((functools.partial,), _partial),
    ((types.MethodType, types.BuiltinMethodType), _method),
    ((types.FunctionType,), _function),
    ((BaseException,), _exception),
    ((io.BytesIO, io.StringIO), _file),
    ((random.Random,), lambda _v, p: iter([lambda: f"show({p}.random())"])),
    ((type(iter([])),), _iterator),
    ((array.array,), _array),
)
_NO_ATTRIBUTES: tuple[type, ...] = (
    type, enum.Enum, types.FunctionType, types.MethodType, types.BuiltinMethodType,
    types.MappingProxyType, random.Random, type(iter([])), OOBTree, IOBTree,
    OOTreeSet,
)  # fmt: skip
_PERSISTENT: type = WITHOUT["Persistent"]
_NO_DICT = (type, enum.Enum, types.FunctionType, types.MethodType, random.Random)
