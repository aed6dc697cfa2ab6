"""NickServ and ChanServ: accounts and channels, by commands in plain words.

They are not users: messages to their nicks, and the commands NS and CS, run functions of
a table.

| what | module |
|---|---|
| the table, how a line is run, HELP | `table` |
| accounts: REGISTER, IDENTIFY, SET, ... | `nickserv` |
| taking one's nick back: GHOST, REGAIN | `nickserv_nicks` |
| operators' commands for accounts | `nickserv_opers` |
| channels: REGISTER, ACCESS, SET, ... | `chanserv` |
| ranks, invitations and bans on one's channels | `chanserv_members` |

**To add a command**: one function with the decorator `Assistant.command` in a module
here; its docstring is the help text. Modules are found automatically.
"""

from __future__ import annotations

import importlib
import pkgutil


def load_assistants() -> None:
    """Import every module of this package, which fills the tables."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
