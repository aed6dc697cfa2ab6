"""What this server speaks, as a page: rendered from the tables, so that it is true.

``python -m tapd.services.irc.listing`` prints `docs/irc.md`; a test compares. The
states of what is not there yet stand in `PLANNED`; who adds one takes it out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from tapd.services.irc import IrcNetwork, capabilities, isupport, modes, numerics
from tapd.services.irc.commands.table import COMMANDS
from tapd.services.irc.opers import PRIVILEGES

PLANNED: dict[str, str] = {}
"""Capabilities that are to come, with what they will bring."""

_HEAD = """\
# IRC

`tapd-mktap irc --network-name Example` (`words`, its name in early Twisted, works too) \
makes an IRC network of one server. It speaks what modern.ircdocs.horse describes, and \
IRCv3. This page is made from the server's own tables by \
`python -m tapd.services.irc.listing`.

## What a restart leaves

Users, channels, topics, modes, lists, monitor lists and WHOWAS are in the TAP, and so are \
open connections with their capabilities and half-sent lines: a client notices neither a \
restart nor a kill (see [The promises](promises.md)). After a stop and a start the \
connections are gone and their users have quit.

## Changing it later

`tapctl set NAME OPTION=VALUE`, while it runs:
"""

_CODE_GROUPS = (
    ("001 to 005", "0", "the welcome"),
    ("200 to 399", "23", "replies"),
    ("400 to 599", "45", "errors"),
    ("600 to 799", "67", "help, KNOCK and MONITOR"),
    ("900 to 999", "9", "accounts and SASL"),
)


def render_page() -> str:
    """Return the page, in Markdown."""
    network = IrcNetwork("Example", "irc.example.internal", 0.0)
    parts = [
        _HEAD,
        _table(
            ("option", "what"),
            ((name, setting.summary) for name, setting in sorted(network.settable.items())),
        ),
        "\n## Commands\n",
        "Each needs a complete registration, but for those marked.\n",
        _table(("command", "what it does", "for whom"), _commands()),
        "\n## Capabilities\n",
        _table(("capability", "state", "where it is specified"), _capabilities()),
        "\n## Channel modes\n",
        _table(("mode", "kind", "what it does"), _channel_modes()),
        "\n## User modes\n",
        _table(
            ("mode", "what it does"),
            ((f"`{mode.letter}`", mode.meaning) for mode in modes.USER_MODES.values()),
        ),
        "\n## ISUPPORT\n",
        "`" + "` `".join(_tokens(network)) + "`\n",
        "\n## What operators may be allowed\n",
        _table(("privilege", "what"), ((f"`{name}`", text) for name, text in PRIVILEGES.items())),
        "\n## Numeric replies\n",
        _table(("codes", "what", "numerics"), _numerics()),
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell for cell in line) + " |\n" for line in lines)


def _commands() -> Iterable[Sequence[str]]:
    for name, each in sorted(COMMANDS.items()):
        if each.privilege:
            who = f"operators with `{each.privilege}`"
        elif each.only_before_registration:
            who = "before registration only"
        elif each.before_registration:
            who = "before registration, too"
        else:
            who = ""
        yield f"`{name}`", each.summary, who


def _capabilities() -> Iterable[Sequence[str]]:
    for name, each in sorted(capabilities.CAPABILITIES.items()):
        yield f"`{name}`", "there", each.specification
    for name, text in sorted(PLANNED.items()):
        yield f"`{name}`", f"to come: {text}", ""


def _channel_modes() -> Iterable[Sequence[str]]:
    for mode in modes.CHANNEL_MODES.values():
        kind = f"rank `{mode.symbol}`" if mode.symbol else f"type {mode.kind.value}"
        yield f"`{mode.letter}`", kind, mode.meaning


def _tokens(network: IrcNetwork) -> Iterable[str]:
    return (token for line in isupport.isupport_lines(network) for token in line)


def _numerics() -> Iterable[Sequence[str]]:
    for codes, first, what in _CODE_GROUPS:
        names = [
            f"{numeric.code} {name}"
            for name, numeric in sorted(numerics.NUMERICS.items(), key=lambda item: item[1].code)
            if numeric.code[0] in first
        ]
        yield codes, what, ", ".join(names)


if __name__ == "__main__":
    sys.stdout.write(render_page())
