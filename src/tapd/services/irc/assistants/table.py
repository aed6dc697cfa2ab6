"""The tables of NickServ's and ChanServ's commands, and how a line runs.

A command is one function::

    @NICKSERV.command("LOGOUT", needs_account=True)
    def logout(reply: Reply, words: Words) -> None:
        '''Log out of your account.'''

HELP lists the first line of the docstring; HELP LOGOUT shows the rest. A function reports
its result with `Assistant.say`, or raises `Refused`.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tapd.errors import AuthorError
from tapd.services.irc.state.grants import CHANSERV as CHANSERV_NICK
from tapd.services.irc.wire.message import render_body
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network
    from tapd.services.irc.state.reply import Reply

Words = Sequence[str]
"""The words after the command's name."""

Function = Callable[["Reply", Words], None]

_HIDDEN = "********"


class Refused(Exception):
    """A command is refused; the client gets its text."""


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantCommand:
    """One command of an assistant.

    Attributes:
        name: in upper case.
        function: runs it.
        syntax: of its words: ``<needed>``, ``[optional]``.
        needs_account: the client must be logged in.
        privilege: an IRC operator's privilege that it needs; "" for everybody.
        secret_from: the first word that is secret; None for none.
    """

    name: str
    function: Function
    syntax: str = ""
    needs_account: bool = False
    privilege: str = ""
    secret_from: int | None = None

    @property
    def words_min(self) -> int:
        """How many words it needs."""
        return sum(word.startswith("<") for word in self.syntax.split())

    @property
    def help_lines(self) -> list[str]:
        """The text of HELP: the docstring's lines; each paragraph is one line."""
        text = inspect.cleandoc(self.function.__doc__ or "")
        return [" ".join(part.split()) for part in text.split("\n\n")]


class Assistant:
    """NickServ or ChanServ.

    Attributes:
        nick: theirs.
        summary: one line about them.
        commands: by name.
    """

    def __init__(self, nick: str, summary: str) -> None:
        self.nick = nick
        self.summary = summary
        self.commands: dict[str, AssistantCommand] = {}

    def command(
        self,
        name: str,
        syntax: str = "",
        *,
        needs_account: bool = False,
        privilege: str = "",
        secret_from: int | None = None,
    ) -> Callable[[Function], Function]:
        """Add the decorated function to the table as `name`; see `AssistantCommand`.

        Raises:
            AuthorError: the name is taken.
        """

        def add(function: Function) -> Function:
            if name in self.commands:
                raise AuthorError(f"{self.nick} has a command {name} already; give another name")
            self.commands[name] = AssistantCommand(
                name, function, syntax, needs_account, privilege, secret_from
            )
            return function

        return add

    def mask(self, network: Network) -> str:
        """Return the source of their messages."""
        return f"{self.nick}!{self.nick}@{network.server_name}"

    def say(self, reply: Reply, *texts: str) -> None:
        """Send texts to a client, one NOTICE each."""
        source = self.mask(reply.network)
        for text in texts:
            reply.send_body(render_body(source, "NOTICE", (reply.nick,), text or " "))

    def run(self, reply: Reply, text: str) -> None:
        """Run a client's line."""
        if text[:1] == "\x01":  # a CTCP is ignored
            return
        name, *words = text.split() or ["HELP"]
        try:
            self._run(reply, name.upper(), words)
        except Refused as refusal:
            self.say(reply, str(refusal))

    def _run(self, reply: Reply, name: str, words: Words) -> None:
        if name == "HELP":
            self._help(reply, words)
            return
        command = self._find(reply, name)
        if command.needs_account and not reply.user.account:
            raise Refused(
                "Log in first: /msg NickServ IDENTIFY <password>, or make an account: "
                "/msg NickServ REGISTER <password>"
            )
        if len(words) < command.words_min:
            raise Refused(f"Write: {name} {command.syntax}")
        command.function(reply, words)

    def _find(self, reply: Reply, name: str) -> AssistantCommand:
        allowed = self._allowed(reply)
        if name in allowed:
            return allowed[name]
        if name in self.commands:
            raise Refused(f"{name} is for IRC operators")
        close = difflib.get_close_matches(name, allowed, 1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise Refused(f"There is no command {name[:32]}.{meant} HELP lists all")

    def _allowed(self, reply: Reply) -> dict[str, AssistantCommand]:
        return {
            name: each
            for name, each in self.commands.items()
            if not each.privilege or reply.network.may(reply.user, each.privilege)
        }

    def _help(self, reply: Reply, words: Words) -> None:
        if words:
            command = self._find(reply, words[0].upper())
            self.say(reply, f"Write: {command.name} {command.syntax}".rstrip())
            self.say(reply, *command.help_lines)
            return
        self.say(reply, f"{self.summary}. Commands:")
        for name, each in sorted(self._allowed(reply).items()):
            self.say(reply, f"{name:<12} {each.help_lines[0]}")
        self.say(reply, "HELP COMMAND tells more.")

    def hide_secrets(self, text: str) -> str:
        """Return a line without its passwords, to be shown again."""
        name, *words = text.split() or [""]
        command = self.commands.get(name.upper())
        if command is None:
            # A mistyped command may be followed by a password.
            return f"{name} {_HIDDEN}" if words and name.upper() != "HELP" else text
        first = command.secret_from
        if first is None or len(words) <= first:
            return text
        return " ".join((name, *words[:first], _HIDDEN))


NICKSERV = Assistant("NickServ", "NickServ knows accounts, and whose nick is whose")
CHANSERV = Assistant(CHANSERV_NICK, "ChanServ knows channels, and who is what there")

ASSISTANTS = {fold(each.nick): each for each in (NICKSERV, CHANSERV)}
"""All assistants, by folded nick."""


def find_assistant(network: Network, target: str) -> Assistant | None:
    """Return the assistant named ``NickServ``, or ``NickServ@`` and the server's name, if any."""
    nick, at, server = target.partition("@")
    if at and fold(server) != fold(network.server_name):
        return None
    return ASSISTANTS.get(fold(nick))
