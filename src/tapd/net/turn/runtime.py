"""What a running application may ask for beside the network: time, threads, tasks, secrets.

The results come back in a turn, so what they change is committed before anyone
sees it. Nothing here is durable: a thread or a task ends with the process, and
its protocol asks again in `connection_resumed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tapd.model.access.seal import Sealer
from tapd.model.application import QUEUE_GROUP_MAX
from tapd.net.rate_limit import Tellings
from tapd.values import Value

if TYPE_CHECKING:
    from tapd.net.turn.fair_queue import FairQueue, Work


class Asker(Value):
    """Who asked for the result of a thread or task at a start, which asks again after a kill."""

    kind: str
    key: int
    skip: Callable[[], object]


class LiveRuntime:
    """The part of `model.application.Runtime` that needs an event loop and no socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sealer: Sealer) -> None:
        self._loop = loop
        self._sealer = sealer
        self._asker: Asker | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = 0
        self._tellings = Tellings(loop)

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the next turn; `net.turn.turn.Turn` does."""
        raise NotImplementedError

    def note_asked(self, asker: Asker) -> None:
        """Take note that a start asked for a result; `net.turn.turn.Turn` does."""
        raise NotImplementedError

    def hand_in(self, asker: Asker | None, function: Callable[[], object]) -> None:
        """Run `function`, which takes a result, in the next turn; `net.turn.turn.Turn` does.

        Args:
            asker: who asked for it; None but at a start.
            function: what to run.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def asking(self, kind: str, key: int, skip: Callable[[], object]) -> Iterator[None]:
        """Know who asks for the results of threads and tasks meanwhile, at a start.

        Args:
            kind: what asks, as in `Careful.alone`.
            key: which of that kind.
            skip: called where one of the results has killed the server each time.
        """
        self._asker = Asker(kind, key, skip)
        try:
            yield
        finally:
            self._asker = None

    def _take_asker(self) -> Asker | None:
        asker = self._asker
        if asker is not None:
            self.note_asked(asker)
        return asker

    @property
    def is_waiting(self) -> bool:
        """Whether a task or thread that was asked for has yet to give its result."""
        return bool(self._tasks or self._threads or vars(self).get("_queue"))

    now_s = staticmethod(time.time)  # the wall clock, in seconds since the epoch: in C

    @property
    def sealer(self) -> Sealer:
        """What keeps secrets unreadable in the journal and the TAP."""
        return self._sealer

    def run_blocking(
        self, function: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any, Any], None]
    ) -> None:
        """Run `function` in a thread, then ``done(result, error)`` in a turn."""
        asker = self._take_asker()
        self._begin_thread(
            function, args, lambda result, error: self.hand_in(asker, lambda: done(result, error))
        )

    def _begin_thread(
        self, function: Callable[..., Any], args: tuple[Any, ...], then: Callable[[Any, Any], None]
    ) -> None:
        """Run `function` in a thread, then ``then(result, error)``, which schedules a turn."""
        self._threads += 1

        def outcome() -> tuple[Any, BaseException | None]:
            try:
                return function(*args), None
            except BaseException as error:  # a future takes no StopIteration
                return None, error

        def finished(future: asyncio.Future[tuple[Any, BaseException | None]]) -> None:
            self._threads -= 1
            if not future.cancelled():
                then(*future.result())

        try:
            future = self._loop.run_in_executor(None, outcome)
        except RuntimeError as error:  # no thread can be made now
            self._threads -= 1
            then(None, error)
        else:
            future.add_done_callback(finished)

    def run_in_queue(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        done: Callable[[Any, Any], None],
        *,
        is_wanted: Callable[[], bool],
        group: str,
        group_max: int = QUEUE_GROUP_MAX,
    ) -> str:
        """Run `function` in a thread when it is the turn of `group`; return "", or why not."""
        from tapd.net.turn.fair_queue import Work  # noqa: PLC0415 - as for `_queue`

        work = Work(function, args, done, is_wanted, self._take_asker())
        return self._queue.add(work, group, group_max)

    @functools.cached_property
    def _queue(self) -> FairQueue:
        """The queue, from the first that is asked for on: at a start a client waits."""
        from tapd.net.turn.fair_queue import FairQueue  # noqa: PLC0415 - as it says

        return FairQueue(self._run_work, self._drop_work)

    def _run_work(self, work: Work, finished: Callable[[], None]) -> None:
        def then(result: Any, error: Any) -> None:
            self.hand_in(work.asker, lambda: work.done(result, error))
            self.call(finished)  # after it, whatever it raises

        self._begin_thread(work.function, work.args, then)

    def _drop_work(self, work: Work) -> None:
        if work.asker is not None:
            self.hand_in(work.asker, lambda: None)  # nothing of it is awaited any more

    def tell(
        self,
        log: logging.Logger,
        kind: str,
        text: str,
        *,
        peer: str = "",
        level: int = logging.INFO,
        at_once: int = 1,
        extra: Mapping[str, object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Log what a stranger can bring about as often as it likes."""
        self._tellings.of(log, kind, level, at_once).tell(text, peer, extra, error)

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, Any], None]
    ) -> Callable[[], None]:
        """Run `coroutine` as a task, then ``done(result, error)`` in a turn."""
        task = self._loop.create_task(coroutine, context=contextvars.copy_context())
        self._tasks.add(task)
        asker = self._take_asker()

        def finished(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                self.hand_in(asker, lambda: done(None, asyncio.CancelledError()))
                return
            error = task.exception()
            result = None if error else task.result()
            self.hand_in(asker, lambda: done(result, error))

        task.add_done_callback(finished)

        def cancel() -> None:
            task.cancel()

        return cancel

    def cancel_tasks(self) -> None:
        """Cancel what still runs; its results are lost."""
        for task in self._tasks:
            task.cancel()
