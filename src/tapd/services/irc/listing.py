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

This page is for administrators of IRC networks and their users. \
`tapd-mktap irc --network-name Example` (`words`, its name in early Twisted, works too) \
makes an IRC network of one server. It implements modern.ircdocs.horse and IRCv3. \
`python -m tapd.services.irc.listing` renders this page from the server's own tables.

## What survives a restart

Users, accounts, channels, topics, modes, lists, history, monitor lists and WHOWAS are in \
the TAP, and so are open connections with their capabilities and half-sent lines: a client \
notices neither a restart nor a kill (see [The promises](promises.md)). After a stop and a \
start the connections are gone and their users have quit, except always-on users.

![weechat on #tea: carl announces that he kills the server with kill -9, twice; ann and bob \
talk on, and no line says that a connection ended](static/weechat-across-sigkill.png)

*weechat, while the server is killed by SIGKILL twice: after carl's first line and before his \
last. `tests/services/irc/test_real_clients.py` does the same with irssi beside it.*

## Options

Change them with `tapctl set NAME OPTION=VALUE`, while the server runs:
"""

PEOPLE = """
## Accounts, registered channels, always-on users

**An account** is a name and a password. `/msg NickServ REGISTER <password>` registers your \
current nick (so does REGISTER of draft/account-registration). To log in, use SASL \
(PLAIN or SCRAM-SHA-256), `PASS account:password` if the server has no password of its \
own, or `/msg NickServ IDENTIFY <password>`. The TAP holds no passwords, only \
data to check them against. A line that may contain a password is sealed while it is \
incomplete, and hidden when it is echoed.

**The nicks of an account** are its name and those that GROUP added. Other users are refused \
them (433); with `nick-protection=grace` they are asked to log in and are renamed to \
GuestNNNN after `nick-grace` seconds. An owner who connects gets the nick from whoever has it.

**A registered channel** (`/msg ChanServ REGISTER #channel`) stays when the last member \
leaves, with topic, modes, lists and history. Its access list gives ranks to accounts when \
they join; a user without an entry who joins first is no operator. Its founder can always join.

**Several clients** of one account can share one nick. Each has its own capabilities and \
sees what the others send. The user is away when all clients are, and quits with the \
last one.

**An always-on user** does not quit: they stay on their channels, as away, through restarts \
and reboots. Ask for it by `/msg NickServ SET ALWAYS-ON on`, under a nick of the account \
(with `always-on=opt-out` every user with an account is always on). A client that logs in with \
that nick is on the channels at once, and gets the messages that it missed there and in \
private: the newest 100 of each place, as a batch with the times, or with the times in the \
text. Clients with draft/chathistory ask for them themselves. A client missed what was \
said since it left; clients that name themselves (`alice@phone` instead of `alice`, in SASL, \
PASS or USER) are counted separately. A user without a client for `always-on-days` is removed.

A user who joins a channel gets no earlier messages, unless `history-on-join` is set \
or the client asks.
"""

GUARDS = """
## Bans, limits, cloaks

An operator (made by `--oper NAME`, later by `tapctl set NAME oper=NAME`; privileges by \
`oper-privileges=NAME:kill,ban`) bans by `KLINE [SOFT] [MYSELF] [DURATION] MASK \
[:REASON[|FOR OPERATORS]]`. A duration is a number of minutes or `1d12h`; without one the ban \
is permanent. The host of a mask may be a network (`*!*@192.0.2.0/24`), and `~a:ACCOUNT` is an \
account. `DLINE` takes an address, a network or a nick, `XLINE` a real name; `ELINE` exempts. \
The prefix `UN` removes each, and `STATS k`, `d`, `x` and `e` list them. SOFT exempts users who \
log in by SASL. A ban is checked when a client connects, registers, logs in or changes the nick \
or the real name, and applies to present users at once. It survives restarts and ends on time.

