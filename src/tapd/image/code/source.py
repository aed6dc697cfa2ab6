"""Registry of source texts typed at a prompt.

Code objects are never saved. The text a function was compiled from is saved, and its code is
found by compiling that text and looking for the same qualified name at the same line. Bytecode
differs between minor versions of Python, text does not. Comprehensions are left out of the
compared names, since 3.12 inlines them into their function.

The text is in `linecache` under a name such as ``<telnet 12>``, for tracebacks and
`inspect.getsource`. It is kept as long as a code object compiled from it. A few recent texts
without functions are kept besides, for tracebacks.
"""

from __future__ import annotations

import ast
import collections
import functools
import inspect
import itertools
import linecache
import re
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

from tapd.values import Value

FUTURE_MASK = 0x1FE0000
"""The ``co_flags`` bits that ``from __future__`` sets (``codeop`` has the same)."""

_INLINED = re.compile(r"(<listcomp>|<setcomp>|<dictcomp>)\.(<locals>\.)?")
_NUMBER = re.compile(r"<(.*) (\d+)>\Z")
_RECENT_MIN = 64
"""How many recent texts are kept; up to twice as many between clean-ups."""
_REPEATED_CHARACTERS_MAX = 4096
"""The compiled code of longer texts is not cached."""


class Source(Value):
    """One piece of typed source text.

    Attributes:
        filename: the file name of its code objects, ``<telnet 12>``.
        text: as it was typed.
        symbol: the mode of compilation, ``single`` or ``exec``.
        flags: compiler flags: the active ``from __future__`` features.
    """

    filename: str
    text: str
    symbol: str
    flags: int

    def compile(self) -> types.CodeType:
        """Compile the whole text again."""
        flags = self.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code: types.CodeType = compile(
            self.text, self.filename, self.symbol, flags, dont_inherit=True
        )
        return code


TextKey = tuple[str, str, str, int]  # stem, text, symbol and flags

_by_filename: dict[str, Source] = {}
_code_count: collections.Counter[str] = collections.Counter()
_recent: dict[str, TextKey | None] = {}
"""Names of recent texts, oldest first, each with the key of its code, if cached."""
_recent_codes: dict[TextKey, types.CodeType] = {}
"""Code of recent texts without functions, by what it was compiled from."""
_compiled: weakref.WeakValueDictionary[tuple[str, str, int, int], types.CodeType] = (
    weakref.WeakValueDictionary()
)
_last_number: dict[str, int] = {}


def unused_filename(stem: str) -> str:
    """Return the next unused name ``<STEM N>``; `register_source` marks it as used."""
    return f"<{stem} {_last_number.get(stem, 0) + 1}>"


def register_source(source: Source) -> Source:
    """Keep `source` and show it to `linecache`.

    Returns:
        The source to compile: under another name where a different text has
        taken this one's.
    """
    known = _by_filename.get(source.filename)
    if known is not None and known != source:
        match = _NUMBER.match(source.filename)
        stem = match[1] if match else source.filename.strip("<>")
        source = source.replace(filename=unused_filename(stem))
    elif known is not None:
        return known
    stem, _, number = source.filename[1:-1].rpartition(" ")
    if stem and number.isdecimal():
        _last_number[stem] = max(_last_number.get(stem, 0), int(number))
    _by_filename[source.filename] = source
    # `linecache` would not show a last line without a newline.
    lines = [line + "\n" for line in source.text.splitlines()]
    linecache.cache[source.filename] = (len(source.text), None, lines, source.filename)
    _note_recent(source.filename)
    return source


def recent_code(key: TextKey) -> types.CodeType | None:
    """Return the cached code of a recent text without functions, or None.

    A program that sends the same line over and over pays for the compiler once.
    """
    code = _recent_codes.get(key)
    if code is not None:
        del _recent[code.co_filename]
        _recent[code.co_filename] = key
    return code


def keep_recent(code: types.CodeType, key: TextKey) -> None:
    """Keep the text of `code`, which has no function and so is never saved, for tracebacks.

    Cheaper than `register_source`; most typed lines are of this kind.
    """
    filename = code.co_filename
    stem, text, _symbol, _flags = key
    _last_number[stem] = _last_number.get(stem, 0) + 1
    lines = [line + "\n" for line in text.split("\n")] if "\n" in text else [text + "\n"]
    linecache.cache[filename] = (len(text), None, lines, filename)
    if len(text) <= _REPEATED_CHARACTERS_MAX:
        _recent_codes[key] = code
        _note_recent(filename, key)
    else:
        _note_recent(filename)


def _note_recent(filename: str, key: TextKey | None = None) -> None:
    replaced = _recent.pop(filename, None)
    if replaced is not None:
        del _recent_codes[replaced]
    _recent[filename] = key
    if len(_recent) >= 2 * _RECENT_MIN:  # drop the older half at once: cheaper per line
        for oldest in list(itertools.islice(_recent, _RECENT_MIN)):
            key = _recent.pop(oldest)
            if key is not None:
                del _recent_codes[key]
                linecache.cache.pop(oldest, None)  # no function: nothing else refers to it
            else:
                _drop_unused(oldest)


