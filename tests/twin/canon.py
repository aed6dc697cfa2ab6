"""A graph as lines of text that say its values and its identities, and nothing else.

Each object gets a number when it is first met, on a walk that goes the same way in
both worlds; where it is met again its number stands. What tapd puts in the place of a
plain container counts as that. What can't be changed and has no attributes (numbers,
texts, tuples, methods) is written where it stands: its identity says nothing.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import io
import itertools
import random
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet

from tapd.model.durable.persistent import Tracked

_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_METHODS = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)
_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...), range, slice)
_VALUES = (
    dt.date,
    dt.datetime,
    dt.timedelta,
    decimal.Decimal,
    fractions.Fraction,
)
_BARE = (int, float, str, bytes, bytearray, tuple, decimal.Decimal, dt.date)
_ITERATORS: tuple[type, ...] = (
    type(iter([])),
    type(iter(())),
    type(iter(range(1))),
    itertools.count,
)
_NAMED = (type, types.FunctionType, types.ModuleType, enum.Enum)
_UNSAVED = ("lock", "__dict__", "__weakref__")


def render_graph(root: object) -> list[str]:
    """Return the graph under `root` as lines, each object in one."""
    return _Walk().lines_of(root)


def render_value(value: object) -> str:
    """Return all of `value` as one text."""
    walk = _Walk()
    text = walk.text(value)
    return " ".join([text, *walk.rest()])


def is_unfit(root: object) -> bool:
    """Whether something under `root` is what no plain Python could pickle or look up.

    A dict or set does not find what is in it, as its hash has changed; or the class's
    own `__getstate__` raises, for want of what it drops, or leaves out more than that.
    """
    walk = _Walk()
    try:
        walk.lines_of(root)
    except Exception:  # an OrderedDict looks up what it iterates over
        return True
    return any(_is_stale(obj) or _has_no_state(obj) for obj in walk.met)


def _has_no_state(obj: Any) -> bool:
    if getattr(type(obj), "__getstate__", None) is object.__getstate__:
        return False
    try:
        state = obj.__getstate__()
    except Exception:
        return True
    return type(state) is dict and any(name not in state for name, _ in attributes(obj))


def _is_stale(obj: Any) -> bool:
    base: Any = next((each for each in (dict, set, frozenset) if isinstance(obj, each)), None)
    if base is None:
        return False
    try:
        keys = list(base.__iter__(obj))
        # A frozenset that is a key remembers its own hash.
        return not all(base.__contains__(obj, key) for key in keys) or any(
            _is_stale(key) for key in keys if isinstance(key, frozenset)
        )
    except Exception:
        return True


class _Walk:
    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self.met: list[Any] = []  # also so that no id is used twice
        self._done = 0
        self._sets: list[tuple[int, Any]] = []

    def lines_of(self, root: Any) -> list[str]:
        self.text(root)
        return self.rest()

    def rest(self) -> list[str]:
        """Return the lines of all that was met, and of what these lead to."""
        lines: list[str] = []
        while True:
            while self._done < len(self.met):
                number, obj = self._done, self.met[self._done]
                self._done += 1
                lines.append(f"#{number} {type_name(obj)}({', '.join(self._parts(number, obj))})")
            if not self._sets:
                return lines
            # At the end: most of what is in them has a number then, whatever their order.
            number, items = self._sets.pop(0)
            lines.append(f"#{number} holds {{{', '.join(self._ordered(items))}}}")

    def _ordered(self, items: Any) -> list[str]:
        return [self.text(item) for item in sorted(items, key=self._label)]

    def _label(self, item: Any) -> str:
        number = self._numbers.get(id(item))
        if number is not None:
            return f"#{number:06}"
        if isinstance(item, tuple):
            return f"({', '.join(map(self._label, item))})"
        if isinstance(item, types.MethodType):
            return f"{self._label(item.__self__)}.{item.__name__}"
        if isinstance(item, types.FunctionType) and item.__closure__ is not None:
            return f"~function {item.__qualname__}"
        if isinstance(item, (*_ATOMS, *_NAMED)):
            return self.text(item)
        return f"~{type_name(item)} {getattr(item, 'name', '')!r:.40}"

    def text(self, value: Any) -> str:
        """Return what stands for `value` where it is referred to."""
        shown = self._value_text(value)
        if shown is not None:
            return shown
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.met)
            self.met.append(value)
        return f"#{number}"

    def _value_text(self, value: Any) -> str | None:
        """Return all of what has no identity that matters; None for what has one."""
        cls = type(value)
        shown: str | None = None
        if cls in _ATOMS or cls in _VALUES:
            shown = repr(value)
        elif isinstance(value, enum.Enum):
            shown = f"{cls.__qualname__}.{value.name}"
        elif isinstance(value, type) or (
            isinstance(value, types.FunctionType) and value.__closure__ is None
        ):
            shown = f"<{value.__qualname__}>"
        elif isinstance(value, types.ModuleType):
            shown = f"<module {value.__name__}>"
        elif cls is frozenset:
            shown = f"frozenset({', '.join(self._ordered(value))})"
        elif isinstance(value, tuple) and not getattr(value, "__dict__", None):
            name = "" if cls is tuple else cls.__qualname__
            shown = f"{name}({', '.join(map(self.text, value))})"
        elif cls in _METHODS:
            shown = f"{self.text(value.__self__)}.{value.__name__}"
        elif cls in _LOCKS:
            shown = "lock"
        elif isinstance(value, weakref.ref):
            shown = f"ref({self.text(value())})"
        return shown

    def _parts(self, number: int, obj: Any) -> Iterator[str]:
        text = self.text
        if isinstance(obj, (set, frozenset)):
            own_set: Any = set if isinstance(obj, set) else frozenset
            self._sets.append((number, list(own_set.__iter__(obj))))
        elif isinstance(obj, (list, collections.deque)):
            own: Any = list if isinstance(obj, list) else collections.deque
            yield from map(text, list(own.__iter__(obj)))
            if isinstance(obj, collections.deque) and obj.maxlen is not None:
                yield f"maxlen={obj.maxlen}"
        elif isinstance(obj, dict):
            ordered = isinstance(obj, collections.OrderedDict)
            items: Any = collections.OrderedDict if ordered else dict
            yield from (f"{text(key)}: {text(item)}" for key, item in items.items(obj))
            if isinstance(obj, collections.defaultdict):
                yield f"default_factory={text(obj.default_factory)}"
        elif isinstance(obj, (OOBTree, IOBTree)):
            yield from (f"{text(key)}: {text(item)}" for key, item in obj.items())
        elif isinstance(obj, OOTreeSet):
            yield from map(text, obj)
        else:
            yield from self._other_parts(obj)
        for name, item in attributes(obj):
            yield f"{name}={text(item)}"

    def _other_parts(self, obj: Any) -> Iterator[str]:
        text = self.text
        for base in _BARE:
            if isinstance(obj, base):
                whole: Any = obj
                shown = text(tuple(whole)) if base is tuple else base.__repr__(obj)
                yield shown.removeprefix(f"{type(obj).__name__}(")
                return
        if isinstance(obj, functools.partial):
            yield from (text(obj.func), text(obj.args), text(obj.keywords))
        elif isinstance(obj, types.FunctionType):
            yield from map(text, (obj.__qualname__, obj.__defaults__, obj.__closure__))
        elif isinstance(obj, types.CellType):
            yield text(obj.cell_contents)
        elif isinstance(obj, types.MappingProxyType):
            yield from map(text, gc.get_referents(obj))
        elif isinstance(obj, BaseException):
            yield from (text(obj.args), text(obj.__cause__), text(obj.__context__))
            yield f"suppress={obj.__suppress_context__}"
        elif isinstance(obj, random.Random):
            yield f"state {hash(obj.getstate())}"
        elif isinstance(obj, io.BytesIO | io.StringIO):
            yield f"{obj.getvalue()!r} at {obj.tell()}"
        elif isinstance(obj, array.array):
            yield f"{obj.typecode} {obj.tolist()}"
        elif isinstance(obj, _ITERATORS):
            yield from self._iterator_parts(obj.__reduce__())

    def _iterator_parts(self, reduced: Any) -> Iterator[str]:
        _make, args, *state = reduced
        if not isinstance(args[0], (list, tuple)):
            yield from map(self.text, args)
        elif not state or state[0] >= len(args[0]):
            yield "at its end"  # it may have let go of what it went through
        else:
            yield f"{self.text(args[0])} at {state[0]}"


def type_name(obj: Any) -> str:
    """Return the name of the class of `obj`; a tracked container's is that of the plain one."""
    name: str = type(obj).__qualname__
    return name.removeprefix("Tracked").lower() if isinstance(obj, Tracked) else name


def attributes(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of what is in the `__dict__` and the slots of `obj`.

    Without what isn't saved, by its name, and what is tapd's own.
    """
    names = getattr(obj, "__dict__", None)
    if isinstance(names, dict):
        for name, value in list(names.items()):
            if not (name in _UNSAVED or name.startswith(("_v_", "_p_"))):
                yield name, value
    for cls in type(obj).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in _UNSAVED or name.startswith(("_p_", "_v_")) or not hasattr(obj, name):
                continue
            yield name, getattr(obj, name)
