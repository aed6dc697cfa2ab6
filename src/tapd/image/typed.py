"""Code typed at a prompt: what a shell needs of the image room.

    code = compile_typed("f = lambda: x", namespace)     # None: incomplete
    exec(code, namespace.names)            # or await it, where it is a coroutine
    notice = will_not_be_saved(namespace.names["f"])               # None: it will be

`compile_typed` gives each piece of source a name such as ``<telnet 12>`` and
registers its text (`image.code.source`): tracebacks and `inspect.getsource` show it,
and functions are saved as that text, never as bytecode. A code object that was
compiled with a top-level ``await`` has ``inspect.CO_COROUTINE`` in ``co_flags``:
run it with ``await eval(code, namespace.names)``.
"""

from __future__ import annotations

import ast
import codeop
import types

from tapd.image.code.class_text import teach_inspect
from tapd.image.code.executed import offer_builtins
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
    # What is complete and right is compiled once; `codeop` judges the rest and does it twice.
    try:
        code = compile(source, filename, symbol, flags | _PROMPT_FLAGS, dont_inherit=True)
    except Exception:  # outside of here, so that what `codeop` raises has no context
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
    """Make `namespace` ready for `code`, which is about to run there."""
    namespace.note_imports(submodules_of(code))
    offer_builtins(code, namespace.names)


def will_not_be_saved(value: object) -> Loss | None:
    """Return why `value`, or a part of it, will not be saved; None where all of it will."""
    losses = StatePickler(lambda _obj: 0).dump_state((value,)).losses
    return losses[0].replace(path=losses[0].path[len("[0]") :]) if losses else None
