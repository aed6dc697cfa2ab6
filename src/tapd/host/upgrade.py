"""Live upgrade of code: a reload that finds new code on the disk goes on with it.

A process can't exchange the code that it runs, and need not: connections are in the
vault, so the next process has them. What must not happen is that the next one can't
start. Therefore a reload saves, then *rehearses*: a child process, started afresh,
imports the new code, loads what was just saved and brings it to the new versions,
in memory only. If that works, this process stops cleanly and its service manager starts
the next one; if not, it serves on with the old code, and the log says why. ``tapctl
verify --upgrade`` asks the same function, `load_with_present_code`.

Imports `errors`, `model`, `image` and `store.state`. Run as ``python -m tapd.host.upgrade
TAP [MISSING]...`` it is the rehearsal; it puts up with the classes that are MISSING.
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
from tapd.model.places import describe_origin
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
    """What tells one version of a file from another."""

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

    Python's own file stands for all of the standard library, which changes with it.
    """

    def __init__(self, began_ns: int) -> None:
        """Take note of what is imported now.

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
        """Return the names of the modules whose files are others now, or gone."""
        changed = []
        for name, path in self._files().items():
            before, now = self._stamps.get(path), _stamp(path)
            if before is None:
                # Imported later, or written while it was: what was written since this
                # process began may differ from what it runs. To be sure, it does.
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

    Nothing is kept of it, and it touches neither the lock nor the files. Cancelled, it
    ends the process.

    Args:
        tap_path: the application's.
        environ: this process's.
        known: what it puts up with (`missing_names`).

    Raises:
        UpgradeRefused: it did not load, or took longer than `REHEARSAL_S`, or there is
            no process or file left to try it.
    """
    try:
        # It looks for modules where this process does: in the current directory, or not.
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
    """Return what the code that runs now lacks, or has and can't use, each ``module:qualname``."""
    missing = {f"{module}:{name}" for module, name in why_broken}
    kept = kept_of(application)
    return sorted(missing if kept is None else missing | kept.names)


def load_with_present_code(
    layout: Layout, entry: Entry, missing_before: Collection[str] = ()
) -> Restored:
    """Load a generation and the journals since as a start would, upgrades included.

    No file is changed, and none needs a lock. A start is content with less: of a class
    that is missing, or that can't take them, it keeps the objects as they are. Here that
    is refused, since it is the new code's fault; they fitted when they were saved.

    Args:
        layout: of the files.
        entry: which generation.
        missing_before: names that the code which saved it did not find, or could not
            use, either.

    Raises:
        UpgradeRefused: a class is missing, or its objects don't fit or could not be
            upgraded.
        TapdError: it can't be loaded, or not be served.
    """
    why_broken.clear()
    try:
        restored = State(layout.named_path, layout.key).try_to_restore(entry)
    except (TapdError, MemoryError):
        raise
    except BaseException as error:  # the code's own: no word of it may be lost, nor traced
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
    """Check that what was loaded could be saved again, as it was.

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
    """Rehearse, and say in a line why it failed."""
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
