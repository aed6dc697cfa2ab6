"""A shell over the control socket: a prompt in a running server of any type.

What is typed runs in a turn, so it is journaled like all else, and what it
prints leaves only after the turn's commit. Its namespace is the application's
and durable; `application` is bound in it. The session itself is not durable: the
person's end of it is a process of their own, which sees the connection close.

Code that does not come back stops the server for all: Ctrl-C reaches it as a
signal, which does nothing while no such code runs (`host.prompt.interrupts`).
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
    """The prompt of one console; remembers whether anything went wrong."""

    stem = "tapctl"

    def __init__(self, session: Console, namespace: Namespace) -> None:
        super().__init__(session, namespace)
        self.failed = False

    def show_error(self, error: BaseException, *, with_frames: bool = True) -> None:
        """Show it, and have a script end with it."""
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
        """Make a shell in the application of `turn`. In a turn only.

        Args:
            turn: runs what is typed.
            send: takes the messages for the person, in order.
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
        """Whether anybody can read what is printed."""
        return not self.leaving

    def push(self, line: str) -> None:
        """Run one line as typed, in a turn; the next prompt is sent after its commit."""
        self.runtime.call(lambda: self._evaluate(lambda: self.prompt.push(line)))

    def run_script(self, text: str) -> None:
        """Run whole statements in a turn, up to the first that fails; then say how it went."""
        self.runtime.call(lambda: self._begin_script(text))

    def _begin_script(self, text: str) -> None:
        pieces = split_statements(text)
        if pieces is None:
            self._evaluate(lambda: self.prompt.run_statement(text))  # shows what is wrong
            return
        self._script = pieces
        self._go_on()

    def _go_on(self) -> None:
        """Run what is left of the script, until something has to be awaited."""

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
        except KeyboardInterrupt as error:  # it came between two pieces of typed code
            typed_code.is_signalled = False
            self.prompt.show_error(error, with_frames=False)
        if not self.prompt.awaiting:
            self._ask()

    def evaluated(self) -> None:
        """Go on: what was awaited has ended."""
        if self._script:
            self._go_on()
        else:
            self._ask()

    def _ask(self) -> None:
        """Ask for the next line, once this turn is committed."""
        if not self.leaving:
            prompt = self.prompt
            self._send_committed({"prompt": prompt.prompt, "failed": prompt.failed})

    def interrupts_waiting(self) -> int:
        """Return 0: `tapctl shell` sends a signal."""
        return 0

    def interrupt(self) -> None:
        """Cancel what is awaited."""
        self.prompt.cancel()

    def drop_block(self) -> None:
        """Forget the unfinished block, and ask anew."""
        self.prompt.drop_block()
        self._ask()

    def complete(self, word: str) -> list[str]:
        """Return what the dotted name `word` may become; no code of its objects is run."""
        from tapd.host.prompt.completion import complete  # noqa: PLC0415 - only at a first Tab

        rest, candidates = complete(word, self.prompt.namespace.names)
        path, dot, _stem = word.rpartition(".")
        if candidates:
            return [f"{path}{dot}{name}" for name in candidates]
        return [word + rest] if rest else []

    def print_text(self, text: str) -> None:
        """Show `text` once this turn is committed."""
        if not self._output:
            self._send_committed(None)
        self._output.append(text)

    def display(self, value: Any) -> None:
        """Show the value of an expression and keep it in ``_``."""
        if value is not None:
            self.print_text(f"{value!r}\n")
            self.prompt.namespace.names["_"] = value

    def code_ran(self) -> None:
        """Have what typed code changed committed with what it printed."""
        self.prompt.namespace.touch()

    def leave(self) -> None:
        """End the session, once this turn is committed."""
        if not self.leaving:
            self.leaving = True
            self._send_committed({"bye": True, "failed": self.prompt.failed})

    def close(self) -> None:
        """Stop what goes on for it: the person is gone."""
        self.leaving = True
        self._script = None
        self.prompt.cancel()

    def _send_committed(self, message: dict[str, Any] | None) -> None:
        """Send what was printed and `message` once the turn that runs now is committed.

        A call made in a turn runs in the next, which there is only after the commit.
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
    """Return the application's own namespace; it is made when it is first needed."""
    application = turn.application
    namespace = application.namespace
    if namespace is None:
        namespace = application.namespace = Namespace()
    names = namespace.names
    names["__name__"] = "__main__"
    names["application"] = application
    namespace.touch()
    return namespace