A client that exceeds its rate limit waits: after `flood-burst` commands the server runs only \
`flood-rate` a second, and the rest of the input stays in the kernel (backpressure). Some \
commands count as several (WHO, LIST, JOIN). Connections are limited for each address, each \
network (`network-bits`) and in all, and so are unfinished registrations, accounts, changes of \
nick and new people to write to. Loopback and UNIX sockets are exempt from limits of connections \
(`limits-exempt`). A kill resets the rate limits; everything else survives it.

Others see a cloak instead of an address: three keyed digests, of the address and the two \
networks around it, so a channel bans a /24 by `*!*@*.SECOND.THIRD.ip`. A user who is logged in \
has the host `ACCOUNT.NETWORK`. The key is in the TAP and nowhere else. Operators with `see` see \
addresses. Channel bans match cloaks only; network bans match addresses, too.

Each use of a privilege is a line in the journal, with `TAPD_OPER`, `TAPD_ACTION` and \
`TAPD_DETAIL` ([The journal](journal.md)), and a notice to operators with mode `s`. `LOCKDOWN` \
restricts who may connect during an attack.
"""

TLS = """
## TLS

The state of a TLS session is in the memory of its process and can't be pickled. A server that \
speaks TLS itself would break promise 3 for those clients, so this one does not. Put a TLS \
terminator in front, which forwards the bytes over loopback or a UNIX socket. That connection \
survives the server's restarts, upgrades and kills like every other, and the terminator keeps \
running, so **clients on TLS do not notice them either**. When the terminator ends, its clients \
lose their connections and reconnect; an always-on user misses nothing.

With HAProxy, which sends the clients' addresses by the PROXY protocol:

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

Beside the clients' port 6667 the network needs a port for HAProxy (`--port 6667 --port \
127.0.0.1:6668`, or a UNIX socket). Tell it that every connection there begins with a header:

<!-- not run: tests/services/irc/state/test_fronts.py sets the same -->
```console
$ tapctl set NAME trusted-proxies=127.0.0.1 proxy-port=6668
```

Versions 1 and 2 are understood, so stunnel (`protocol = proxy`) and nginx \
(`proxy_protocol on` in `stream`) work as well. Anybody who can connect to that port can claim \
any address, so bind it to loopback. Timeouts in front must be longer than `ping` and \
`ping-timeout` together, or idle clients are cut off. Clients on TLS have `671` in their WHOIS. \
Without a header they would all have the terminator's address, share one cloak, and have no \
limits of connections, as loopback.

`tapctl set NAME sts=6697:300` makes clients of the plain port use TLS from then on, for that \
many seconds (IRCv3 sts). Begin with minutes: clients remember it, and you can't revoke it.

Web gateways (KiwiIRC, for example) send a client's address by WEBIRC: `tapctl set NAME \
webirc=192.0.2.7` names the gateway's address and asks for the password.

The kernel could hold the session's keys (kTLS), and such a socket could be in the vault. But \
the kernel then counts received and acknowledged bytes of the encrypted stream, reads whole \
records and passes alerts and new keys (TLS 1.3) to the process as control messages, and the \
handshake stays in user space. The journal could not be compared with the kernel's counts, \
which promise 3 depends on.
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
            ("option", "meaning"),
            ((name, setting.summary) for name, setting in sorted(network.settable.items())),
        ),
        PEOPLE,
        GUARDS,
        TLS,
        "\n## Commands\n",
        "Each needs a complete registration, except those marked.\n",
        _table(("command", "what it does", "who may use it"), _commands()),
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
        "\n## Privileges of operators\n",
        _table(
            ("privilege", "meaning"), ((f"`{name}`", text) for name, text in PRIVILEGES.items())
        ),
        "\n## Numeric replies\n",
        _table(("codes", "group", "numerics"), _numerics()),
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
            "HELP explains each.\n"
        )
        rows = (
            (
                f"`{name} {each.syntax}`".replace(" `", "`"),
                each.help_lines[0],
                f"operators with `{each.privilege}`" if each.privilege else "",
            )
            for name, each in sorted(assistant.commands.items())
        )
        yield _table(("command", "what it does", "who may use it"), rows)


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
