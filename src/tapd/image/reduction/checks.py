"""Checks at save that a reduction can restore the object.

* A reduction that no load could use is refused (`check_shape`, `check_made`): a malformed
  tuple, an object built from itself, a constructor that does not accept the arguments.
  No code is run for this.
* For classes reduced by C code or by the standard library, one instance of each shape is
  restored in memory and compared (`difference`): type, attributes, slots. A ``__reduce__``
  that does not know its subclass would lose attributes.

An author's code is never run here: a constructor may count its instances, and a
``__setstate__`` may open a file. Mistakes in it are found by the audit after a checkpoint, in a
process of its own. Durable objects are not checked: they are created bare, and their states are
saved separately.
"""

from __future__ import annotations

import copyreg
import gc
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.bare import dict_of_class
from tapd.image.evolution import names
from tapd.image.reduction import rebuild
from tapd.image.reduction.instances import attributes_getter, filled_slots, is_foundation, slots_of

_NEWOBJ: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # private to its types
_SIZE_MAX = 2000
_VARARGS, _VARKEYWORDS = 4, 8
ITEMS_MAX = 20_000_000


def check_shape(obj: Any, reduced: Any) -> None:
    """Check that `reduced` is a valid reduction for pickle.

    Raises:
        CannotKeep: it is not.
    """
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
        raise CannotKeep("its __reduce_ex__ does not return a tuple as pickle asks for")
    make, args = reduced[:2]
    if type(args) is not tuple or not callable(make):
        raise CannotKeep("its __reduce_ex__ does not return a callable and its arguments")
    for items in reduced[3:5]:
        if items is not None and not hasattr(type(items), "__next__"):
            raise CannotKeep("its __reduce_ex__ gives items that are no iterator")
    if any(part is obj for part in args):
        raise CannotKeep("its __reduce_ex__ makes it from itself")


def leads_to(obj: Any, parts: Iterable[Any]) -> bool:
    """Whether `obj` is among `parts` or inside of them, judged by a bounded search."""
    queue = [part for part in parts if gc.is_tracked(part)]
    seen = set(map(id, queue))
    for part in queue:  # grows meanwhile
        if part is obj:
            return True
        if len(queue) > _LOOKED_AT_MAX or isinstance(part, _DEFINITIONS):
            continue
        for inner in gc.get_referents(part):
            if gc.is_tracked(inner) and id(inner) not in seen:
                seen.add(id(inner))
                queue.append(inner)
    return False


_LOOKED_AT_MAX = 1000
_DEFINITIONS = (type, types.ModuleType, types.FunctionType)


def taken_items(items: Any, *, in_pairs: bool) -> Any:
    """Exhaust an author's iterator, and return an iterator over its items.

    Raises:
        CannotKeep: it does not end, or it should yield pairs and does not.
    """
    taken = []
    for item in items:
        taken.append(item)
        if len(taken) > ITEMS_MAX:
            raise CannotKeep(f"its __reduce_ex__ gives more than {ITEMS_MAX:,} items: endless?")
        if in_pairs and (type(item) is not tuple or len(item) != 2):
            raise CannotKeep("its __reduce_ex__ gives entries that are no pairs")
    return iter(taken)


def check_made(make: Any, args: tuple[Any, ...]) -> None:
    """Check that `make` accepts this number of arguments, as far as its code tells.

    Raises:
        CannotKeep: every load would fail.
    """
    if make is _NEWOBJ:
        if len(args) > 1 and _is_made_of_nothing(args[0]):
            raise CannotKeep(f"{args[0].__qualname__}.__new__ takes no arguments")
        if args and not _takes(args[0].__new__, len(args)):
            raise CannotKeep(f"{args[0].__qualname__}.__new__ takes other arguments")
    elif type(make) is types.FunctionType:
        if not _takes(make, len(args)):
            raise CannotKeep(f"{make.__qualname__}, which makes it, takes other arguments")
    elif type(make).__call__ is type.__call__:
        if args and _is_made_of_nothing(make):
            raise CannotKeep(f"{make.__qualname__} takes no arguments")
        for name in ("__new__", "__init__"):
            if not _takes(getattr(make, name), len(args) + 1):
                raise CannotKeep(
                    f"{make.__qualname__}.{name} takes other arguments than its __reduce_ex__ gives"
                )


