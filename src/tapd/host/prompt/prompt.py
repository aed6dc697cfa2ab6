"""The prompt: reads lines of Python and shows their output.

Keeps the state between two lines: an unfinished block, and whether a coroutine is awaited. Code
runs in the loop's own thread, so nothing else happens meanwhile; typed code uses ``await`` to
wait without stopping others. Used by server types with a prompt (telnet) and by the shell of
the control socket.

`image.typed` compiles typed code and keeps its source text, so that functions and classes
outlive the process.
"""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, ClassVar
from typing import Protocol as TypingProtocol

from tapd.host.prompt import interrupts, streams
from tapd.host.prompt.interrupts import typed_code
from tapd.host.prompt.streams import current
from tapd.image.code import exec_eval as executed
from tapd.image.typed import compile_typed, will_not_be_saved
from tapd.interpreter import check_builtins
from tapd.model.application import Runtime
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent

_MISSING = object()
_CO_COROUTINE = inspect.CO_COROUTINE
_OURS = (streams.__file__, interrupts.__file__)
"""Files whose frames are hidden in tracebacks: they refuse input or interrupt."""

_EAGER_CHARACTERS = 4096
"""Longer blocks are not compiled at each indented line, so that pasting stays linear."""


class Session(TypingProtocol):
    """The user of a prompt."""

    leaving: bool

    @property
    def is_connected(self) -> bool:
        """Whether anybody can read the output."""

    @property
    def block_characters_max(self) -> int:
        """The maximum length of a multi-line statement."""

    @property
    def runtime(self) -> Runtime:
        """Runs awaited coroutines."""

    def print_text(self, text: str) -> None:
        """Show `text`."""

    def display(self, value: Any) -> None:
        """Show the value of an expression statement and keep it in ``_``."""

    def code_ran(self) -> None:
        """Commit the changes of typed code together with its output."""

    def evaluated(self) -> None:
        """Continue: the awaited coroutine has ended."""

    def interrupts_waiting(self) -> int:
        """Count unread Ctrl-C; see `host.prompt.interrupts`."""

    def leave(self) -> None:
        """End the session: ``SystemExit`` was raised."""


