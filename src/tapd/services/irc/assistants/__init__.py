"""NickServ and ChanServ: people's accounts and channels, by commands in plain words.

Imports what is above it in the package. They are no users: whoever writes to their
nicks, or sends the commands NS and CS, talks to a table of functions.

| what | module |
|---|---|
| the table, how a line is run, HELP | `table` |
| accounts: REGISTER, IDENTIFY, SET, ... | `nickserv` |
| other people who have one's nick: GHOST, REGAIN | `nickserv_nicks` |
| what operators do with accounts | `nickserv_opers` |
| channels: REGISTER, ACCESS, SET, ... | `chanserv` |
| ranks, invitations and bans on one's channels | `chanserv_members` |

**To add a command**: one function with the decorator `Assistant.command` in a module
here; its docstring is the help text. They are found by themselves.
"""

from __future__ import annotations

import importlib
import pkgutil


def load_assistants() -> None:
    """Import every module of this package, which fills the tables."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
