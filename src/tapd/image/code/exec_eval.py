"""Versions of `exec`, `eval` and `compile` for typed code that register the source text.

A function is saved as its text, but Python drops the text of ``exec("def f(): ...")``. So typed
code that mentions one of the three gets builtins with the versions of this module. They do what
Python's do, and register the text. All other code, and every module, uses Python's own.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import sys
import types
from typing import Any

from tapd.image.code.source import FUTURE_MASK, Source, adopt_code, register_source, unused_filename

_NAMES = frozenset({"exec", "eval", "compile"})
_STEM = "string"


class Builtins(dict[str, Any]):
    """Python's builtins with three replacements; changes to Python's own show through."""

    def __missing__(self, name: str) -> Any:
        return vars(builtins)[name]

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        return getattr(builtins, name)

    def __reduce__(self) -> str:
        return "TYPED_BUILTINS"


def _source_text(source: Any) -> str | None:
    """Return `source` as text; None if it is code or a syntax tree."""
    if isinstance(source, str):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return importlib.util.decode_source(bytes(source))
    return None


def _compile(text: str, filename: str, mode: str, flags: int, optimize: int = -1) -> Any:
    """Compile `text`, and register it if it defines a function."""
    code: Any = builtins.compile(text, filename, mode, flags, dont_inherit=True, optimize=optimize)
    if type(code) is not types.CodeType or types.CodeType not in map(type, code.co_consts):
        return code
    source = register_source(Source(filename, text, mode, code.co_flags & FUTURE_MASK))
    if source.filename != filename:
        code = builtins.compile(
            text, source.filename, mode, flags, dont_inherit=True, optimize=optimize
        )
    adopt_code(code)
    return code


def _run(
    run: Any, mode: str, source: Any, names: Any, local_names: Any, more: dict[str, Any]
) -> Any:
    frame = sys._getframe(2)
    if names is None:
        names = frame.f_globals
        if local_names is None:
            local_names = frame.f_locals
            if frame.f_code.co_flags & inspect.CO_OPTIMIZED and sys.version_info >= (3, 13):
                local_names = dict(local_names)  # a copy: assignments have no effect
    elif local_names is None:
        local_names = names
    text = _source_text(source)
    if text is not None:
        text = text.lstrip(" \t") if mode == "eval" else text
        source = _compile(text, unused_filename(_STEM), mode, frame.f_code.co_flags & FUTURE_MASK)
    code = source if type(source) is types.CodeType else None
    if type(names) is dict and "__builtins__" not in names:
        names["__builtins__"] = builtins
    with builtins_for(code, names):
        return run(source, names, local_names, **more)


def _exec(source: Any, /, globals: Any = None, locals: Any = None, **more: Any) -> None:  # noqa: A002
    """Execute the given source in the context of globals and locals."""
    _run(builtins.exec, "exec", source, globals, locals, more)


def _eval(source: Any, /, globals: Any = None, locals: Any = None) -> Any:  # noqa: A002
    """Evaluate the given source in the context of globals and locals."""
    return _run(builtins.eval, "eval", source, globals, locals, {})


def _recompile(
    source: Any,
    filename: Any,
    mode: str,
    flags: int = 0,
    dont_inherit: bool = False,
    optimize: int = -1,
    **more: Any,
) -> Any:
    """Compile source into a code object that can be executed by exec() or eval()."""
    if not dont_inherit:
        flags |= sys._getframe(1).f_code.co_flags & FUTURE_MASK
    if type(filename) is str and not more and not flags & ast.PyCF_ONLY_AST:
        text = _source_text(source)
        if text is not None and not flags & ~FUTURE_MASK:
            return _compile(text, filename, mode, flags, optimize)
    return builtins.compile(
        source, filename, mode, flags, dont_inherit=True, optimize=optimize, **more
    )


for _name, _function in (("exec", _exec), ("eval", _eval), ("compile", _recompile)):
    _function.__name__ = _function.__qualname__ = _name

TYPED_BUILTINS = Builtins(
    exec=_exec,
    eval=_eval,
    compile=_recompile,
    # The interpreter looks these up without calling `__missing__`.
    __import__=builtins.__import__,
    __build_class__=builtins.__build_class__,
)


def mentions(code: types.CodeType | None) -> bool:
    """Whether `code`, or a function in it, names one of the three."""
    if code is None:
        return False
    return not _NAMES.isdisjoint(code.co_names) or any(
        mentions(each) for each in code.co_consts if type(each) is types.CodeType
    )


class builtins_for:  # noqa: N801 - a context manager, used like a function
    """Installs the builtins that `code` needs in global variables, while it starts."""

    def __init__(self, code: types.CodeType | None, names: Any) -> None:
        self._names = names if type(names) is dict and mentions(code) else None
        self._before: Any = None

    def __enter__(self) -> None:
        if self._names is not None:
            self._before = self._names.get("__builtins__")
            if self._before is builtins:
                self._names["__builtins__"] = TYPED_BUILTINS

    def __exit__(self, *_error: object) -> None:
        if self._names is not None and self._before is builtins:
            self._names["__builtins__"] = builtins


def offer_builtins(code: types.CodeType, names: dict[str, Any]) -> None:
    """Install the builtins that `code` needs in `names`, where it is about to run."""
    now = names.get("__builtins__")
    wanted = TYPED_BUILTINS if mentions(code) else builtins
    if now is not wanted and (now is builtins or now is TYPED_BUILTINS):
        names["__builtins__"] = wanted
