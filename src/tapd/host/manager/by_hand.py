"""``tapd FILE.tap`` typed at a shell: finds the ports and becomes the embedded manager.

The ports are in the TAP's manifest, which is authenticated and not pickled: the manager runs
none of the application's code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from tapd.host.manager.manager import ManagerOptions, run_manager
from tapd.model.address import parse_address
from tapd.store.key import Key, load_key
from tapd.store.layout import Layout
from tapd.store.tapfile import Manifest, read_manifest


def manage(
    path: Path,
    command: Sequence[str],
    environ: MutableMapping[str, str],
    options: ManagerOptions | None = None,
) -> int:
    """Run `command` under the embedded manager, with the ports of the TAP at `path`.

    Raises:
        TapdError: there is no good TAP, or a port can't be bound.
    """
    key = load_key(environment=environ)
    addresses = [
        address
        for port in newest_manifest(path, key).ports
        for address in parse_address(port["address"])
    ]
    options = dataclasses.replace(options or ManagerOptions(), name=Layout(path, key).name)
    return run_manager(addresses, command, environ, options)


def newest_manifest(path: Path, key: Key) -> Manifest:
    """Return the manifest of the newest valid TAP of the application at `path`.

    Raises:
        TapdError: there is none; the message says what to do.
    """
    layout = Layout(path, key)
    entries = layout.generations()
    good = next((entry.manifest for entry in entries if entry.manifest is not None), None)
    if good is not None:
        return good
    return read_manifest(layout.named_path, key)