class Prompt(Persistent):
    """One session's prompt.

    Attributes:
        stem: names it in tracebacks: ``<STEM N>``.
        session: its user; receives the output.
        namespace: the global variables of typed code.
        block: the lines of an unfinished statement, joined by LF; "" if there is none.
        awaiting: whether a typed coroutine runs.
    """

    stem: ClassVar[str] = "prompt"

    def __init__(self, session: Session, namespace: Namespace) -> None:
        self.session = session
        self.namespace = namespace
        self.block = ""
        self.awaiting = False

    @property
    def prompt(self) -> str:
        """The text that asks for the next line."""
        return "... " if self.block else ">>> "

    def push(self, line: str) -> list[str]:
        """Take one line; run the statement that it completes.

        Returns:
            Lines that must wait until the awaited coroutine has ended.
        """
        block = self.block
        if not block:
            if not line or line.isspace():
                return []
            source = line
        else:
            source = f"{block}\n{line}"
            if len(source) > self.session.block_characters_max:
                self.block = ""
                self.session.print_text("The block is too long; it was dropped.\n")
                return []
            if len(block) > _EAGER_CHARACTERS and line[:1] in (" ", "\t") and line.strip():
                self.block = source
                return []
        try:
            code = compile_typed(source, self.namespace, "single", self.stem)
        except BaseException as error:  # MemoryError and RecursionError too
            if block and line[:1].strip() and self._run_block_before(line):
                return [line] if self.awaiting else self.push(line)
            self.drop_block()
            self.show_error(error, with_frames=False)
            return []
        if code is None:
            self.block = source
        else:
            if block:
                self.block = ""
            self._run(code)
        return []

    def push_paste(self, lines: list[str]) -> list[str]:
        """Take pasted lines, statement by statement.

        Returns:
            As `push`.
        """
        from tapd.host.prompt.paste import may_go_on, split_statements  # noqa: PLC0415

        text = "\n".join([self.block, *lines] if self.block else lines)
        pieces = split_statements(text)
        if pieces is None:  # incomplete or invalid: the rules for single lines decide
            return self._push_each(lines)
        self.drop_block()
        unfinished = pieces.pop() if pieces and may_go_on(text) else ""
        for index, piece in enumerate(pieces):
            if not self.run_statement(piece):
                if pieces[index + 1 :] or unfinished:
                    self.session.print_text("(The rest of the paste was not run.)\n")
                return []
            if self.awaiting:
                left = "\n".join([*pieces[index + 1 :], *([unfinished] if unfinished else [])])
                return left.split("\n") if left else []
        self.block = unfinished
        return []

    def _push_each(self, lines: list[str]) -> list[str]:
        for index, line in enumerate(lines):
            left = self.push(line)
            if self.awaiting:
                return [*left, *lines[index + 1 :]]
            if self.session.leaving:
                return []
        return []

    def run_statement(self, piece: str) -> bool:
        """Run one whole statement; return whether it succeeded."""
        try:
            code = compile_typed(f"{piece}\n", self.namespace, stem=self.stem)
        except BaseException as error:  # as in `push`
            self.show_error(error, with_frames=False)
            return False
        return code is not None and self._run(code)

    def drop_block(self) -> None:
        """Discard the unfinished block."""
        if self.block:
            self.block = ""

    def _run_block_before(self, line: str) -> bool:
        """Run a complete block that `line` does not belong to, as when both were pasted.

        Python's own prompt calls this an error. Nothing runs if `line` is invalid by itself.
        """
        try:
            code = compile_typed(f"{self.block}\n", self.namespace, stem=self.stem)
            if code is None:
                return False
            compile_typed(line, self.namespace, stem=self.stem)
        except BaseException:  # `push` shows the error of the whole
            return False
        self.drop_block()
        self._run(code)
        return not self.session.leaving

    def _run(self, code: types.CodeType) -> bool:
        """Run `code`, show its error; return whether it completed."""
        namespace = self.namespace
        names = namespace.names
        used = code.co_names
        before = [(name, names.get(name, _MISSING)) for name in used] if used else ()
        ended = False
        token = current.set(self.session)
        try:
            try:
                typed_code.begin(self.session)
                coroutine = eval(code, names)  # noqa: S307 - running what is typed is the service
            finally:
                typed_code.session = None
            if code.co_flags & _CO_COROUTINE:
                self._start(coroutine)
            ended = True
        except SystemExit:
            self.session.leave()
        except BaseException as error:  # a prompt survives any error of typed code
            self.show_error(error)
        finally:
            current.reset(token)
            namespace.touch()
        for name, value in before:
            if names.get(name, value) is not value:
                self._warn_of(name)
        return ended

    def _warn_of(self, name: str) -> None:
        loss = will_not_be_saved(self.namespace.names[name])
        if loss is not None:
            self.session.print_text(
                f"note: {name}{loss.path} will not be saved: {loss.type_name}: {loss.reason}\n"
            )

    def _start(self, coroutine: Any) -> None:
        runtime = self.session.runtime
        self.awaiting = True
        self._v_coroutine = coroutine
        self._v_cancel: Callable[[], None] = runtime.run_coroutine(
            _contain(coroutine, self.namespace), self.finished
        )

    def finished(self, result: Any, error: Any) -> None:
        """Handle the end of the coroutine: its error, or that of its task."""
        if not self.awaiting:
            return
        self._v_coroutine.close()  # it never started if it was cancelled at once
        self._v_coroutine = None
        error = error or result
        self.namespace.touch()
        session = self.session
        if not session.is_connected:
            self.awaiting = False
            return
        if isinstance(error, SystemExit):
            session.leave()
        elif isinstance(error, asyncio.CancelledError):
            self.show_error(KeyboardInterrupt())
        elif error is not None:
            self.show_error(error)
        self._v_cancel = _nothing
        self.awaiting = False
        session.evaluated()

    def cancel(self) -> None:
        """Cancel the coroutine, if one runs; `finished` follows."""
        if self.awaiting:
            getattr(self, "_v_cancel", _nothing)()

    def resume(self) -> None:
        """Continue in a new process, where no coroutine of the old one runs."""
        if self.awaiting:
            self.session.print_text(
                "The server was restarted while this ran; it was interrupted and not finished.\n"
            )
            self.awaiting = False
            self.session.evaluated()

    def show_error(self, error: BaseException, *, with_frames: bool = True) -> None:
        """Show a traceback of typed code, without tapd's own frames.

        Raises:
            InterpreterBroken: the whole interpreter is affected, not just this code.
        """
        import traceback  # noqa: PLC0415 - only after an error

        check_builtins(error)
        frames = error.__traceback__ if with_frames else None
        while frames is not None and frames.tb_frame.f_globals is not self.namespace.names:
            frames = frames.tb_next
        try:
            shown = traceback.TracebackException(type(error), error, frames)
            while shown.stack and shown.stack[-1].filename in _OURS:
                shown.stack.pop()
            _hide_frames_of_exec(shown)
            text = "".join(shown.format())
        except BaseException as second:  # typed classes may break even the formatting
            text = f"{type(error).__name__} (and showing it raised {type(second).__name__})\n"
        self.session.print_text(text)


def _hide_frames_of_exec(shown: Any) -> None:
    """Remove the frames of our ``exec`` from a traceback and its causes."""
    while shown is not None:
        shown.stack[:] = [frame for frame in shown.stack if frame.filename != executed.__file__]
        shown = shown.__cause__ or shown.__context__


async def _contain(coroutine: Any, namespace: Namespace) -> BaseException | None:
    """Await `coroutine` and return its error.

    A SystemExit that leaves a task would end the event loop, and with it the server.
    """
    try:
        await _step_by_step(coroutine, namespace)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # shown at the prompt
        return error
    return None


@types.coroutine
def _step_by_step(coroutine: Any, namespace: Namespace) -> Generator[Any, Any, Any]:
    """Await `coroutine`, and mark `namespace` as changed after each step.

    While it waits, other turns run and may see what it has done so far.
    """
    step, value = coroutine.send, None
    while True:
        try:
            awaited = step(value)
        except StopIteration as end:
            return end.value
        finally:
            namespace.touch()
        try:
            step, value = coroutine.send, (yield awaited)
        except GeneratorExit:  # the process ends: no further commit
            coroutine.close()
            raise
        except BaseException as error:
            step, value = coroutine.throw, error


def _nothing() -> None:
    pass
