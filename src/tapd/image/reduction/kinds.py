"""Reads and sets the contents of subclasses of builtins, by the builtin's own methods.

A `Kind` says for one class written in C which arguments its ``__new__`` needs, what else an
instance holds, and how to set that. Overridden methods (``__setitem__``, ``items``,
``__iter__``, ``append``) and constructors of subclasses are never called: a dict that logs its
changes would log all its items again at each load.

The forms of contents are part of the format of TAPs.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tapd.errors import CannotKeep
from tapd.image.bare import DESCRIPTORS

_ALL = slice(None)
_OF_ITS_OWN = frozenset({
    "__class__", "__dict__", "__traceback__", "__cause__", "__context__",
})  # fmt: skip
_HAS_EX = "__reduce_ex__"


class Kind(NamedTuple):
    """One class written in C, and what its instances hold.

    Attributes:
        made_of: returns the arguments of ``__new__``; None if it needs none.
        contents: returns what else an instance holds; None if there is nothing.
        fill: replaces the contents of a new instance.
        is_value: instances are complete at creation and immutable.
    """

    made_of: Callable[[Any, Any], tuple[Any, ...]] | None = None
    contents: Callable[[Any, Any], Any] | None = None
    fill: Callable[[Any, Any, Any], None] | None = None
    is_value: bool = False


def _flat(pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
    """Return keys and values alternately: a dict would hash and compare the keys."""
    return list(itertools.chain.from_iterable(pairs))


def _pairs(flat: list[Any]) -> Iterable[tuple[Any, Any]]:
    each = iter(flat)
    return zip(each, each, strict=True)


def _fill_dict(_base: Any, obj: Any, contents: Any) -> None:
    dict.clear(obj)
    dict.update(obj, _pairs(contents))


def _fill_ordered_dict(base: Any, obj: Any, contents: Any) -> None:
    base.clear(obj)
    for key, value in _pairs(contents):
        base.__setitem__(obj, key, value)


def _fill_default_dict(base: Any, obj: Any, contents: Any) -> None:
    factory, items = contents
    base.default_factory.__set__(obj, factory)
    _fill_dict(base, obj, items)


def _fill_set(_base: Any, obj: Any, contents: Any) -> None:
    set.clear(obj)
    set.update(obj, contents)


def _fill_array(base: Any, obj: Any, contents: Any) -> None:
    module = sys.modules[base.__module__]
    typecode, form, data = contents
    base.extend(obj, module._array_reconstructor(base, typecode, form, data))  # noqa: SLF001 - what array itself pickles by


def _fill_by_init(base: Any, obj: Any, contents: Any) -> None:
    base.__init__(obj, *contents)


def _array_parts(base: Any, obj: Any) -> Any:
    typecode = base.typecode.__get__(obj)
    form = base(typecode).__reduce_ex__(5)[1][2]
    return typecode, form, base.tobytes(obj)


def _by_reduce(base: Any, obj: Any) -> tuple[Any, ...]:
    reduced = base.__reduce_ex__(obj, 5) if _HAS_EX in base.__dict__ else base.__reduce__(obj)
    return reduced[1]  # type: ignore[no-any-return]  # by pickle's protocol


def _partial_parts(base: Any, obj: Any) -> Any:
    return base.func.__get__(obj), base.args.__get__(obj), base.keywords.__get__(obj)


def _fill_state(base: Any, obj: Any, contents: Any) -> None:
    base.__setstate__(obj, (*contents, None))


def _property_parts(_base: Any, obj: Any) -> Any:
    names = ("fget", "fset", "fdel", "__doc__")
    return tuple(property.__dict__[name].__get__(obj) for name in names)


def _method_parts(base: Any, obj: Any) -> Any:
    return (base.__func__.__get__(obj),)


def _stream_parts(base: Any, obj: Any) -> Any:
    return base.__getstate__(obj)[:-1]  # but for its attributes


def _fill_by_setstate(base: Any, obj: Any, contents: Any) -> None:
    base.setstate(obj, contents)


def _path_parts(base: Any, obj: Any) -> Any:
    for each in base.__mro__:
        given: Any = each.__dict__.get("_raw_paths")  # Python 3.12 and later
        if type(given) is types.MemberDescriptorType:
            return tuple(map(str, given.__get__(obj)))
    return (base.__str__(obj),)


def _fill_path(base: Any, obj: Any, contents: Any) -> None:
    if base.__init__ is not object.__init__:  # Python 3.12 and later
        base.__init__(obj, *contents)


class DeadReferent:
    """A referent that is freed at once, to create a dead weak reference."""


def _reference_parts(base: Any, obj: Any) -> tuple[Any, ...]:
    referent = base.__call__(obj)
    if referent is None:
        return (DeadReferent(),)
    callback = base.__callback__.__get__(obj)
    return (referent,) if callback is None else (referent, callback)


def _no_items(base: Any, obj: Any) -> Any:
    if base.qsize(obj):
        raise CannotKeep("a SimpleQueue that holds items can't be looked into; use queue.Queue")


# --- exceptions -------------------------------------------------------------------


def _members(base: Any) -> dict[str, Any]:
    """Return the C members of an exception class besides attributes, by name."""
    return {
        name: descriptor
        for each in reversed(base.__mro__)
        for name, descriptor in each.__dict__.items()
        if type(descriptor) in DESCRIPTORS and name not in _OF_ITS_OWN
    }


def _exception_parts(base: Any, obj: Any) -> dict[str, Any]:
    """Return args, members and causes of `obj`. The traceback belongs to the process."""
    parts = {}
    for name, descriptor in _members(base).items():
        try:
            value = descriptor.__get__(obj)
        except AttributeError:  # not set
            continue
        if value is not None and value is not False:
            parts[name] = value
    for name in ("__context__", "__cause__"):
        value = BaseException.__dict__[name].__get__(obj)
        if value is not None:
            parts[name] = value
    parts.pop("__suppress_context__", None)
    if BaseException.__dict__["__suppress_context__"].__get__(obj):
        parts["__suppress_context__"] = True  # last: setting a cause changes it
    return parts


def _fill_exception(base: Any, obj: Any, contents: Any) -> None:
    members = _members(base)
    for name, value in contents.items():
        descriptor: Any = members.get(name) or BaseException.__dict__.get(name)
        try:
            descriptor.__set__(obj, value)
        except (AttributeError, TypeError):  # read-only in a group; or the cause is a placeholder
            continue


def _group_parts(_base: Any, obj: Any) -> tuple[Any, ...]:
    members = BaseExceptionGroup.__dict__
    return members["message"].__get__(obj), list(members["exceptions"].__get__(obj))


_EXCEPTION = Kind(contents=_exception_parts, fill=_fill_exception)
_GROUP = Kind(_group_parts, _exception_parts, _fill_exception)
_PLAIN = Kind()
_STREAM = Kind(None, _stream_parts, _fill_state)
_METHOD = Kind(None, _method_parts, _fill_by_init)
_DATE = Kind(_by_reduce, is_value=True)
_PATH = Kind(_path_parts, _path_parts, _fill_path, is_value=True)

_KINDS: dict[str, Kind] = {
    "builtins:object": _PLAIN,
    "builtins:list": Kind(
        None, lambda _base, obj: list.copy(obj),
        lambda _base, obj, contents: list.__setitem__(obj, _ALL, contents),
    ),
    "builtins:dict": Kind(None, lambda _base, obj: _flat(dict.items(obj)), _fill_dict),
    "builtins:set": Kind(None, lambda _base, obj: [*set.__iter__(obj)], _fill_set),
    "builtins:bytearray": Kind(
        None, lambda _base, obj: (bytes(bytearray.__getitem__(obj, _ALL)),), _fill_by_init,
    ),
    "builtins:int": Kind(lambda _base, obj: (int.__int__(obj),), is_value=True),
    "builtins:float": Kind(lambda _base, obj: (float.__float__(obj),), is_value=True),
    "builtins:complex": Kind(lambda _base, obj: (complex.__complex__(obj),), is_value=True),
    "builtins:str": Kind(lambda _base, obj: (str.__str__(obj),), is_value=True),
    "builtins:bytes": Kind(lambda _base, obj: (bytes.__getitem__(obj, _ALL),), is_value=True),
    "builtins:tuple": Kind(lambda _base, obj: (tuple.__getitem__(obj, _ALL),), is_value=True),
    "builtins:frozenset": Kind(
        lambda _base, obj: ([*frozenset.__iter__(obj)],), is_value=True,
    ),
    "builtins:property": Kind(None, _property_parts, _fill_by_init),
    "builtins:staticmethod": _METHOD,
    "builtins:classmethod": _METHOD,
    "collections:OrderedDict": Kind(
        None, lambda base, obj: _flat(base.items(obj)), _fill_ordered_dict,
    ),
    "collections:defaultdict": Kind(
        None, lambda base, obj: (base.default_factory.__get__(obj), _flat(dict.items(obj))),
        _fill_default_dict,
    ),
    "collections:deque": Kind(
        None, lambda base, obj: ([*base.__iter__(obj)], base.maxlen.__get__(obj)), _fill_by_init,
    ),
    "array:array": Kind(
        lambda base, obj: (base.typecode.__get__(obj),), _array_parts, _fill_array,
    ),
    "datetime:datetime": _DATE,
    "datetime:date": _DATE,
    "datetime:time": _DATE,
    "datetime:timedelta": _DATE,
    "datetime:tzinfo": _PLAIN,
    "decimal:Decimal": _DATE,
    "functools:partial": Kind(lambda _base, _obj: (callable,), _partial_parts, _fill_state),
    "types:SimpleNamespace": _PLAIN,
    "_io:BytesIO": _STREAM,
    "_io:StringIO": _STREAM,
    "_random:Random": Kind(None, lambda base, obj: base.getstate(obj), _fill_by_setstate),
    "_queue:SimpleQueue": Kind(None, _no_items, None),
    "_struct:Struct": Kind(
        lambda base, obj: (base.format.__get__(obj),),
        lambda base, obj: (base.format.__get__(obj),), _fill_by_init,
    ),
    "weakref:ReferenceType": Kind(_reference_parts, is_value=True),
}  # fmt: skip


_PATHS = frozenset(
    {"PurePath", "Path", "PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath"}
)


def is_path(cls: type) -> bool:
    """Whether `cls` is a class of `pathlib`, whose slots differ between Python versions."""
    return cls.__qualname__ in _PATHS and cls.__module__ in ("pathlib", "pathlib._local")


def kind_of(base: type) -> Kind | None:
    """Return the kind of instances of `base`; None if it is unknown."""
    if is_path(base):
        return _PATH
    if issubclass(base, BaseException):
        return _GROUP if issubclass(base, BaseExceptionGroup) else _EXCEPTION
    return _KINDS.get(f"{base.__module__}:{base.__qualname__}")
