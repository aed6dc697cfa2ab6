"""The table of commands, and the decorator that adds to it.

A command is one function::

    @command("PING", params=1, before_registration=True)
    def ping(reply: Reply, message: Message) -> None:
        '''Answer with a PONG that has the same token (modern, "PING message").'''

`reply` is where this one command answers. The function is in any module of
`tapd.services.irc.commands`, which are all imported with the server type. Other packages
may use the decorator, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from tapd.errors import AuthorError

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message

Function = Callable[["Reply", "Message"], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: in upper case.
        function: runs it.
        params: the number of parameters needed (else 461).
        before_registration: allowed before registration is complete (else 451).
        only_before_registration: not allowed afterwards (462).
        privilege: an operator's privilege that it needs (else 481); "" for everybody.
    """

    name: str
    function: Function
    params: int = 0
    before_registration: bool = False
    only_before_registration: bool = False
    privilege: str = ""

    @property
    def summary(self) -> str:
        """One line about it: the first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


COMMANDS: dict[str, Command] = {}
"""All commands, by name."""


def command(
    name: str,
    *,
    params: int = 0,
    before_registration: bool = False,
    only_before_registration: bool = False,
    privilege: str = "",
) -> Callable[[Function], Function]:
    """Add the decorated function to the table as the command `name`; see `Command`.

    Raises:
        AuthorError: the name is taken.
    """

    def add(function: Function) -> Function:
        if name in COMMANDS:
            raise AuthorError(f"the command {name} is there already; give another name")
        COMMANDS[name] = Command(
            name,
            function,
            params,
            before_registration or only_before_registration,
            only_before_registration,
            privilege,
        )
        return function

    return add


find_command = COMMANDS.get
