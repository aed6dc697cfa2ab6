"""Strict mode for authors: verifies every commit, and treats any loss as a failure.

After each turn the jar restores what the journal says and compares it with the application in
memory (`image.tracking.strict`). So a change that tapd did not see fails the test in the turn
that made it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tapd.errors import UntrackedChange
from tapd.image.loss import Loss, type_name_of
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.strict import StrictJar
from tapd.model.durable.persistent import Tracked
from tapd.testing.comparison import Comparison, Difference, is_one_of, walk
from tapd.testing.failures import LostState

ALL = 1 << 62
"""Verify every commit."""


class CheckingJar(StrictJar):
    """A strict jar whose findings have paths that begin at the application."""

    def __init__(self, allow_losses: Sequence[str] = (), proofs: int = ALL) -> None:
        """Begin.

        Args:
            allow_losses: patterns of paths that may be lost.
            proofs: how many commits to verify; later ones are only checked for losses.
        """
        super().__init__()
        self._allow_losses = allow_losses
        self._proofs = proofs

    def adopt(self, root: Any, durables: Iterable[Any] = ()) -> dict[int, Any]:
        """Take in the graph of `root`."""
        self._root = root
        return Jar.adopt(self, root, durables)

    def begin_proofs(self) -> None:
        """Take the current graph as verified, if anything is to be verified."""
        if self._proofs:
            super().begin_proofs()

    def commit(self) -> Changes:
        """Return what changed; verify it if that is due.

        Raises:
            LostState, UntrackedChange: see `compare`.
        """
        if self._proofs:
            self._proofs -= 1
            return super().commit()
        changes = Jar.commit(self)
        if self.losses:
            check_losses(self.losses, self._root, self._allow_losses)
        return changes

    def compare(self, restored: Any, live: Any) -> None:
        """Raise if the journal would not restore what is in memory.

        Raises:
            LostState: something can't be saved.
            UntrackedChange: something changed unseen, or one object would become two.
        """
        __tracebackhide__ = True
        check_losses(self.losses, live, self._allow_losses)
        difference = Comparison().compare(restored, live)
        if difference is not None:
            raise UntrackedChange(explain_untracked(difference, live))


def check_losses(losses: Iterable[Loss], root: Any, allowed: Sequence[str]) -> None:
    """Raise `LostState` for the first of `losses` whose path matches none of `allowed`."""
    __tracebackhide__ = True
    for loss in losses:
        path = _full_path(loss, root)
        if not is_one_of(path, allowed):
            raise LostState(
                f"{path} can't be saved: it is a {loss.type_name} ({loss.reason}).\n"
                "  After a kill there would be a placeholder in its place, and the first use of "
                f"it would fail.\n  {_advice(loss)}\n"
                f"  If it may be lost: allow_losses=[{path!r}]"
            )


def _full_path(loss: Loss, root: Any) -> str:
    """Return the path of the lost object from the application.

    A commit gives the path from the nearest durable object, after the name of its class.
    """
    steps = loss.path[len(re.match(r"[^.\[]*", loss.path)[0]) :]  # type: ignore[index]  # "" matches
    for path, value in walk(root):
        if f".{path}".endswith(steps) and type_name_of(type(value)) == loss.type_name:
            return path
    return steps.lstrip(".")


def _advice(loss: Loss) -> str:
    kind = loss.type_name.rpartition(".")[2]
    if kind in ("generator", "async_generator", "coroutine"):
        return "Keep where it stands (an index, the items that are left) and make it anew."
    if kind in ("Task", "Future", "Thread", "Lock", "Event", "Queue"):
        return "Keep what is to be done, and begin it again in connection_resumed or start()."
    if "socket" in loss.type_name or "transport" in loss.type_name.lower():
        return "Ask for it where you need it: self.transport is there in every callback."
    return "Keep what it was made of, or keep it in an attribute _v_NAME and make it when missing."


def explain_untracked(difference: Difference, live: Any) -> str:
    """Explain why the journal would not restore what is in memory.

    Advice is given only if the author's code, or C code that it calls, bypassed change
    tracking. Watched objects must be seen by tapd: missing one of their changes is a bug of
    tapd.
    """
    path = difference.path or "the application"
    if difference.other_path is not None:
        return _explain_identity(difference, path)
    text = (
        f"{path} was changed where tapd could not see it.\n"
        f"  in memory       {difference.other}\n"
        f"  after a kill    {difference.one}\n"
    )
    holder = _holder(path, live)
    if isinstance(holder, Tracked):
        kind = type(holder).__name__.removeprefix("Tracked").lower()
        place = _parent(path) or path
        name = place.rpartition(".")[2]
        return text + (
            f"  {place} is a {kind}; its own methods report their changes, but something wrote "
            f"past them, as {kind}.{'update' if kind in ('dict', 'set') else 'append'}({name}, x) "
            "does, which names the method of the base class.\n"
            f"  Call the method of the {kind} itself, or change a copy and put that in its place"
        )
    if difference.holder == difference.owner:
        return text + (
            f"  A {difference.owner} was written past its attributes (by object.__setattr__, or "
            "code in C).\n  Assign attributes as usual"
        )
    return text + (
        f"  It is in a {difference.holder}, a plain object, which tapd looks at in each turn and "
        "should have seen: this is a fault of tapd, not of yours. Please report it.\n"
        f"  Until that is fixed, derive {difference.holder} from tapd.Persistent, which reports "
        "its changes itself"
    )


def _explain_identity(difference: Difference, path: str) -> str:
    here, after = ("two", "one") if difference.is_one else ("one", "two")
    text = (
        f"{difference.other_path} and {path} are {here} {difference.type_name} in memory, and "
        f"would be {after} after a kill"
    )
    if difference.is_one:
        return f"{text}.\n  This is a fault of tapd, not of yours. Please report it"
    return (
        f"{text}: a change of the one would no longer be seen in the other."
        f"\n  Derive {difference.type_name} from tapd.Persistent, which keeps what refers to "
        "one object referring to one; or keep it in one place and let the others look there."
    )


def _parent(path: str) -> str:
    """Return the path without its last step."""
    cut = max(path.rfind("."), path.rfind("["))
    return path[: max(cut, 0)]


def _holder(path: str, live: Any) -> Any:
    """Return the holder of the object at `path`; a container itself if `path` names one."""
    found = dict.fromkeys((path, _parent(path)))
    for there, value in walk(live):
        if there in found:
            found[there] = value
    value = found[path]
    return value if isinstance(value, Tracked) else found[_parent(path)]
