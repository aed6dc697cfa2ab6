"""Stand-ins for `Files`: one that fails on demand, one that knows what a power cut leaves."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tapd.store.files import Files


class Killed(BaseException):
    """The process is dead from here on; nothing that it would still do happens."""


class FailingFiles(Files):
    """Does everything for real, but the Nth call fails.

    Args:
        at: which call fails, counted from 1; 0: none.
        how: an errno; "short": a write of half the data; "kill": no more calls.
    """

    def __init__(self, at: int, how: int | str) -> None:
        self.at = at
        self.how = how
        self.count = 0
        self.failed_in = ""

    def _count(self, name: str) -> bool:
        """Count a call; fail it, or return whether it is to be cut short."""
        self.count += 1
        if self.how == "kill" and self.count >= self.at:
            self.failed_in = self.failed_in or name
            raise Killed
        if self.count != self.at:
            return False
        self.failed_in = name
        if isinstance(self.how, int):
            raise OSError(self.how, os.strerror(self.how))
        return True

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        self._count("open")
        return super().open(path, flags, mode)

    def write(self, fd: int, data: memoryview) -> int:
        is_short = self._count("write")
        return super().write(fd, data[: max(1, len(data) // 2)] if is_short else data)

    def fsync(self, fd: int) -> None:
        self._count("fsync")  # and that is all: no test pulls the plug

    def close(self, fd: int) -> None:
        if self.how == "kill":
            super().close(fd)  # the kernel does that for a dead process
            self._count("close")
            return
        super().close(fd)  # Linux closes the fd even where close(2) reports an error
        self._count("close")

    def rename(self, source: Path, target: Path) -> None:
        self._count("rename")
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._count("link")
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._count("unlink")
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self._count("mkdir")
        super().mkdir(path)


class _File:
    def __init__(self, content: bytes) -> None:
        self.durable = content
        self.current = content

    def variants(self) -> list[bytes]:
        """Return what may be on the disk: old, new, torn, or new in size and zero in content."""
        if self.durable == self.current:
            return [self.durable]
        half = self.current[: len(self.current) // 2]
        return [self.durable, half, bytes(len(self.current)), self.current]


class _Directory:
    def __init__(self) -> None:
        self.current: dict[str, _File | _Directory] = {}
        self.durable: dict[str, _File | _Directory] = {}
        self.pending: list[dict[str, _File | _Directory | None]] = []

    def change(self, change: dict[str, _File | _Directory | None]) -> None:
        _apply(self.current, change)
        self.pending.append(change)

    def sync(self) -> None:
        self.durable = dict(self.current)
        self.pending = []

    def variants(self) -> Iterator[dict[str, _File | _Directory]]:
        """Yield the entries that may be on the disk: any of the pending changes, in order.

        That is weaker than what journaling file systems keep, on purpose.
        """
        for chosen in itertools.product((False, True), repeat=len(self.pending)):
            entries = dict(self.durable)
            for change, is_done in zip(self.pending, chosen, strict=True):
                if is_done:
                    _apply(entries, change)
            yield entries


def _apply(
    entries: dict[str, _File | _Directory], change: dict[str, _File | _Directory | None]
) -> None:
    for name, node in change.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class ModelFiles(Files):
    """Does everything for real below `root` and in a model of the disk.

    `after_call` runs after each call that changes anything; `crashes` then
    yields every tree that a power cut at that moment may leave.
    """

    def __init__(self, root: Path, after_call: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self.after_call = after_call
        self._inodes: dict[int, _File] = {}
        self._tree = self._scan(root)
        self._opened: dict[int, _File | _Directory] = {}

    def _scan(self, directory: Path) -> _Directory:
        node = _Directory()
        for entry in directory.iterdir():
            child: _File | _Directory
            if entry.is_dir():
                child = self._scan(entry)
            else:
                child = self._inodes.setdefault(entry.stat().st_ino, _File(entry.read_bytes()))
            node.change({entry.name: child})
        node.sync()
        return node

    def _node(self, path: Path) -> _File | _Directory:
        node: _File | _Directory = self._tree
        for part in path.relative_to(self.root).parts:
            assert isinstance(node, _Directory)
            node = node.current[part]
        return node

    def _parent(self, path: Path) -> _Directory:
        node = self._node(path.parent)
        assert isinstance(node, _Directory)
        return node

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        if flags & os.O_CREAT and path.name not in self._parent(path).current:
            self._parent(path).change({path.name: _File(b"")})
            self.after_call()
        self._opened[fd] = self._node(path)
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        done = super().write(fd, data)
        node = self._opened[fd]
        assert isinstance(node, _File)
        node.current += bytes(data[:done])
        self.after_call()
        return done

    def fsync(self, fd: int) -> None:
        node = self._opened[fd]
        if isinstance(node, _File):
            node.durable = node.current
        else:
            node.sync()
        self.after_call()

    def close(self, fd: int) -> None:
        super().close(fd)
        del self._opened[fd]

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        assert source.parent == target.parent
        parent = self._parent(source)
        parent.change({source.name: None, target.name: parent.current[source.name]})
        self.after_call()

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._parent(target).change({target.name: self._node(source)})
        self.after_call()

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._parent(path).change({path.name: None})
        self.after_call()

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._parent(path).change({path.name: _Directory()})
        self.after_call()

    def crashes(self) -> Iterator[dict[Path, bytes | None]]:
        """Yield each tree that a power cut now may leave: content by path, None: a directory."""
        yield from self._materialised(self._tree, Path())

    def _materialised(self, node: _Directory, at: Path) -> Iterator[dict[Path, bytes | None]]:
        for entries in node.variants():
            choices: list[list[dict[Path, bytes | None]]] = []
            for name, child in entries.items():
                path = at / name
                if isinstance(child, _File):
                    choices.append([{path: content} for content in child.variants()])
                else:
                    choices.append(
                        [{path: None, **tree} for tree in self._materialised(child, path)]
                    )
            for combination in itertools.product(*choices):
                yield {path: data for part in combination for path, data in part.items()}


def write_tree(root: Path, tree: dict[Path, bytes | None]) -> None:
    """Put a tree yielded by `crashes` on the disk, below `root`."""
    root.mkdir()
    for path, content in tree.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
            (root / path).chmod(0o600)
