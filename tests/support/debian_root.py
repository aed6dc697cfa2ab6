"""Root file systems of Debian, made once and kept in a cache outside of the checkout.

Each is made by mmdebstrap from the mirror that this machine's own apt uses, so
that no address stands here. A finished one is renamed into place, so that two
runs at once, or one that was interrupted, never leave half of one behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "autopkgtest",
    "bash-completion",
    "dbus",
    "dpkg-repack",
    "inetutils-telnet",
    "iproute2",
    "libnss-systemd",
    "libpam-systemd",
    "lintian",
    "man-db",
    "mandoc",
    "netcat-openbsd",
    "procps",
    "python3",
    "python3-argon2",
    "python3-btrees",
    "python3-click",
    "python3-persistent",
    "python3-pip",
    "python3-pytest",
    "python3-sdnotify",
    "python3-setuptools",
    "python3-systemd",
    "python3-wheel",
    "strace",
    "systemd",
    "systemd-sysv",
    "telnet-ssl",
)
"""What a system needs that tapd's package and its tests are tried on."""


def cache_directory() -> Path:
    """Return where the root file systems are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapd"


def find_mirror() -> str:
    """Return the Debian mirror of this machine's apt configuration.

    Raises:
        LookupError: apt is set up for no Debian suite.
    """
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
         "Created-By: Packages"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for line in listing.splitlines():
        uri, release, component = line.split(" ", 2)
        if component == "main" and release in (
            "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable",
        ):  # fmt: skip
            return uri
    raise LookupError("apt's configuration names no mirror of a Debian suite")


def debian_root(suite: str) -> Path:
    """Return a root file system of `suite`, never to be changed; make it where it is missing.

    Takes some 20 s where it is made, and the mirror.
    """
    recipe = "\n".join(["minbase", *PACKAGES])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    root = cache_directory() / f"rootfs-{suite}-{digest}"
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / f".{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            _make(suite, root)
    return root


def _make(suite: str, root: Path) -> None:
    unfinished = root.with_name(f".{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    made = subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
         f"--include={','.join(PACKAGES)}", suite, unfinished, find_mirror()],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(f"mmdebstrap {suite} failed:\n{made.stderr}")
    unfinished.rename(root)
