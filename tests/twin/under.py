"""The worlds under tapd's jar: a module's code, and code that was typed at a prompt.

Memory is thrown away at each kill: what comes back is what the last save and the
records since then give. `differ` runs a program here and in the world without tapd.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.machinery
import itertools
import logging
import signal
import sys
import types
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from tests.twin.prelude import UNDER_TAPD
from tests.twin.program import Program
from tests.twin.worlds import APP, Difference, Entry, Twin, World, compare, compiled, transcript_of

from tapd.image.evolution.versions import Restoration
from tapd.image.loss import Loss
from tapd.image.pickling.pickler import detached_finder, dump_graph, load_graph
from tapd.image.tracking.changes import Changes
from tapd.image.tracking.jar import Jar
from tapd.image.tracking.replay import Replay
from tapd.image.typed import compile_typed
from tapd.model.durable.namespace import Namespace
from tapd.model.durable.persistent import Persistent

_numbers = itertools.count(1)


class Hangs(BaseException):
    """A program takes too long; no `except Exception` on its way stops this."""


@contextlib.contextmanager
def time_limit(seconds: float = 4.0) -> Iterator[None]:
    """Raise `Hangs` where the block takes as long as some hundred programs."""

    def ring(_signal: int, frame: types.FrameType | None) -> None:
        raise Hangs(f"more than {seconds} s, in {frame and frame.f_code.co_qualname}")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class Lost(Exception):
    """Something could not be saved, and was named."""


class Log(logging.Handler):
    """What tapd says meanwhile.

    Attributes:
        said: the warnings.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


class UnderTapd(World):
    """A module of its own for each process's life, and an ear for what is logged.

    Attributes:
        cpu_s_max: what a program may take, of processor time; most take a hundredth.
        log: what was said.
    """

    cpu_s_max = 4.0

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__(classes)
        self._module_name = f"twin_under_{next(_numbers)}"
        self.log = Log()

    def begin(self) -> None:
        """Begin, with an ear for what is logged."""
        logging.getLogger("tapd").addHandler(self.log)
        super().begin()

    def define(self) -> None:
        """Import the program's module, as a new process does."""
        module = types.ModuleType(self._module_name)
        module.__spec__ = importlib.machinery.ModuleSpec(self._module_name, None)
        sys.modules[self._module_name] = module
        self.names = vars(module)
        self.names.update(UNDER_TAPD)
        super().define()

    def close(self) -> None:
        """Take back the module and the ear."""
        sys.modules.pop(self._module_name, None)
        logging.getLogger("tapd").removeHandler(self.log)


class Holder(Persistent):
    """The root.

    Attributes:
        app: the program's.
        timers: what is to be called later.
        namespace: of what was typed, if anything was.
    """

    def __init__(self, app: Any, namespace: Namespace | None = None) -> None:
        self.app = app
        self.timers: list[Any] = []
        self.namespace = namespace


class UnderJar(UnderTapd):
    """Records at each turn's end; replayed at each kill."""

    def begin(self) -> None:
        """Begin with an empty graph, saved."""
        super().begin()
        self._root = self.make_root()
        self._jar = Jar()
        self._jar.adopt(self._root)
        self._save()

    def make_root(self) -> Holder:
        """Return what is saved and restored."""
        return Holder(self.app)

    def timers(self) -> list[Any]:
        """Return a list of the root's."""
        return self._root.timers

    def end_turn(self) -> None:
        """Commit."""
        self._records.append(self._jar.commit())
        _refuse_losses(self._jar.losses)

    def happen(self, event: str) -> None:
        """Save a TAP, or throw all away and restore it, or both."""
        if event == "pass":
            self.pass_time()
            return
        if event in ("save", "stop", "reload"):
            self._save()
        if event != "save":
            self.forget_volatile()
            self._restore()

    def _save(self) -> None:
        dump = dump_graph(self._root, detached_finder(self._root))
        _refuse_losses(dump.losses)
        self._base = dump.data
        self._records: list[Changes] = []

    def _restore(self) -> None:
        self.names.clear()
        self.define_again()
        restoration = Restoration()
        self._root = root = load_graph(self._base, restoration)
        self._jar = jar = Jar()
        objects = jar.adopt(root, restoration.durables)
        restoration.durables.clear()
        replay = Replay(objects, restoration, jar)
        for changes in self._records:
            replay.apply(changes)
        replay.finish()
        self.take_root(root)

    def define_again(self) -> None:
        """Have the code be there that a new process finds."""
        self.define()

    def take_root(self, root: Holder) -> None:
        """Go on with what was restored."""
        self.names["app"] = self.app = root.app


class UnderPrompt(UnderJar):
    """All of the program is typed at a prompt, classes and statements."""

    def define(self) -> None:
        """Type the classes."""
        self._namespace = Namespace()
        self.names = self._namespace.names
        self.names.update(UNDER_TAPD)
        vars(builtins).update(self.helpers())
        for source in (APP, *self._classes):
            exec(self._typed(source), self.names)

    def _typed(self, source: str) -> types.CodeType:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            code = compile_typed(source + "\n", self._namespace, "exec")
        assert code is not None, source
        return code

    def code_of(self, line: str) -> types.CodeType:
        """Return what a prompt would run."""
        compiled(line)  # what is not valid is so in each world
        return self._typed(line)

    def make_root(self) -> Holder:
        """Return a root with the namespace, where `app` is a name."""
        return Holder(None, self._namespace)

    def end_turn(self) -> None:
        """Have the namespace looked at, as a prompt does."""
        self._namespace.touch()
        super().end_turn()

    def define_again(self) -> None:
        """Do nothing: what was typed is state."""

    def take_root(self, root: Holder) -> None:
        """Go on with the namespace that was restored."""
        assert root.namespace is not None
        self._namespace = root.namespace
        self.names = self._namespace.names
        self.app = self.names["app"]

    def close(self) -> None:
        """Take back what was lent to all modules."""
        for name in self.helpers():
            vars(builtins).pop(name, None)
        super().close()


def _refuse_losses(losses: Iterable[Loss]) -> None:
    for each in losses:
        raise Lost(f"{each.path}: {each.type_name}: {each.reason}")


def differ(
    program: Program, expected: list[Entry] | None = None, kind: type[UnderTapd] = UnderJar
) -> Difference | None:
    """Run `program` without and under tapd; return where they part first.

    Args:
        program: to be run.
        expected: what the twin says, where that is known.
        kind: of the world under tapd.
    """
    if expected is None:
        twin = Twin(program.classes)
        expected = transcript_of(program, twin)
        if twin.is_unfit:
            return None
    world = kind(program.classes)
    try:
        with time_limit(world.cpu_s_max):
            found = transcript_of(program, world)
    except Hangs as error:
        return Difference("hangs", "all of it", "", str(error))
    return compare(expected, found, tuple(dict.fromkeys(world.log.said)))
