"""What the service manager and the kernel allow: how many connections, how many kept."""

from __future__ import annotations

from collections.abc import Mapping

from tapd.linux.processes import open_files_max

SPARE_FDS = 64
"""What a daemon has open beside its connections."""


def most_connections() -> int:
    """Return how many connections the limit of open files leaves room for."""
    limit = open_files_max()
    return max(limit - SPARE_FDS, limit // 2)


def store_descriptors_max(environ: Mapping[str, str]) -> int | None:
    """Return how many descriptors the fd store takes; None where it is not said.

    systemd says it from version 254 on, and the embedded manager does.
    """
    text = environ.get("FDSTORE", "")
    return int(text) if text.isascii() and text.isdigit() else None


def check_limits(
    environ: Mapping[str, str], connections: int, segment_connections: int = 200
) -> list[str]:
    """Return, in words, which of `connections` would be unprotected, and why.

    Call it before `Notifier.from_environ` has taken NOTIFY_SOCKET away. Empty
    where all is well, as far as the manager says what it allows.
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
    needed = -(-connections // segment_connections) * 2  # twice: for segments half dead
    if stored_max is not None and stored_max < needed:
        problems.append(
            f"FileDescriptorStoreMax={stored_max} protects about "
            f"{stored_max * segment_connections // 2} connections, not the {connections} that are "
            f"configured: further ones end when the process is killed. Set "
            f"FileDescriptorStoreMax={needed} or more"
        )
    return problems
