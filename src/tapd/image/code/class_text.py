"""Source text of typed classes, for `inspect.getsource` and tools built on it.

The code of a function names its file, a class does not: `inspect` asks the module of the class,
and a prompt has no module. So `inspect.getfile` is patched to answer for typed classes; other
queries go to the original. From Python 3.13 on a class knows its first line, which a restored
class must be given.

The text is found through the methods of the class, or, without methods, among the texts still
known. Once found it is kept as long as the class.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import weakref
from typing import Any

from tapd.image.code.source import Source, claim_text, class_lines, known_sources, register_source

_KNOWS_ITS_LINE = sys.version_info >= (3, 13)
_found: weakref.WeakKeyDictionary[type, tuple[Source, int] | None] = weakref.WeakKeyDictionary()
_getfile = inspect.getfile


def text_of_class(cls: type) -> tuple[Source, int] | None:
    """Return the text that `cls` was typed in, and its first line; None if it was not typed."""
    if cls not in _found:
        found = _find(cls)
        if found is None:
            _found[cls] = None  # search once: a class is saved often, and old texts are dropped
        else:
            _remember(cls, *found)
    return _found[cls]


def restore_class_text(cls: type, source: Source, line: int) -> None:
    """Make `cls`, just restored, show `source` and `line` as its origin."""
    if _found.get(cls) is not None:
        return
    _remember(cls, register_source(source), line)
    if _KNOWS_ITS_LINE and "__firstlineno__" not in cls.__dict__:
        type.__setattr__(cls, "__firstlineno__", line)


def _remember(cls: type, source: Source, line: int) -> None:
    _found[cls] = source, line
    claim_text(cls, source.filename)
    teach_inspect()


def _find(cls: type) -> tuple[Source, int] | None:
    # Not `getattr`, which would find those of a base.
    names: Any = type.__dict__["__dict__"].__get__(cls)
    name = names.get("__qualname__", cls.__qualname__)
    own_line = names.get("__firstlineno__")
    if _KNOWS_ITS_LINE and own_line is None:
        return None  # created by a call, not by a class statement
    methods = [code for code in map(_code_of, names.values()) if code is not None]
    own = [code for code in methods if code.co_qualname.rpartition(".")[0] == name]
    if own:
        sources = [each for each in known_sources() if each.filename == own[0].co_filename]
    else:
        defines = re.compile(rf"\bclass\s+{re.escape(cls.__name__)}\b")
        sources = [each for each in known_sources() if defines.search(each.text)]
    for source in reversed(sources):  # the last one typed
        lines = class_lines(source, name)
        if own_line in lines:
            return source, own_line
        if own:
            lines = [line for line in lines if line <= own[0].co_firstlineno]
        if lines:
            return source, lines[-1]
    return None


def _code_of(value: Any) -> types.CodeType | None:
    if type(value) is property:
        value = value.fget
    value = getattr(value, "__func__", value)
    return value.__code__ if type(value) is types.FunctionType else None


def teach_inspect() -> None:
    """Patch `inspect` to find texts of typed classes. Idempotent."""
    if inspect.getfile is not _file_of:
        inspect.getfile = _file_of


def _file_of(object: Any) -> str:  # noqa: A002 - the name that the standard library's has
    """Return the file or typed text of an object, as `inspect.getfile` does."""
    if isinstance(object, type):
        module = sys.modules.get(object.__module__)
        if getattr(module, "__file__", None) is None or object.__module__ == "__main__":
            found = text_of_class(object)
            if found is not None:
                return found[0].filename
    return _getfile(object)
