"""The irc server type: an IRC network with durable state.

The specifications are modern.ircdocs.horse, RFC 1459 and 2812, and the IRCv3 specifications
(ircv3.net). A floor imports only from those before it:

| floor | what | modules |
|---|---|---|
| `events` | journal events of IRC networks | |
| `wire` | bytes to messages and back, sans-IO | `message`, `names`, `masks` |
| | tables: numeric replies, ISUPPORT | `numerics`, `isupport` |
| | tables: capabilities with the bits that are in TAPs | `capabilities` |
| | tables: channel and user modes, with what each forbids | `modes`, `mode_changes` |
| | outgoing messages, and events that can be stored | `delivery` |
| | the digests behind cloaked hosts | `cloak` |
| | protocols of users, channels and so on, for typing | `roles` |
| `state` | the network (root and indexes), users, channels | `network`, `user`, `channel` |
| | a client's state, and the replies of its commands | `reply` |
| | accounts, SASL; a registered channel's access list and locks | `accounts`, `sasl`, `grants` |
| | bans, limits and rate limits, front ends | `bans`, `limits`, `fronts` |
| | conversations, WHOWAS, MONITOR, operator entries | `history`, `whowas`, `monitor`, `opers` |
| | assembly of multiline messages | `multiline` |
| `conduct` | a client's connection: input to commands | `session`, `command_table` |
| | announcing events and modes; refusals | `announce`, `refusal` |
| | admission control; flood protection | `admission`, `flood` |
| | completing a registration, the welcome; logging in and out | `registration`, `login` |
| | password checks in a thread, started again after a kill | `checking` |
| | joining and leaving channels; playback of history | `membership`, `playback` |
| | account and host of a user, and announcing changes | `identity` |
| | reserved nicks | `reservation` |
| | users with several clients or none (always-on) | `presence` |
| | audit of operators' actions: the log, notices | `audit` |
| `assistants` | NickServ and ChanServ: a table, and functions | `table`, ... |
| `commands` | the commands, a module for each subject | |
| `settings` | `tapctl set` | `server`, `guards`, `people` |
| `service` | what runs by itself: start, time-outs | |
| `options` | `tapd-mktap irc` | |
| `listing` | `docs/irc.md`, rendered from the tables | |

**A command** is one function with the decorator `conduct.command_table.command`, in any
module of `commands` (new modules are found automatically). **A capability, a mode, a
token, a numeric** is one line in its table. `docs/irc.md` lists them all; a test
renders it from the tables (``python -m tapd.services.irc.listing`` writes it).

**State.** A `User` is a person, a `Session` a connection: a user may have several
or none. Everything is reached from `Network`. What is volatile (``_v_``) is made
again when it is missing: the audience of a channel, counts, when a client was last
heard. A message costs no state of its own but what `Network.record` keeps.

**Where things connect.** History: `Network.record` sees each event of each target, and
`delivery.Event` is a tuple to keep and to render again; `Reply.send_batch` sends it.
Log-ins: `identity.set_account` and `.tell_login`; passwords by `checking.start_check`;
`registration.complete` lets a client in, and attaches it to the existing user of the
same account, if any (`User.always_on` keeps one without clients). Bans and
limits of connections: `admission`, which is asked by `IrcNetwork.build_protocol`, by
`Session.connection_made`, by `registration.complete`, after a login and after NICK.
Pace: `Session._run_lines` and `flood.COSTS`. Cloaks: `Network.host_for` and
`.host_of`; whatever changes what that returns calls `identity.show_host`.
Privileges: a line in `opers.PRIVILEGES` and ``privilege=`` of a command, which is then
logged whenever it is run.
Capabilities that come and go: `commands.negotiation.announce`.

**Sending.** A command answers by its `state.reply.Reply`: the session, or what
collects the response to a label. It refuses by raising `conduct.refusal.Refused` (a
numeric) or `Fail`. Every event of a channel passes `conduct.announce.announce`: it is
recorded, sent to the members, and last, by the reply, to the client that caused it.
`set_modes` there sets modes. `Network.tell_others` sends to those who share a channel.
"""

from __future__ import annotations

from tapd.services.irc.commands import load_commands
from tapd.services.irc.service import IrcNetwork

load_commands()

__all__ = ["IrcNetwork"]
