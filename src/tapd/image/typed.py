"""Compiles code typed at a prompt, so that it can be saved.

    code = compile_typed("f = lambda: x", namespace)     # None: incomplete
    exec(code, namespace.names)            # or await it, where it is a coroutine
    notice = will_not_be_saved(namespace.names["f"])               # None: it will be

`compile_typed` gives each piece of source a name such as ``<telnet 12>`` and registers its text
(`image.code.source`). Tracebacks and `inspect.getsource` show it, and functions are saved as
that text, never as bytecode. Code with a top-level ``await`` has ``inspect.CO_COROUTINE`` in
``co_flags``: run it with ``await eval(code, namespace.names)``.
"""

from __future__ import annotations

import ast
import codeop
import types

from tapd.image.code.class_text import teach_inspect
from tapd.image.code.exec_eval import offer_builtins
from tapd.image.code.source import (
    FUTURE_MASK,
    Source,
    adopt_code,
    future_flags,
    keep_recent,
    recent_code,
    register_source,
    submodules_of,
    unused_filename,
)
from tapd.image.loss import Loss
from tapd.image.pickling.states import StatePickler
from tapd.model.durable.namespace import Namespace

# PyCF_DONT_IMPLY_DEDENT and PyCF_ALLOW_INCOMPLETE_INPUT, which codeop passes as well: a block
# is complete once an empty line ends it.
_PROMPT_FLAGS = 0x200 | 0x4000
_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def compile_typed(
    source: str, namespace: Namespace, symbol: str = "single", stem: str = "telnet"
) -> types.CodeType | None:
    """Compile what was typed, keeping its text.

    Args:
        source: one or more lines.
        namespace: where it will run; ``from __future__`` features imported into
            it are on.
        symbol: ``single`` (an expression's value goes to `sys.displayhook`) or ``exec``.
        stem: names the prompt in tracebacks: ``<STEM N>``.

    Returns:
        The code; a coroutine's where it awaits. None where the input is incomplete.

    Raises:
        SyntaxError, OverflowError, ValueError: as `codeop.compile_command`.
    """
    flags = future_flags(namespace.names) | _AWAIT
    key = (stem, source, symbol, flags)
    code = recent_code(key)
    if code is not None:
        _prepare(namespace, code)
        return code
    filename = unused_filename(stem)
    # Complete, correct code is compiled once; only the rest goes to `codeop`, which compiles twice.
    try:
        code = compile(source, filename, symbol, flags | _PROMPT_FLAGS, dont_inherit=True)
    except Exception:  # `codeop` is called outside of this block, so that its error has no context
        code = None
    if code is None:
        compiler = codeop.CommandCompiler()
        compiler.compiler.flags |= flags
        code = compiler(source, filename, symbol)
        if code is None:
            return None
    _prepare(namespace, code)
    if types.CodeType in map(type, code.co_consts):
        future = (flags | code.co_flags) & FUTURE_MASK
        register_source(Source(filename, source, symbol, future))
        adopt_code(code)
        teach_inspect()
    else:
        keep_recent(code, key)
    return code


def _prepare(namespace: Namespace, code: types.CodeType) -> None:
    """Prepare `namespace` for `code`, which is about to run in it."""
    namespace.note_imports(submodules_of(code))
    offer_builtins(code, namespace.names)


def will_not_be_saved(value: object) -> Loss | None:
    """Return why `value`, or a part of it, can't be saved; None if all of it can."""
    losses = StatePickler(lambda _obj: 0).dump_state((value,)).losses
    return losses[0].replace(path=losses[0].path[len("[0]") :]) if losses else None
