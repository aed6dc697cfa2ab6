"""A person at a telnet client: waits for words to appear, types, keeps the transcript."""

from __future__ import annotations

import os
import select
import time


class TelnetTerminal:
    """Talks to a program on the far end of a pseudo terminal.

    Attributes:
        transcript: all that appeared, in order.
    """

    def __init__(self, fd: int) -> None:
        """Take over reading and writing `fd`; closing it stays the caller's."""
        self._fd = fd
        self.transcript = ""
        self._seen = 0

    def expect(self, words: str, timeout_s: float = 120.0) -> str:
        """Wait until `words` appear after what was expected last; return all up to their end.

        Raises:
            AssertionError: they did not, in time.
        """
        deadline = time.monotonic() + timeout_s
        while (place := self.transcript.find(words, self._seen)) < 0:
            left_s = deadline - time.monotonic()
            ready = left_s > 0 and select.select([self._fd], [], [], left_s)[0]
            try:
                data = os.read(self._fd, 65536) if ready else b""
            except OSError:  # EIO: the program has ended
                data = b""
            if not data:
                why = "the program ended" if ready else f"{timeout_s} s have passed"
                raise AssertionError(
                    f"{words!r} did not appear, {why}; after that stands "
                    f"{self.transcript[self._seen :]!r} in\n{self.transcript}"
                )
            self.transcript += data.decode("utf-8", errors="replace")
        end = place + len(words)
        text = self.transcript[self._seen : end]
        self._seen = end
        return text

    def type(self, text: str) -> None:
        """Type `text` as it is."""
        os.write(self._fd, text.encode())

    def enter(self, text: str) -> None:
        """Type `text` and press Enter."""
        self.type(text + "\r")

    def ask(self, text: str, prompt: str = ">>> ") -> str:
        """Type a line at a prompt, and return what appears up to the next one."""
        self.enter(text)
        return self.expect(prompt)