def _drop_unused(filename: str) -> None:
    if not _code_count.get(filename) and filename not in _recent:
        _code_count.pop(filename, None)
        _by_filename.pop(filename, None)
        linecache.cache.pop(filename, None)


def _release(filename: str) -> None:
    _code_count[filename] -= 1
    _drop_unused(filename)


def adopt_code(code: types.CodeType) -> None:
    """Keep the registered source of `code` as long as a function in it exists."""
    for inner in _walk(code):
        _code_count[code.co_filename] += 1
        weakref.finalize(inner, _release, code.co_filename).atexit = False


def claim_text(owner: Any, filename: str) -> None:
    """Keep a registered text as long as `owner` exists."""
    _code_count[filename] += 1
    weakref.finalize(owner, _release, filename).atexit = False


def known_sources() -> list[Source]:
    """Return all texts that may define something, in the order they were typed."""
    return list(_by_filename.values())


def class_lines(source: Source, name: str) -> list[int]:
    """Return the first lines of the classes of qualified name `name` in `source`."""
    bodies = (
        code
        for code in _walk(source.compile())
        if code.co_qualname == name and not code.co_flags & inspect.CO_OPTIMIZED
    )
    return sorted(code.co_firstlineno for code in bodies)


def source_of(code: types.CodeType) -> Source | None:
    """Return the text that `code` was compiled from, if it was typed.

    Code generators may register their text in `linecache` for tracebacks (attrs does), which is
    just as good.
    """
    source = _by_filename.get(code.co_filename)
    if source is None and code.co_filename.startswith("<"):
        shown = linecache.cache.get(code.co_filename)
        if shown is not None and len(shown) > 2 and shown[1] is None:
            source = Source(code.co_filename, "".join(shown[2]), "exec", 0)
    return source


def _walk(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code objects inside of `code`, outer before inner."""
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield constant
            yield from _walk(constant)


def submodules_of(code: types.CodeType) -> Iterator[str]:
    """Yield the dotted names that `code` itself imports, not the functions in it."""
    for name in code.co_names:
        if "." in name:
            yield name


def _key(code: types.CodeType) -> tuple[str, int]:
    return _INLINED.sub("", code.co_qualname), code.co_firstlineno


def place_of(code: types.CodeType, source: Source) -> tuple[str, int, int]:
    """Return the place of `code` in `source`: normalized qualified name, line and index.

    Raises:
        LookupError: `source` compiles to no such code.
    """
    name, line = _key(code)
    bare = _bare(code)
    for index, same in enumerate(_distinct(source.compile(), name, line)):
        if same == bare:
            return name, line, index
    raise LookupError(f"{name} is not at line {line} of {source.filename}")


def _bare(code: types.CodeType) -> types.CodeType:
    """Return `code` without column numbers, which 3.12 omits for some lambdas."""
    return code.replace(co_linetable=b"")


def _distinct(module: types.CodeType, name: str, line: int) -> dict[types.CodeType, types.CodeType]:
    """Return the different code objects of that name and line, in order, by bare form.

    Equal ones count once: some Python versions merge them and some do not.
    """
    found: dict[types.CodeType, types.CodeType] = {}
    for inner in _walk(module):
        if _key(inner) == (name, line):
            found.setdefault(_bare(inner), inner)
    return found


def code_at(source: Source, name: str, line: int, index: int) -> types.CodeType:
    """Return the code at a place of `source`, compiled by this Python.

    Raises:
        LookupError: there is none.
        SyntaxError: this Python does not understand the text.
    """
    source = register_source(source)
    key = (source.filename, name, line, index)
    found = _compiled.get(key)
    if found is None:
        module = source.compile()
        adopt_code(module)
        same = list(_distinct(module, name, line).values())
        if index >= len(same):
            raise LookupError(f"{name} is not at line {line} of {source.filename}")
        found = _compiled[key] = same[index]
    return found


def future_flags(names: dict[str, Any]) -> int:
    """Return the compiler flags of the ``__future__`` features imported into `names`."""
    features = _features()
    if names.keys().isdisjoint(features):  # few look-ups, however large `names` is
        return 0
    flags = 0
    for name, (feature, flag) in features.items():
        if names.get(name) is feature:
            flags |= flag
    return flags


@functools.cache
def _features() -> dict[str, tuple[Any, int]]:
    import __future__  # noqa: PLC0415 - at the top it would read like a future statement

    found: dict[str, Any] = {
        name: getattr(__future__, name) for name in __future__.all_feature_names
    }
    return {
        name: (feature, feature.compiler_flag)
        for name, feature in found.items()
        if (feature.getMandatoryRelease() or sys.version_info) >= sys.version_info  # not on anyway
    }
