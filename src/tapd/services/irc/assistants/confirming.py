"""Codes that people type again, so that nothing is dropped by a slip.

Imports `table` only. A code is made of the network's secret and of what it is for,
so none has to be kept.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from tapd.services.irc.assistants.table import Refused
from tapd.services.irc.wire.names import fold

if TYPE_CHECKING:
    from tapd.services.irc.state.network import Network


def code_for(network: Network, kind: str, name: str, since_s: float) -> str:
    """Return the code for dropping the `kind` of thing of that name, made at `since_s`."""
    text = f"{kind} {fold(name)} {since_s}"
    return hmac.digest(network.accounts.secret, text.encode(), "sha256")[:4].hex()


def check_code(given: str, code: str) -> None:
    """Check a code that was typed.

    Raises:
        Refused: it is another.
    """
    if not hmac.compare_digest(given.lower().encode(), code.encode()):
        raise Refused("That is not the code; the command without one tells it")
