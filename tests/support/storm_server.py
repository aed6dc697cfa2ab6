"""Makes a storm server in a booted Debian that has the package."""

from __future__ import annotations

from pathlib import Path

from booted import Booted

_SUPPORT = Path(__file__).parent
_PACKAGES = "/usr/lib/python3/dist-packages"
_MAKE_TAP = """
import sys
from pathlib import Path
from tapd.store.key import load_key
from tapd.store.generations import Store
from storm_service import make_application
name, address = sys.argv[1:]
path = Path(f"/var/lib/tapd/{name}/{name}.tap")
Store(path, load_key()).create(make_application(name, address), force=True)
"""


def start_storm_server(debian: Booted, name: str, address: str) -> None:
    """Make and start the unit tapd@NAME, a storm server at `address`."""
    for module in ("storm.py", "storm_service.py", "storm_on_systemd.py", "many_on_systemd.py"):
        debian.write(f"{_PACKAGES}/{module}", (_SUPPORT / module).read_bytes())
    debian.run("tapd-mktap", "telnet", "--name", name, "--port", address)
    debian.run("python3", "-c", _MAKE_TAP, name, address)
    debian.run("systemctl", "start", f"tapd@{name}")
