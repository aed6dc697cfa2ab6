"""Renders `docs/irc.md` from the tables, so that the page stays true.

``python -m tapd.services.irc.listing`` prints it; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from tapd.services.irc.assistants.table import ASSISTANTS
from tapd.services.irc.conduct.command_table import COMMANDS
from tapd.services.irc.service import IrcNetwork
from tapd.services.irc.state.opers import PRIVILEGES
from tapd.services.irc.wire import capabilities, isupport, modes, numerics

_HEAD = """\
# IRC

`tapd-mktap irc --network-name Example` (`words`, its name in early Twisted, works too) \
makes an IRC network of one server. It speaks what modern.ircdocs.horse describes, and \
IRCv3. This page is made from the server's own tables by \
`python -m tapd.services.irc.listing`.

## What a restart leaves

Users, accounts, channels, topics, modes, lists, history, monitor lists and WHOWAS are in \
the TAP, and so are open connections with their capabilities and half-sent lines: a client \
notices neither a restart nor a kill (see [The promises](promises.md)). After a stop and a \
start the connections are gone and their users have quit, but for those who are always on.

![weechat on #tea: carl announces that he kills the server with kill -9, twice; ann and bob \
talk on, and no line says that a connection ended](static/weechat-across-sigkill.png)

*weechat, while the server is killed by SIGKILL twice: after carl's first line and before his \
last. `tests/services/irc/test_real_clients.py` does the same with irssi beside it.*

## Changing it later

`tapctl set NAME OPTION=VALUE`, while it runs:
"""

PEOPLE = """
## Accounts, channels that stay, and always-on

**An account** is a name and a password; `/msg NickServ REGISTER <password>` makes one of \
the nick that one has (so does REGISTER of draft/account-registration). One logs in by SASL \
(PLAIN or SCRAM-SHA-256), by `PASS account:password` where the server has no password of its \
own, or by `/msg NickServ IDENTIFY <password>`. The TAP holds no password, but what one can be \
checked against; a line that may have one in it is sealed while it is incomplete, and is \
hidden where it is echoed.

**Its nicks** are its name and those that GROUP added. Who is not logged in to the account is \
refused (433); with `nick-protection=grace` they are asked to log in and are renamed to \
GuestNNNN after `nick-grace` seconds. The owner who comes gets the nick from whoever has it.

**A registered channel** (`/msg ChanServ REGISTER #channel`) stays when the last member \
leaves, with topic, modes, lists and history. Its access list gives ranks to accounts when \
they join; who comes first without one is no operator. Its founder always gets in.

**Several clients** of one account can have one nick. Each has its own capabilities and \
sees what the others send. The user is away when each of the clients is, and quits with the \
last one.

**An always-on user** does not: they stay on their channels, as away, through restarts and \
reboots. One asks for it by `/msg NickServ SET ALWAYS-ON on` (with `always-on=opt-out` \
everybody with an account is), under a nick of the account. A client that logs in with that \
nick is on the channels at once, and is told what was said meanwhile there and to the user: \
the newest 100 messages of each place, as a batch with the times, or with the times in the \
text. Clients with draft/chathistory ask for it themselves. What a client has missed is what \
was said since it left; those that name themselves (`alice@phone` in place of `alice`, in SASL, \
PASS or USER) have a past of their own. Who has had no client for `always-on-days` goes.

Who joins a channel is told nothing of what was said before, unless `history-on-join` says so, \
or the client asks.
"""

GUARDS = """
## Bans, limits, cloaks

An operator (`--oper NAME`, later `tapctl set NAME oper=NAME`; what one may do: \
`oper-privileges=NAME:kill,ban`) bans by `KLINE [SOFT] [MYSELF] [DURATION] MASK \
[:REASON[|FOR OPERATORS]]`. A duration is a number of minutes or `1d12h`; none is for ever. \
The host of a mask may be a network (`*!*@192.0.2.0/24`), and `~a:ACCOUNT` is an account. \
`DLINE` takes an address, a network or a nick, `XLINE` a real name, `ELINE` exempts; `UN` in \
front takes each away, and `STATS k`, `d`, `x` and `e` list them. SOFT lets in who logs in by \
SASL. A ban is looked at when somebody connects, comes in, logs in or changes the nick or the \
real name, and meets those present at once. It is kept through restarts and ends in its second.

