"""Commands about the server: MOTD, LUSERS, VERSION, TIME, INFO, ADMIN, LIST, LINKS, STATS, HELP."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tapd.services.irc.commands.bans import LISTS, send_bans
from tapd.services.irc.conduct.command_table import COMMANDS, command
from tapd.services.irc.conduct.refusal import Refused
from tapd.services.irc.conduct.registration import send_isupport, send_lusers, send_motd
from tapd.services.irc.wire import numerics as n
from tapd.services.irc.wire.masks import matches

if TYPE_CHECKING:
    from tapd.services.irc.state.channel import Channel
    from tapd.services.irc.state.reply import Reply
    from tapd.services.irc.wire.message import Message


def check_server(reply: Reply, message: Message, index: int = 0) -> None:
    """Check that the server named in a command, if any, is this one.

    Raises:
        Refused: it is not (402).
    """
    network = reply.network
    if len(message.params) <= index:
        return
    target = message.params[index]
    if not matches(target, network.server_name) and network.find_user(target) is None:
        raise Refused(n.ERR_NOSUCHSERVER, target)


@command("MOTD")
def motd(reply: Reply, message: Message) -> None:
    """Show the message of the day (modern, "MOTD message")."""
    check_server(reply, message)
    send_motd(reply)


@command("LUSERS")
def lusers(reply: Reply, _message: Message) -> None:
    """Show how many users and channels there are (modern, "LUSERS message")."""
    send_lusers(reply)


@command("VERSION")
def version(reply: Reply, message: Message) -> None:
    """Show the server's version and ISUPPORT (modern, "VERSION message")."""
    check_server(reply, message)
    network = reply.network
    reply.numeric(n.RPL_VERSION, f"{network.version}.", network.server_name, text="tapd")
    send_isupport(reply)


@command("TIME")
def time(reply: Reply, message: Message) -> None:
    """Show the server's time (modern, "TIME message")."""
    check_server(reply, message)
    now_s = reply.network.now_s()
    moment = dt.datetime.fromtimestamp(now_s, dt.UTC)
    reply.numeric(
        n.RPL_TIME,
        reply.network.server_name,
        text=moment.strftime("%A %B %d %Y -- %H:%M:%S +00:00"),
    )


@command("INFO")
def info(reply: Reply, message: Message) -> None:
    """Show what this server is (modern, "INFO message")."""
    check_server(reply, message)
    network = reply.network
    for line in (
        f"{network.version}: an IRC server of tapd.",
        "Its whole self is a file, and its clients stay through restarts.",
    ):
        reply.numeric(n.RPL_INFO, text=line)
    reply.numeric(n.RPL_ENDOFINFO)


@command("ADMIN")
def admin(reply: Reply, message: Message) -> None:
    """Show who runs this server (modern, "ADMIN message")."""
    check_server(reply, message)
    network = reply.network
    if not any(network.admin):
        raise Refused(n.ERR_NOADMININFO, network.server_name)
    place, more, contact = network.admin
    reply.numeric(n.RPL_ADMINME, network.server_name)
    reply.numeric(n.RPL_ADMINLOC1, text=place)
    reply.numeric(n.RPL_ADMINLOC2, text=more)
    reply.numeric(n.RPL_ADMINEMAIL, text=contact)


@command("LINKS")
def links(reply: Reply, _message: Message) -> None:
    """List the servers of the network: this one (modern, "LINKS message")."""
    network = reply.network
    name = network.server_name
    reply.numeric(n.RPL_LINKS, name, name, text=f"0 {network.network_name}")
    reply.numeric(n.RPL_ENDOFLINKS, "*")


@command("STATS")
def stats(reply: Reply, message: Message) -> None:
    """Show figures of the server: ``u``, its age; operators: bans (``k d x e``)."""
    if not message.params:
        raise Refused(n.ERR_NEEDMOREPARAMS, "STATS")
    letter = message.params[0][:1]
    network = reply.network
    if letter == "u":
        minutes, seconds = divmod(int(network.now_s() - network.created_s), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        text = f"Server Up {days} days {hours}:{minutes:02d}:{seconds:02d}"
        reply.numeric(n.RPL_STATSUPTIME, text=text)
    elif letter in LISTS:
        send_bans(reply, letter)
    reply.numeric(n.RPL_ENDOFSTATS, letter or "*")


@command("HELP")
def help_(reply: Reply, message: Message) -> None:
    """Tell about a command, or list them all (modern, "HELP message")."""
    subject = message.params[0].upper() if message.params else "*"
    if subject == "*":
        lines = ["The commands of this server; HELP COMMAND tells more."]
        lines += sorted(COMMANDS)
    elif subject in COMMANDS:
        about = COMMANDS[subject]
        lines = [subject, about.summary]
        if about.privilege:
            lines.append(f"For operators with the privilege {about.privilege}.")
    else:
        raise Refused(n.ERR_HELPNOTFOUND, subject)
    reply.numeric(n.RPL_HELPSTART, subject, text=lines[0])
    reply.numeric(n.RPL_HELPTXT, subject, text="")
    for line in lines[1:]:
        reply.numeric(n.RPL_HELPTXT, subject, text=line)
    reply.numeric(n.RPL_ENDOFHELP, subject, text="End of /HELP")


@command("HELPOP")
def helpop(reply: Reply, message: Message) -> None:
    """Tell about a command, as some clients ask for it."""
    help_(reply, message)


# --- LIST -----------------------------------------------------------------------------

Condition = Callable[["Channel"], bool]
_NUMBER_CONDITION = re.compile(r"([CTct]?)([<>])([0-9]{1,9})\Z")


@command("LIST")
def list_channels(reply: Reply, message: Message) -> None:
    """List channels (modern, "LIST message"), with the conditions of ISUPPORT ELIST."""
    asker = reply.user
    words = [word for param in message.params[:2] for word in param.split(",") if word]
    now_s = reply.network.now_s()
    named: list[Channel] | None = None
    conditions = []
    for word in words:
        condition = _condition(word, now_s)
        if condition is not None:
            conditions.append(condition)
            continue
        channel = reply.network.find_channel(word)
        named = [*(named or []), *([channel] if channel is not None else [])]
    reply.numeric(n.RPL_LISTSTART, "Channel")
    for channel in reply.network.channels.values() if named is None else named:
        if channel.is_visible_to(asker) and all(holds(channel) for holds in conditions):
            reply.numeric(
                n.RPL_LIST, channel.name, str(len(channel.members)), text=channel.topic
            )  # fmt: skip
    reply.numeric(n.RPL_LISTEND)


def _condition(word: str, now_s: float) -> Condition | None:
    """Parse a word of LIST as a condition; None if it names a channel.

    ELIST: C (creation) and T (topic), in minutes; U (users); M and N (masks).
    """
    asked = _NUMBER_CONDITION.match(word)
    if asked is not None:
        return _number_condition(asked[1].upper(), asked[2] == "<", int(asked[3]), now_s)
    if word[:1] == "!" and len(word) > 1:
        return lambda channel: not matches(word[1:], channel.name)
    if "*" in word or "?" in word:
        return lambda channel: matches(word, channel.name)
    return None


def _number_condition(kind: str, is_less: bool, number: int, now_s: float) -> Condition:
    since_s = now_s - number * 60
    if kind == "C":
        return lambda channel: (channel.created_s > since_s) == is_less
    if kind == "T":
        return lambda channel: bool(channel.topic) and (channel.topic_s > since_s) == is_less
    if is_less:
        return lambda channel: len(channel.members) < number
    return lambda channel: len(channel.members) > number
