"""Confirmation codes, so that nothing is dropped by mistake.

A code is derived from the network's secret and its purpose, so none is stored.
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
    """Check a typed code.

    Raises:
        Refused: it is wrong.
    """
    if not hmac.compare_digest(given.lower().encode(), code.encode()):
        raise Refused("That is not the code; the command without one tells it")
