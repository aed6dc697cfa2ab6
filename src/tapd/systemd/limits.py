"""Kernel and service manager limits on open and stored connections."""

from __future__ import annotations

from collections.abc import Mapping

from tapd.linux.processes import open_files_max

SPARE_FDS = 64
"""Descriptors reserved for everything but connections."""


def most_connections() -> int:
    """Return how many connections the limit of open files allows."""
    limit = open_files_max()
    return max(limit - SPARE_FDS, limit // 2)


def store_descriptors_max(environ: Mapping[str, str]) -> int | None:
    """Return how many descriptors the fd store takes; None if unknown.

    systemd passes it from version 254 on, and so does the embedded manager.
    """
    text = environ.get("FDSTORE", "")
    return int(text) if text.isascii() and text.isdigit() else None


def check_limits(
    environ: Mapping[str, str], connections: int, segment_connections: int = 200
) -> list[str]:
    """Return, in words, how many of `connections` would be unprotected, and why.

    Call it before `Notifier.from_environ`, which removes NOTIFY_SOCKET. Returns "" if the
    limits that the manager tells are sufficient.
    """
    problems = []
    limit = open_files_max()
    if limit < connections + SPARE_FDS:
        problems.append(
            f"LimitNOFILE={limit} allows about {max(0, limit - SPARE_FDS)} connections, not the "
            f"{connections} that are configured: further ones wait unanswered. Set "
            f"LimitNOFILE={connections + SPARE_FDS} or more"
        )
    if not environ.get("NOTIFY_SOCKET"):
        problems.append(
            "there is no service manager to keep connections: all end when the process is killed"
        )
        return problems
    stored_max = store_descriptors_max(environ)
    needed = -(-connections // segment_connections) * 2  # twice: segments may be half dead
    if stored_max is not None and stored_max < needed:
        problems.append(
            f"FileDescriptorStoreMax={stored_max} protects about "
            f"{stored_max * segment_connections // 2} connections, not the {connections} that are "
            f"configured: further ones end when the process is killed. Set "
            f"FileDescriptorStoreMax={needed} or more"
        )
    return problems
