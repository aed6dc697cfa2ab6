"""Functions and classes that no module holds: taken apart, and made again at load.

Imports `errors`, `model` and this room's `source`, `names` and `evolution`. A
function typed at a prompt becomes its source text, its place in it, the
`Namespace` that is its globals, its cells (shared ones stay shared), defaults
and attributes. A closure that a library's decorator made (say, of
`contextlib.contextmanager`) becomes the name of that library's function and the
cells. A class becomes its metaclass, bases and attributes (`image.classes`).

Each definition gets a random key when it is first saved, by which a journal's
states, saved one by one, find the same definition again (`Restoration`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

from tapd.errors import CannotKeep
from tapd.image.collecting import begin_collecting, end_collecting
from tapd.image.evolution import Restoration
from tapd.image.source import Source, code_at, place_of, source_of
from tapd.model.namespace import Namespace, namespace_of

_keys: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()
_places: dict[int, tuple[Any, ...]] = {}
"""By id of the code, while it lives: code objects of different texts may be equal."""

_restorations: list[Restoration] = []
"""The restorings that run now, innermost last: plain `pickle.loads` has none."""


def key_of(definition: Any) -> bytes:
    """Return the key of a function or class that is saved by its parts."""
    key = _keys.get(definition)
    if key is None:
        key = _keys[definition] = os.urandom(12)
    return key


def known_definition(key: bytes) -> Any:
    """Return the definition of `key` that this restoring has made, or None."""
    return _restorations[-1].definitions.get(key) if _restorations else None


def remember_definition(key: bytes, definition: Any) -> None:
    """Have later states of this restoring find `definition`."""
    _keys[definition] = key
    if _restorations:
        _restorations[-1].definitions[key] = definition


def current_restoration() -> Restoration | None:
    """Return the restoring that runs now; plain `pickle.loads` has none."""
    return _restorations[-1] if _restorations else None


class restoring:  # noqa: N801 - a context manager, used like a function
    """Makes a `Restoration` the current one while a graph or a state loads."""

    def __init__(self, restoration: Restoration) -> None:
        self._restoration = restoration

    def __enter__(self) -> None:
        _restorations.append(self._restoration)
        begin_collecting(self._restoration.stand_ins)

    def __exit__(self, *_error: object) -> None:
        end_collecting()
        _restorations.pop()


# --- taken apart -------------------------------------------------------------


class EmptyCell:
    """Stands for the contents of a cell that has none yet."""

    def __reduce__(self) -> str:
        return "EMPTY_CELL"


EMPTY_CELL = EmptyCell()


def cell_contents(cell: types.CellType) -> Any:
    """Return what `cell` holds, or `EMPTY_CELL`."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY_CELL


def new_cell() -> types.CellType:
    """Return an empty cell. Part of the format."""
    return types.CellType()


def set_cell(cell: types.CellType, contents: Any) -> None:
    """Fill a cell. Part of the format."""
    if contents is not EMPTY_CELL:
        cell.cell_contents = contents


def place_of_code(code: types.CodeType) -> tuple[Any, ...] | None:
    """Return the source and place of typed `code`, or None where it was not typed."""
    place = _places.get(id(code))
    if place is None:
        source = source_of(code)
        if source is None:
            return None
        try:
            place = _places[id(code)] = (source, *place_of(code, source))
        except LookupError as error:
            raise CannotKeep(str(error)) from None
        weakref.finalize(code, _places.pop, id(code), None).atexit = False
    return place


