"""NickServ: nicks. GROUP, UNGROUP, GHOST, REGAIN and RECOVER."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapd.services.irc.assistants.nickserv import own_account
from tapd.services.irc.assistants.table import NICKSERV, Refused, Words
from tapd.services.irc.conduct.presence import move_client, refresh
from tapd.services.irc.conduct.reservation import rename_to_guest
from tapd.services.irc.state.accounts import NICKS_MAX

if TYPE_CHECKING:
    from tapd.services.irc.state.reply import Reply


@NICKSERV.command("GROUP", needs_account=True)
def group(reply: Reply, _words: Words) -> None:
    """Reserve the nick that you have now for your account as well."""
    account, accounts = own_account(reply), reply.network.accounts
    nick = reply.user.nick
    owner = accounts.owner_of(nick)
    if owner is account:
        raise Refused(f"{nick} is yours already")
    if owner is not None or accounts.find(nick) is not None:
        raise Refused(f"{nick} is somebody else's")
    if len(account.nicks) >= NICKS_MAX:
        raise Refused(f"You have {NICKS_MAX} nicks already; UNGROUP one first")
    accounts.reserve(account, nick)
    refresh(reply.network, reply.user)
    NICKSERV.say(reply, f"{nick} is reserved for {account.name}.")


@NICKSERV.command("UNGROUP", "<nick>", needs_account=True)
def ungroup(reply: Reply, words: Words) -> None:
    """Give up a nick that is reserved for your account beside its name."""
    network, nick = reply.network, words[0]
    if not network.accounts.release(own_account(reply), nick):
        raise Refused(f"{nick} is not among your nicks, or it is the account's name (see DROP)")
    NICKSERV.say(reply, f"{nick} is reserved no more.")
    user = network.find_user(nick)
    if user is not None:
        refresh(network, user)


@NICKSERV.command("GHOST", "<nick>", needs_account=True)
def ghost(reply: Reply, words: Words) -> None:
    """Close the connections of whoever has a nick of yours, but for the one you write by."""
    account, network = own_account(reply), reply.network
    user = network.find_user(words[0])
    if user is None:
        raise Refused(f"{words[0]} is not here")
    if network.accounts.owner_of(user.nick) is not account:
        raise Refused(f"{user.nick} is not your nick")
    nick = user.nick
    for each in user.sessions:
        if each is not reply.session:
            each.close(f"GHOST of {nick}, by {reply.user.nick}")
    NICKSERV.say(reply, f"The other connections of {nick} are closed.")


@NICKSERV.command("REGAIN", "<nick>", needs_account=True)
def regain(reply: Reply, words: Words) -> None:
    """Take a nick of yours back from whoever has it.

    Where that is you, with another client or without one (always-on), this client joins you
    there. A stranger is renamed.
    """
    account, network = own_account(reply), reply.network
    nick = words[0]
    if network.accounts.owner_of(nick) is not account:
        raise Refused(f"{nick} is not your nick")
    present = network.find_user(nick)
    if present is reply.user:
        raise Refused(f"You are {nick}")
    if present is not None and present.account == account.name:
        move_client(network, reply, present)
        return
    if present is not None:
        rename_to_guest(network, present, reply)
    network.change_nick(reply.user, nick, reply)
    refresh(network, reply.user)


@NICKSERV.command("RECOVER", "<nick>", needs_account=True)
def recover(reply: Reply, words: Words) -> None:
    """Take a nick of yours back, as REGAIN does."""
    regain(reply, words)
