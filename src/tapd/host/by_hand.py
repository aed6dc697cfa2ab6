"""``tapd FILE.tap`` typed at a shell: find the ports, become the embedded manager.

The ports are in the TAP's manifest, which is authenticated but needs no
unpickling: the manager runs none of the application's code.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from tapd.host.manager import run_manager
from tapd.image.key import load_key
from tapd.image.store import Store
from tapd.model.address import Address

log = logging.getLogger(__name__)


def manage(path: Path, command: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run `command` under the embedded manager, with the ports of the TAP at `path`.

    Raises:
        TapdError: there is no good TAP, or a port can't be bound.
    """
    store = Store(path, load_key(environment=environ))
    manifest = store.newest_manifest()
    addresses = [Address(**port["address"]) for port in manifest.ports]
    return run_manager(addresses, command, environ)
