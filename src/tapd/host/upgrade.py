"""Live upgrade: a reload switches to new code on disk, if that loads the saved state.

A process can't exchange its running code, and need not: connections are in the vault, so the
next process gets them. But the next process must be able to start. So a reload saves and then
*rehearses*: a fresh child process imports the new code, loads what was just saved and
upgrades it, in memory only. If that works, this process stops cleanly and the service manager
starts the next one. If not, it goes on serving with the old code, and the log says why.
``tapctl verify --upgrade`` calls the same function, `load_with_present_code`.

``python -m tapd.host.upgrade TAP [MISSING]...`` is the rehearsal; it tolerates the classes
given as MISSING.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tapd.errors import TapdError, UpgradeRefused
from tapd.image.evolution.names import why_broken
from tapd.image.evolution.stand_ins import reason_of
from tapd.image.pickling.pickler import dump_graph
from tapd.image.unfit import kept_of, refuse
from tapd.linux.processes import offer_to_oom_killer
from tapd.model.application import Application
from tapd.model.order import check_classes, start_order
from tapd.model.source_location import describe_origin
from tapd.store.key import load_key
from tapd.store.layout import Entry, Layout
from tapd.store.state import Restored, State
from tapd.values import Value

REHEARSAL_S = 600.0
_OURS_ONLY = (
    "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
)  # fmt: skip
_REFUSED = "tapd: refused: "
_PYTHON = "Python itself"
_NAMED_MAX = 5


class _Stamp(Value):
    """Identifies one version of a file."""

    mtime_ns: int
    size: int
    inode: int


def _stamp(path: str) -> _Stamp | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def name_modules(names: Sequence[str]) -> str:
    """Return `names` for people: the first few, and how many more there are."""
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


class LoadedCode:
    """The files of the modules that this process has imported, as they were then.

    Python's own executable stands for the whole standard library, which changes with it.
    """

    def __init__(self, began_ns: int) -> None:
        """Record what is imported now.

        Args:
            began_ns: when the imports began, in nanoseconds since the epoch.
        """
        self._began_ns = began_ns
        self._stamps: dict[str, _Stamp] = {}
        self._stdlib = f"{Path(os.__file__).parent}{os.sep}"
        for path in self._files().values():
            stamp = _stamp(path)
            if stamp is not None and stamp.mtime_ns <= began_ns:
                self._stamps[path] = stamp

    def find_changed(self) -> list[str]:
        """Return the names of modules whose files were changed or deleted."""
        changed = []
        for name, path in self._files().items():
            before, now = self._stamps.get(path), _stamp(path)
            if before is None:
                # Imported later, or changed during the import: a file newer than this process may
                # differ from the code it runs. Assume that it does.
                if now is not None and now.mtime_ns > self._began_ns:
                    changed.append(name)
            elif now != before:
                changed.append(name)
        return sorted(changed)

    def _files(self) -> dict[str, str]:
        files = {_PYTHON: sys.executable} if sys.executable else {}
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if not isinstance(path, str) or self._is_stdlib(path):
                continue
            files[name] = path
        return files

    def _is_stdlib(self, path: str) -> bool:
        return path.startswith(self._stdlib) and "-packages" not in path


async def rehearse(tap_path: Path, environ: Mapping[str, str], known: Collection[str] = ()) -> None:
    """Have a new process load the newest generation with the code on the disk.

    The result is discarded; the lock and the files are not touched. Cancelling kills the
    process.

    Args:
        tap_path: the application's.
        environ: this process's.
        known: what to tolerate (`missing_names`).

    Raises:
        UpgradeRefused: it did not load, or took longer than `REHEARSAL_S`, or no process
            or file is available to try it.
    """
    try:
        # The same module search path as this process: with or without the current directory.
        flags = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
        child = await asyncio.create_subprocess_exec(
            sys.executable, *flags, "-m", "tapd.host.upgrade", str(tap_path), *known,
            env={name: value for name, value in environ.items() if name not in _OURS_ONLY},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise UpgradeRefused(f"no process could be made to try it: {error.strerror}") from error
    try:
        async with asyncio.timeout(REHEARSAL_S):
            _nothing, said = await child.communicate()
    except TimeoutError:
        raise UpgradeRefused(f"the new code did not load within {REHEARSAL_S:g} s") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = said.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        reason = next((line for line in reversed(lines) if line.startswith(_REFUSED)), lines[-1])
        raise UpgradeRefused(reason.removeprefix(_REFUSED))


def missing_names(application: Application) -> list[str]:
    """Return classes that the running code lacks or can't use, each ``module:qualname``."""
    missing = {f"{module}:{name}" for module, name in why_broken}
    kept = kept_of(application)
    return sorted(missing if kept is None else missing | kept.names)


def load_with_present_code(
    layout: Layout, entry: Entry, missing_before: Collection[str] = ()
) -> Restored:
    """Load a generation and its journals as a start would, including upgrades.

    Changes no file and needs no lock. A start accepts more: it keeps objects of a missing or
    changed class as they are. Here that is refused, since the new code is at fault; they fitted
    when they were saved.

    Args:
        layout: of the files.
        entry: which generation.
        missing_before: names that the code which saved it did not find, or could not
            use, either.

    Raises:
        UpgradeRefused: a class is missing, or its objects don't fit or could not be
            upgraded.
        TapdError: it can't be loaded, or can't be served.
    """
    why_broken.clear()
    try:
        restored = State(layout.named_path, layout.key).try_to_restore(entry)
    except (TapdError, MemoryError):
        raise
    except BaseException as error:  # raised by the new code: report it in full, without a traceback
        raise UpgradeRefused(
            f"loading it failed: {reason_of(error)}{describe_origin(error)}"
        ) from error
    missing: dict[str, list[str]] = {}
    for (module, name), why in why_broken.items():
        if f"{module}:{name}" not in missing_before:
            missing.setdefault(why, []).append(f"{module}:{name}")
    if missing:
        needed = "; ".join(f"{', '.join(names)} ({why})" for why, names in missing.items())
        raise UpgradeRefused(f"the saved state needs {needed}")
    refuse(restored.kept, missing_before)
    _try_to_save(restored)
    check_classes(restored.application)
    start_order(restored.application)
    return restored


def _try_to_save(restored: Restored) -> None:
    """Check that the loaded state could be saved again.

    Raises:
        UpgradeRefused: the new code loads an object and then can't save it.
    """
    known = {loss.get("type_name") for loss in restored.loaded.manifest.losses}
    lost = [loss for loss in dump_graph(restored.application).losses if loss.type_name not in known]
    if lost:
        raise UpgradeRefused(
            f"what loads could not be saved again, and would be lost: {lost[0]}"
            + (f"; and {len(lost) - 1} more" if len(lost) > 1 else "")
        )


def main() -> None:
    """Rehearse; on failure print why, in one line."""
    offer_to_oom_killer()  # the server must not go instead
    try:
        layout = Layout(Path(sys.argv[1]), load_key(environment=os.environ))
        entry = next(entry for entry in layout.generations() if entry.error is None)
        load_with_present_code(layout, entry, missing_before=sys.argv[2:])
    except TapdError as error:
        sys.exit(f"{_REFUSED}{' '.join(str(error).split())}")
    except Exception as error:
        sys.exit(f"{_REFUSED}{type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
