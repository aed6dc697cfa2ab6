"""A shell over the control socket: a prompt in a running server of any type.

Typed code runs in a turn, so it is journaled like everything else, and its output is sent only
after the turn's commit. The namespace is the application's own and durable; `application` is
bound in it. The session is not durable: its client is a separate process, which sees the
connection close.

Code that does not return stops the server for everyone. Ctrl-C reaches it as a signal
(`INTERRUPT`), which does nothing at other times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapd.host.prompt import streams
from tapd.host.prompt.interrupts import typed_code
from tapd.host.prompt.paste import split_statements
from tapd.host.prompt.prompt import Prompt
from tapd.model.durable.namespace import Namespace
from tapd.net.turn.turn import Turn

BLOCK_CHARACTERS_MAX = 1 << 20


class ConsolePrompt(Prompt):
    """The prompt of one console; remembers whether anything failed."""

    stem = "tapctl"

    def __init__(self, session: Console, namespace: Namespace) -> None:
        super().__init__(session, namespace)
        self.failed = False

    def show_error(self, error: BaseException, *, with_frames: bool = True) -> None:
        """Show the error; it ends a script."""
        self.failed = True
        is_ours = type(error) is KeyboardInterrupt  # its last frame is the signal handler's
        super().show_error(error, with_frames=with_frames and not is_ours)


class Console:
    """One person's shell; see `host.prompt.prompt.Session`.

    Attributes:
        leaving: whether it has ended.
        prompt: takes the lines.
    """

    block_characters_max = BLOCK_CHARACTERS_MAX

    def __init__(self, turn: Turn, send: Callable[[dict[str, Any]], None]) -> None:
        """Create a shell in the application of `turn`. Only within a turn.

        Args:
            turn: runs what is typed.
            send: sends messages to the client, in order.
        """
        self.runtime = turn.runtime
        self.leaving = False
        self._send = send
        self._output: list[str] = []
        self._script: list[str] | None = None
        streams.install()
        self.prompt = ConsolePrompt(self, _namespace_of(turn))

    @property
    def is_connected(self) -> bool:
        """Whether anybody can read the output."""
        return not self.leaving

    def push(self, line: str) -> None:
        """Run one typed line in a turn; the next prompt is sent after its commit."""
        self.runtime.call(lambda: self._evaluate(lambda: self.prompt.push(line)))

    def run_script(self, text: str) -> None:
        """Run whole statements in a turn, up to the first that fails; then report the result."""
        self.runtime.call(lambda: self._begin_script(text))

    def _begin_script(self, text: str) -> None:
        pieces = split_statements(text)
        if pieces is None:
            self._evaluate(lambda: self.prompt.run_statement(text))  # shows the syntax error
            return
        self._script = pieces
        self._go_on()

    def _go_on(self) -> None:
        """Run the rest of the script, until something is awaited."""

        def run() -> None:
            prompt, script = self.prompt, self._script
            while script and not (prompt.awaiting or prompt.failed or self.leaving):
                prompt.run_statement(script.pop(0))

        self._evaluate(run)

    def _evaluate(self, work: Callable[[], object]) -> None:
        if self.leaving:
            return
        try:
            typed_code.is_signalled = True
            try:
                work()
            finally:
                typed_code.is_signalled = False
        except KeyboardInterrupt as error:  # it arrived between two pieces of typed code
            typed_code.is_signalled = False
            self.prompt.show_error(error, with_frames=False)
        if not self.prompt.awaiting:
            self._ask()

    def evaluated(self) -> None:
        """Continue: the awaited coroutine has ended."""
        if self._script:
            self._go_on()
        else:
            self._ask()

    def _ask(self) -> None:
        """Send the next prompt after this turn's commit."""
        if not self.leaving:
            prompt = self.prompt
            self._send_committed({"prompt": prompt.prompt, "failed": prompt.failed})

    def interrupts_waiting(self) -> int:
        """Return 0: `tapctl shell` sends a signal instead."""
        return 0

    def interrupt(self) -> None:
        """Cancel the awaited coroutine."""
        self.prompt.cancel()

    def drop_block(self) -> None:
        """Discard the unfinished block, and send a new prompt."""
        self.prompt.drop_block()
        self._ask()

    def complete(self, word: str) -> list[str]:
        """Return completions of the dotted name `word`, without running code of its objects."""
        from tapd.host.prompt.completion import complete  # noqa: PLC0415 - only at a first Tab

        rest, candidates = complete(word, self.prompt.namespace.names)
        path, dot, _stem = word.rpartition(".")
        if candidates:
            return [f"{path}{dot}{name}" for name in candidates]
        return [word + rest] if rest else []

    def print_text(self, text: str) -> None:
        """Show `text` after this turn's commit."""
        if not self._output:
            self._send_committed(None)
        self._output.append(text)

    def display(self, value: Any) -> None:
        """Show the value of an expression and keep it in ``_``."""
        if value is not None:
            self.print_text(f"{value!r}\n")
            self.prompt.namespace.names["_"] = value

    def code_ran(self) -> None:
        """Commit the changes of typed code together with its output."""
        self.prompt.namespace.touch()

    def leave(self) -> None:
        """End the session after this turn's commit."""
        if not self.leaving:
            self.leaving = True
            self._send_committed({"bye": True, "failed": self.prompt.failed})

    def close(self) -> None:
        """Stop what runs for this session: its client has gone."""
        self.leaving = True
        self._script = None
        self.prompt.cancel()

    def _send_committed(self, message: dict[str, Any] | None) -> None:
        """Send the output and `message` after the current turn's commit.

        A call made in a turn runs in the next turn, which begins only after the commit.
        """

        def send() -> None:
            if self._output:
                text = "".join(self._output)
                self._output.clear()
                self._send({"output": text})
            if message is not None:
                self._send(message)

        call = self.runtime.call
        call(lambda: call(send))


def _namespace_of(turn: Turn) -> Namespace:
    """Return the application's own namespace, created at first use."""
    application = turn.application
    namespace = application.namespace
    if namespace is None:
        namespace = application.namespace = Namespace()
    names = namespace.names
    names["__name__"] = "__main__"
    names["application"] = application
    namespace.touch()
    return namespace