def _is_made_of_nothing(cls: Any) -> bool:
    return cls.__new__ is object.__new__ and cls.__init__ is object.__init__


def _takes(function: Any, count: int) -> bool:
    """Whether a Python function accepts `count` positional arguments; True if unknown."""
    if type(function) is not types.FunctionType or hasattr(function, "__wrapped__"):
        return True
    code = function.__code__
    if any(
        name not in (function.__kwdefaults__ or ())
        for name in code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    ):
        return False
    least = code.co_argcount - len(function.__defaults__ or ())
    return least <= count and (count <= code.co_argcount or bool(code.co_flags & _VARARGS))


# --- restoring and comparing -------------------------------------------------------


def is_of_library(thing: Any) -> bool:
    """Whether a class or function is written in C or belongs to the standard library."""
    cls = type(thing)
    if cls is not types.FunctionType and not issubclass(cls, type):
        return cls not in (types.MethodType, types.CodeType)
    if issubclass(cls, type) and is_foundation(thing):
        return True
    module = thing.__module__
    return type(module) is str and module.partition(".")[0] in sys.stdlib_module_names


def says_library(cls: type, hooks: Iterable[str]) -> bool:
    """Whether only classes of the standard library define `hooks` for `cls`."""
    return all(
        is_of_library(base) or dict_of_class(base).keys().isdisjoint(hooks) for base in cls.__mro__
    )


def runs_nothing(cls: Any, reduced: tuple[Any, ...]) -> bool:
    """Whether restoring `reduced` runs only C code and the standard library."""
    make, args = reduced[:2]
    makers = {make, cls, args[0] if make in _MAKERS_OF_FIRST and args else cls}
    return all(
        is_of_library(each) if not issubclass(type(each), type) else says_library(each, _RUN)
        for each in makers
    ) and all(type(part) not in _CALLABLES for part in args)


_CALLABLES = (types.FunctionType, types.MethodType)
_MAKERS_OF_FIRST = (_NEWOBJ, names.new_object, names.value_object)
_RUN = (
    "__new__", "__init__", "__setstate__", "__setattr__", "__setitem__", "append", "extend",
    "add", "update", "__getattr__", "__getattribute__", "__del__", "__hash__", "__eq__",
)  # fmt: skip


def is_small(reduced: tuple[Any, ...]) -> bool:
    """Whether restoring it is cheap."""
    sized = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
    return all(
        len(part) <= _SIZE_MAX for part in (*reduced[1], *reduced[2:3]) if type(part) in sized
    )


def difference(obj: Any, reduced: tuple[Any, ...]) -> str | None:
    """Return the attributes of `obj` that `reduced` loses, in words; None if there are none.

    Args:
        obj: a plain object.
        reduced: its reduction; its iterators are not consumed.

    Raises:
        CannotKeep: it restores another kind of object.
    """
    make, args, state, items, entries, setter = (*reduced, None, None, None, None)[:6]
    if items is not None or entries is not None:
        return None  # consuming its iterators would lose them; the base class handles these
    made = make(*args)
    if made is obj:
        return None
    if type(made) is not type(obj):
        raise CannotKeep(f"it would come back as a {type(made).__qualname__}")
    if state is not None:
        (setter or _build)(made, state)
    lost = [*_differing(obj, made)]
    if lost:
        return f"its own __reduce__ knows nothing of {', '.join(lost[:5])}"
    return None


def _build(obj: Any, state: Any) -> None:
    rebuild.set_reduced(obj, state)


def _differing(obj: Any, made: Any) -> list[str]:
    """Return the names of attributes and slots of `obj` that `made` lacks."""
    cls = type(obj)
    get: Callable[[Any], dict[str, Any]] | None = attributes_getter(cls)
    slots = slots_of(cls)
    lost = set()
    if get is not None:
        has = get(made).keys()
        lost = {name for name in get(obj) if name not in has}
    lost |= filled_slots(obj, slots).keys() - filled_slots(made, slots).keys()
    return sorted(map(str, lost))
