"""Resets an application to the TAP that `tapd-mktap` made; all later state is set aside.

Nothing is deleted: ``NAME.d`` and ``NAME-shutdown.tap`` are moved to ``NAME.d.old-*`` beside
it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tapd.errors import TapMissing
from tapd.store.files import Files, free_name, sync_directory, writing
from tapd.store.generations import Store
from tapd.store.journal.aside import kept_copies
from tapd.store.layout import read_bytes
from tapd.store.tapfile import parse_tap


def reset(store: Store) -> Path | None:
    """Set aside all files but ``NAME.tap``, under the lock.

    A crash leaves all of them in place, or all of them set aside.

    Returns:
        The new path of the other files; None where there were none.

    Raises:
        TapMissing: ``NAME.tap`` itself is gone.
        TapDamaged, TapForeign: it can't be loaded, so a reset would lose everything.
        StateUnwritable: the directory can't be written.
    """
    if not store.tap_path.is_file():
        raise TapMissing(f"{store.tap_path}: the TAP that was made is gone; see tapctl history")
    parse_tap(read_bytes(store.tap_path), store.key, str(store.tap_path))
    directory, shutdown, files = store.journal_directory, store.shutdown_path, Files()
    has_shutdown = os.path.lexists(shutdown)
    has_journals = bool(store.journal_files() or kept_copies(directory))
    if not has_shutdown and not has_journals and not store.generation_files():
        return None
    with writing(directory):
        if has_shutdown:
            files.link(shutdown, free_name(directory / shutdown.name))
            sync_directory(files, directory)
            files.unlink(shutdown)
        aside = free_name(directory)
        files.rename(directory, aside)
        sync_directory(files, store.directory)
    return aside
