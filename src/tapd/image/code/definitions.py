"""Functions and classes that no module holds: taken apart, and made again at load.

Imports `errors`, `model` and this room's `source`, `names` and `evolution`. A
function typed at a prompt becomes its source text, its place in it, the
`Namespace` that is its globals, its cells (shared ones stay shared), defaults
and attributes. A closure that a library's decorator made (say, of
`contextlib.contextmanager`) becomes the name of that library's function and the
cells. One that `dataclasses` or `collections.namedtuple` wrote becomes the place in
what these would write again (`image.code.rewritten`). A class becomes its metaclass,
bases and attributes (`image.code.classes`).

Each definition gets a random key when it is first saved, by which a journal's
states, saved one by one, find the same definition again (`Restoration`). So does
each cell: it is shared with functions that are saved by another record.
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
from tapd.image.code import rewritten
from tapd.image.code.executed import builtins_for
from tapd.image.code.source import Source, code_at, place_of, source_of
from tapd.image.evolution.collecting import begin_collecting, end_collecting
from tapd.image.evolution.versions import Restoration
from tapd.model.durable.namespace import Namespace, main_names, namespace_of

_keys: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()
_places: dict[int, tuple[Any, ...]] = {}
"""By id of the code, while it lives: code objects of different texts may be equal."""

_with_cells: weakref.WeakSet[Any] = weakref.WeakSet()
_cell_keys: dict[int, list[Any]] = {}
"""Of each cell, by id: its key, and how many functions hold it. A cell takes no weak reference."""

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


def new_cell(key: bytes | None = None) -> types.CellType:
    """Return an empty cell, or that of the key, which this restoring has made.

    Part of the format.
    """
    if key is None or not _restorations:  # a TAP of 0.1.0, or plain `pickle.loads`
        return types.CellType()
    restoration = _restorations[-1]
    cell: types.CellType | None = restoration.definitions.get(key)
    if cell is None:
        cell = restoration.definitions[key] = types.CellType()
        restoration.cell_keys[id(cell)] = key
    return cell


def key_of_cell(cell: types.CellType) -> tuple[bytes] | tuple[()]:
    """Return the argument of `new_cell` for `cell`, if a function that was saved has it."""
    known = _cell_keys.get(id(cell))
    return (known[0],) if known is not None else ()


def _note_cells(function: types.FunctionType) -> None:
    """Give the cells of `function` keys, for as long as it lives: an id is good until then."""
    if function in _with_cells or not function.__closure__:
        return
    _with_cells.add(function)
    made = _restorations[-1].cell_keys if _restorations else {}
    ids = tuple(map(id, function.__closure__))
    for each in ids:
        known = _cell_keys.get(each)
        if known is None:
            known = _cell_keys[each] = [made.get(each) or os.urandom(12), 0]
        known[1] += 1
    weakref.finalize(function, _forget_cells, ids).atexit = False


def _forget_cells(ids: tuple[int, ...]) -> None:
    for each in ids:
        known = _cell_keys[each]
        known[1] -= 1
        if not known[1]:
            del _cell_keys[each]


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
    if place is not None:
        home = home or _home_of(function.__globals__)
    else:
        way = rewritten.way_of(function)
        if way is not None:
            place = (None, *way)
            home = home or _module_of(function.__globals__)
        else:
            place = (None, *_place_in_library(function))
            home = None
    cells = function.__closure__ or ()
    _note_cells(function)
    made = (key_of(function), place, home, code.co_freevars, cells)
    attributes = dict(function.__dict__)
    extra = {
        name: value
        for name, value in (
            ("__name__", function.__name__),
            ("__qualname__", function.__qualname__),
            ("__doc__", function.__doc__),
            ("__module__", function.__module__),
            ("__annotations__", _annotations_of(function)),
            ("__type_params__", getattr(function, "__type_params__", ())),
        )
        if value is not None and value != _usual(name, code)
    }
    contents = (code.co_freevars, tuple(map(cell_contents, cells)))
    return made, (function.__defaults__, function.__kwdefaults__, attributes, contents, extra)


def _annotations_of(function: types.FunctionType) -> dict[str, Any] | None:
    """Return the very dict, which `functools.wraps` shares; None where it can't be made (3.14)."""
    try:
        return function.__annotations__
    except Exception:
        return None