def split_function(function: types.FunctionType) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the arguments of `make_function` and of `set_function` for `function`.

    Raises:
        CannotKeep: its source text is not known, or its globals can't be kept.
    """
    code = function.__code__
    place = place_of_code(code)
    home: Any = namespace_of(function.__globals__)
    if place is None:
        place = (None, *_place_in_library(function))
        home = None
    elif home is None:
        home = _module_of_globals(function.__globals__)
    cells = function.__closure__ or ()
    made = (key_of(function), place, home, code.co_freevars, cells)
    attributes = dict(function.__dict__)
    extra = {
        name: value
        for name, value in (
            ("__name__", function.__name__),
            ("__qualname__", function.__qualname__),
            ("__doc__", function.__doc__),
            ("__module__", function.__module__),
            ("__annotations__", function.__annotations__),
            ("__type_params__", getattr(function, "__type_params__", ())),
        )
        if value != _usual(name, code)
    }
    contents = (code.co_freevars, tuple(map(cell_contents, cells)))
    return made, (function.__defaults__, function.__kwdefaults__, attributes, contents, extra)


def _usual(name: str, code: types.CodeType) -> Any:
    """Return what a fresh function of `code` has in attribute `name`."""
    match name:
        case "__name__":
            return code.co_name
        case "__qualname__":
            return code.co_qualname
        case "__annotations__":
            return {}
        case "__type_params__":
            return ()
    return None


def _module_of_globals(names: dict[str, Any]) -> str:
    name = names.get("__name__")
    if type(name) is str and name != "__main__":
        module = sys.modules.get(name)
        if module is not None and getattr(module, "__dict__", None) is names:
            return name
    raise CannotKeep("its global variables are not a namespace of this application")


def _place_in_library(function: types.FunctionType) -> tuple[str, str]:
    """Return module and qualified name of the code of a closure that a library made."""
    code = function.__code__
    name = function.__globals__.get("__name__")
    module = sys.modules.get(name) if type(name) is str else None
    if name == "__main__":
        raise CannotKeep("it is defined in __main__, which is another script next time")
    if module is None or getattr(module, "__spec__", None) is None:
        raise CannotKeep("its source text is not known")
    qualname = code.co_qualname
    if "<locals>" not in qualname or library_code(module, qualname) is not code:
        raise CannotKeep(
            f"it is not found as {name}:{function.__qualname__}; write a method, or a function at "
            "the top of a module"
        )
    return str(name), qualname


def library_code(module: Any, qualname: str) -> types.CodeType | None:
    """Return the code of ``outer.<locals>.inner`` in `module`, where it is told by name."""
    outer_name, *inner_names = qualname.split(".<locals>.")
    try:
        outer: Any = functools.reduce(getattr, outer_name.split("."), module)
        code: Any = inspect.unwrap(outer).__code__
    except Exception:
        return None
    for inner_name in (name for part in inner_names for name in part.split(".")):
        same = [
            constant
            for constant in code.co_consts
            if type(constant) is types.CodeType and constant.co_name == inner_name
        ]
        if len(same) != 1:
            return None
        code = same[0]
    return code  # type: ignore[no-any-return]  # a code object, by the walk above


# --- made again: part of the format ------------------------------------------


def make_source(filename: str, text: str, symbol: str, flags: int) -> Source:
    """Return a typed text, which is registered when its code is first needed."""
    return Source(filename, text, symbol, flags)


def make_function(
    key: bytes,
    place: tuple[Any, ...],
    home: Any,
    cell_names: tuple[str, ...],
    cells: tuple[types.CellType, ...],
) -> Any:
    """Return a function whose code is at `place`, with globals of `home`, without its state."""
    if isinstance(home, Namespace):
        if "_v_names" not in home.__dict__:
            home.__setstate__({})  # its names come later, into this very dict
        names = home.names
    else:
        names = importlib.import_module(home or place[1]).__dict__
    known = known_definition(key)
    if known is not None and known.__globals__ is names:
        return known
    if place[0] is None:
        code = library_code(sys.modules[place[1]], place[2])
        if code is None:
            raise LookupError(f"{place[1]} has no {place[2]} any more")
    else:
        code = code_at(*place)
    by_name = dict(zip(cell_names, cells, strict=True))
    closure = tuple(by_name.get(name) or types.CellType() for name in code.co_freevars)
    function = types.FunctionType(code, names, closure=closure)
    remember_definition(key, function)
    return function


def set_function(function: Any, state: tuple[Any, ...]) -> None:
    """Give a function its defaults, attributes and the contents of its cells."""
    defaults, kwdefaults, attributes, contents, extra = state
    function.__defaults__ = defaults
    function.__kwdefaults__ = kwdefaults
    function.__dict__.clear()
    function.__dict__.update(attributes)
    for name, value in extra.items():
        setattr(function, name, value)
    names, values = contents
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for name, value in zip(names, values, strict=True):
        if name in cells:
            set_cell(cells[name], value)


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a function holds, with its label in a path."""
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
        yield f".<cell {name}>", cell_contents(cell)
    for index, default in enumerate(value.__defaults__ or ()):
        yield f".__defaults__[{index}]", default
    for name, default in (value.__kwdefaults__ or {}).items():
        yield f".__kwdefaults__[{name!r}]", default
    for name, item in value.__dict__.items():
        yield f".{name}", item
