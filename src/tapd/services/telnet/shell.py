"""The telnet session's prompt: the host's, under the name that TAPs have."""

from __future__ import annotations

from tapd.host.prompt.prompt import Prompt


class Shell(Prompt):
    """One session's prompt."""

    stem = "telnet"