def _usual(name: str, code: types.CodeType) -> Any:
    """Return what a fresh function of `code` has in attribute `name`."""
    match name:
        case "__name__":
            return code.co_name
        case "__qualname__":
            return code.co_qualname
        case "__type_params__":
            return ()
    return None


def _module_of(names: dict[str, Any]) -> str | None:
    """Return the name of the module that has these global variables, if it can be imported."""
    name = names.get("__name__")
    if type(name) is str and name != "__main__":
        module = sys.modules.get(name)
        if module is not None and getattr(module, "__dict__", None) is names:
            return name
    return None


def _home_of(names: dict[str, Any]) -> Any:
    """Return what stands for the global variables of a typed function that no namespace has.

    That is a module's name, or the dict that typed code gave to `exec`.
    """
    home = _module_of(names)
    if home is not None:
        return home
    is_of_module = names is main_names() or any(
        getattr(module, "__dict__", None) is names for module in list(sys.modules.values())
    )
    if is_of_module or type(names) is not dict:
        raise CannotKeep("its global variables are not a namespace of this application")
    return names


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
    by_name = dict(zip(cell_names, cells, strict=True))
    twin = None
    if place[0] is None and type(place[1]) is tuple:
        twin = rewritten.function_at(*place[1:])
        _complete_cells(by_name, twin)
    names = _names_of_home(home, place, twin)
    known = known_definition(key)
    if known is not None and known.__globals__ is names:
        return known
    code = _code_at_place(place) if twin is None else twin.__code__
    closure = tuple(by_name.get(name) or types.CellType() for name in code.co_freevars)
    with builtins_for(code, names):
        function = types.FunctionType(code, names, closure=closure or None)
    remember_definition(key, function)
    if twin is not None:
        rewritten.remember_way(function, *place[1:])
    _note_cells(function)
    return function


def _complete_cells(by_name: dict[str, types.CellType], twin: Any) -> None:
    """Add to the cells of a generated function those that it has in this Python.

    Raises:
        LookupError: one is not known.
    """
    saved = {rewritten.usual_name(name): cell for name, cell in by_name.items()}
    for name, cell in zip(twin.__code__.co_freevars, twin.__closure__ or (), strict=True):
        usual = rewritten.usual_name(name)
        if usual not in saved and rewritten.is_of_class(usual):
            raise LookupError(f"{twin.__qualname__} asks for {name}, which was not saved")
        by_name[name] = saved.get(usual) or types.CellType(cell_contents(cell))


def _names_of_home(home: Any, place: tuple[Any, ...], twin: Any) -> dict[str, Any]:
    """Return the global variables that stand in a pickle as `home`."""
    if isinstance(home, Namespace):
        if "_v_names" not in home.__dict__:
            home.__setstate__({})  # its names come later, into this very dict
        return home.names
    if type(home) is dict:
        return home
    if twin is not None and (home is None or not rewritten.is_of_twin(twin)):
        return twin.__globals__  # type: ignore[no-any-return]  # a dict: a function's globals
    return importlib.import_module(home or place[1]).__dict__


def _code_at_place(place: tuple[Any, ...]) -> types.CodeType:
    """Return the code of a text, or of a closure that a library makes.

    Raises:
        LookupError: there is none.
    """
    if place[0] is not None:
        return code_at(*place)
    found = library_code(sys.modules[place[1]], place[2])
    if found is None:
        raise LookupError(f"{place[1]} has no {place[2]} any more")
    return found


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
    usual = {rewritten.usual_name(name): cell for name, cell in cells.items()}
    for name, value in zip(names, values, strict=True):
        cell = cells.get(name) or usual.get(rewritten.usual_name(name))
        if cell is not None:
            set_cell(cell, value)


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
