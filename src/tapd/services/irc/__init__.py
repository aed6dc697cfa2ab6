"""The irc server type: an IRC network that remembers.

Imports what is above `services` only. The law is modern.ircdocs.horse, RFC 1459
and 2812, and the IRCv3 specifications (ircv3.net). Where things are:

| what | module |
|---|---|
| bytes to messages and back, sans-IO | `message` |
| names, their limits, when two are the same | `names` |
| masks: ``nick!user@host``, accounts | `masks` |
| numeric replies: a table | `numerics` |
| ISUPPORT: a table of tokens | `isupport` |
| capabilities: a table, with the bits that are in TAPs | `capabilities` |
| channel and user modes: a table, with what each forbids | `modes` |
| a message on its way out, and an event that can be kept | `delivery` |
| the data: the network (root and indexes), users, channels | `network`, `user`, `channel` |
| a client's connection: input to commands | `session` |
| where a command answers, refusals, announcements, modes that are set | `telling.*` |
| joining and leaving a channel | `membership` |
| a message of several lines, while it comes | `multiline` |
| completing a registration, the welcome | `registration` |
| account and host of a user, and who is told when they change | `identity` |
| work in a thread that survives a kill (password hashes) | `checking` |
| commands: a table, and a module for each subject | `commands.table`, `commands.*` |
| NickServ and ChanServ: a table, and functions | `assistants.table`, `assistants.*` |
| whose nick is whose; a registered channel's access list and locks | `reservation`, `grants` |
| several clients of a user or none (always-on), what they missed | `presence` |
| bans and exempts; who may come in, and stay | `bans`, `admission` |
| limits, and clients that are too fast | `limits`, `flood` |
| addresses, networks, cloaks | `addresses`, `cloak` |
| proxies, web gateways, TLS in front | `fronts`, `proxy` |
| what operators did: the log, notices | `audit` |
| operator entries, WHOWAS, MONITOR | `opers`, `whowas`, `monitor` |
| `tapctl set`, `tapd-mktap irc` | `settings`, `guard_settings`, `options` |

**A command** is one function with the decorator `commands.table.command`, in any
module of `commands` (new ones are found by themselves). **A capability, a mode, a
token, a numeric** is one line in its table. `docs/irc.md` lists them all; a test
renders it from the tables (``python -m tapd.services.irc.settings.listing`` writes it).

**State.** A `User` is a person, a `Session` a connection: a user may have several
or none. Everything is reached from `IrcNetwork`. What is volatile (``_v_``) is made
again when it is missing: the audience of a channel, counts, when a client was last
heard. A message costs no state of its own but what `IrcNetwork.record` keeps.

**What joins where.** History: `IrcNetwork.record` sees each event of each target, and
`delivery.Event` is a tuple to keep and to render again; `Reply.send_batch` sends it.
Log-ins: `identity.set_account` and `.tell_login`; passwords by `checking.start_check`;
`registration.complete` lets a client in, and brings one of the same account to the
user who is there (`User.always_on` keeps one without clients). Bans and
limits of connections: `admission`, which is asked by `IrcNetwork.build_protocol`, by
`Session.connection_made`, by `registration.complete`, after a login and after NICK.
Pace: `Session._run_lines` and `flood.COSTS`. Cloaks: `IrcNetwork.host_for` and
`.host_of`; whatever changes what that returns calls `identity.show_host`.
Privileges: a line in `opers.PRIVILEGES` and ``privilege=`` of a command, which is then
logged whenever it is run.
Capabilities that come and go: `commands.negotiation.announce`.

**Sending.** A command answers by its `telling.reply.Reply`: the session, or what
collects the response to a label. It refuses by raising `telling.refusal.Refused` (a
numeric) or `Fail`. What happens on a channel passes `telling.announce.announce`: it is
recorded, told to the members, and last, by the reply, to who did it. Modes are set by
`set_modes` there. To those who share a channel: `IrcNetwork.tell_others`.
"""

from __future__ import annotations

from tapd.services.irc.commands import load_commands
from tapd.services.irc.state.network import IrcNetwork

load_commands()

__all__ = ["IrcNetwork"]
