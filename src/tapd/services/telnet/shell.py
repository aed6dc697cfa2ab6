"""The telnet session's prompt: the host's prompt, under the class name used in TAPs."""

from __future__ import annotations

from tapd.host.prompt.prompt import Prompt


class Shell(Prompt):
    """One session's prompt."""

    stem = "telnet"