Who writes too fast waits: after `flood-burst` commands only `flood-rate` a second are run, \
and the rest of the input stays in the kernel, so that the client feels it. Some count as \
several (WHO, LIST, JOIN). Connections are limited for each address, each network \
(`network-bits`) and in all, as are registrations under way, accounts, changes of nick and \
people newly written to. Loopback and UNIX sockets are exempt from limits of connections \
(`limits-exempt`). How fast somebody was is forgotten by a kill; the rest is not.

Others see a cloak in place of an address: three keyed digests, of the address and the two \
networks around it, so a channel bans a /24 by `*!*@*.SECOND.THIRD.ip`. Who is logged in has \
the host `ACCOUNT.NETWORK`. The key is in the TAP and nowhere else. Operators with `see` see \
addresses; bans of channels match cloaks only, those of the network addresses, too.

Each use of a privilege is a line in the journal, with `TAPD_OPER`, `TAPD_ACTION` and \
`TAPD_DETAIL` ([The journal](journal.md)), and a notice to operators with mode `s`. `LOCKDOWN` \
says who may come in while somebody attacks.
"""

TLS = """
## TLS

The state of a TLS session is in the memory of the process that holds it: no pickle takes \
it along. So a server that speaks TLS itself breaks promise 3 for those clients, and this \
one does not speak it. TLS ends in front of it, in a process that does nothing else, and \
which hands the bytes on over loopback or a UNIX socket. That connection outlives the \
server's restarts, upgrades and kills as every other does, and the terminator never ends \
with the server, so **a client on TLS sees nothing of them, either**. What it does see is \
the end of the terminator: then it comes back as after any lost connection, and an \
always-on user has missed nothing.

With HAProxy, which tells the clients' addresses by the PROXY protocol:

<!-- not run: tests/services/irc/state/test_fronts.py runs a real HAProxy -->
```
frontend irc
    mode tcp
    timeout client 10m
    bind :6697 ssl crt /etc/haproxy/irc.pem
    default_backend irc
backend irc
    mode tcp
    timeout server 10m
    server tapd 127.0.0.1:6668 send-proxy-v2-ssl
```

Beside the clients' port 6667 the network needs one for it (`--port 6667 --port \
127.0.0.1:6668`, or a UNIX socket), and has to know that every connection there begins \
with a header:

<!-- not run: tests/services/irc/state/test_fronts.py sets the same -->
```console
$ tapctl set NAME trusted-proxies=127.0.0.1 proxy-port=6668
```

Versions 1 and 2 are understood, so stunnel (`protocol = proxy`) and nginx \
(`proxy_protocol on` in `stream`) do as well. Whoever else may connect to that port can say \
to be anybody, so bind it to loopback. Timeouts in front must be longer than `ping` and \
`ping-timeout` together, or idle clients are cut. Clients by TLS have `671` in their WHOIS. \
Without a header they would all have the terminator's address, share one cloak, and loopback \
has no limits of connections.

`tapctl set NAME sts=6697:300` has clients of the plain port use TLS from then on, for so \
many seconds (IRCv3 sts). Begin with minutes: what clients have remembered can't be taken back.

Web gateways (KiwiIRC and the like) tell an address by WEBIRC: `tapctl set NAME \
webirc=192.0.2.7` names theirs and asks for the password.

The kernel could hold the session's keys (kTLS), and a socket with them could lie in the \
vault. But it counts what was received and acknowledged in bytes of the encrypted stream, \
reads whole records, gives alerts and new keys (TLS 1.3) to the process as control messages, \
and the handshake stays in user space: what is in the journal could not be compared with \
what the kernel says, which is what promise 3 rests on.
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
        PEOPLE,
        GUARDS,
        TLS,
        "\n## Commands\n",
        "Each needs a complete registration, but for those marked.\n",
        _table(("command", "what it does", "for whom"), _commands()),
        *_assistants(),
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


def _assistants() -> Iterable[str]:
    for assistant in ASSISTANTS.values():
        yield f"\n## {assistant.nick}\n"
        yield (
            f"`/msg {assistant.nick} COMMAND`, or `/{assistant.nick.upper()} COMMAND`; "
            "HELP tells more of each.\n"
        )
        rows = (
            (
                f"`{name} {each.syntax}`".replace(" `", "`"),
                each.help_lines[0],
                f"operators with `{each.privilege}`" if each.privilege else "",
            )
            for name, each in sorted(assistant.commands.items())
        )
        yield _table(("command", "what it does", "for whom"), rows)


def _capabilities() -> Iterable[Sequence[str]]:
    for name, each in sorted(capabilities.CAPABILITIES.items()):
        yield f"`{name}`", "there", each.specification


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
