"""The host's side of a running application: time, timers, connectors, threads, tasks.

Results arrive in a turn, so their effects are committed before they leave the process.
Nothing here is durable: a thread or a task ends with the process, and its protocol asks
again in `connection_resumed`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tapd.model.access.seal import Sealer
from tapd.model.application import QUEUE_GROUP_MAX
from tapd.model.connector import Connector
from tapd.net.rate_limit import Tellings
from tapd.net.timers import Timers
from tapd.net.turn.connections import Connections
from tapd.net.turn.outbound import begin_connecting
from tapd.net.turn.schedule import Schedule
from tapd.net.turn.trials import Trials

if TYPE_CHECKING:
    from tapd.net.turn.fair_queue import FairQueue, Work


class LiveRuntime:
    """The `model.application.Runtime` of an application that is served.

    Owns the tasks, threads and queued work, which it counts until they give their results.

    Attributes:
        now_s: return the wall clock, in seconds since the epoch.
        call: run a function in the next turn; any thread may ask for it.
        tell: log something, rate limited.
        timer_added: called with each new timer.
        sealer: encrypts secrets in the journal and the TAP.
    """

    def __init__(
        self,
        sealer: Sealer,
        *,
        schedule: Schedule,
        tellings: Tellings,
        trials: Trials,
        timers: Timers,
        connections: Connections,
    ) -> None:
        self.now_s: Callable[[], float] = time.time
        self.sealer = sealer
        self.call = schedule.call
        self.tell = tellings.tell
        self.timer_added = timers.add
        self._loop = schedule.loop
        self._trials = trials
        self._connections = connections
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the result of a task or thread is outstanding."""
        return bool(self._tasks or self._threads or vars(self).get("_queue"))

    def connector_added(self, connector: Connector) -> None:
        """Make the connection of `connector`."""
        begin_connecting(self._connections, connector, self.run_coroutine)

    def run_blocking(
        self, function: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any, Any], None]
    ) -> None:
        """Run `function` in a thread, then ``done(result, error)`` in a turn."""
        asker = self._trials.take_asker()
        self._begin_thread(
            function,
            args,
            lambda result, error: self._trials.hand_in(asker, lambda: done(result, error)),
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

        work = Work(function, args, done, is_wanted, self._trials.take_asker())
        return self._queue.add(work, group, group_max)

    @functools.cached_property
    def _queue(self) -> FairQueue:
        """The queue; made at its first use, as clients wait during a start."""
        from tapd.net.turn.fair_queue import FairQueue  # noqa: PLC0415 - as it says

        return FairQueue(self._run_work, self._drop_work)

    def _run_work(self, work: Work, finished: Callable[[], None]) -> None:
        def then(result: Any, error: Any) -> None:
            self._trials.hand_in(work.asker, lambda: work.done(result, error))
            self.call(finished)  # after it, whatever it raises

        self._begin_thread(work.function, work.args, then)

    def _drop_work(self, work: Work) -> None:
        if work.asker is not None:
            self._trials.hand_in(work.asker, lambda: None)  # no result of it is awaited any more

    def run_coroutine(
        self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, Any], None]
    ) -> Callable[[], None]:
        """Run `coroutine` as a task, then ``done(result, error)`` in a turn."""
        task = self._loop.create_task(coroutine, context=contextvars.copy_context())
        self._tasks.add(task)
        asker = self._trials.take_asker()

        def finished(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                self._trials.hand_in(asker, lambda: done(None, asyncio.CancelledError()))
                return
            error = task.exception()
            result = None if error else task.result()
            self._trials.hand_in(asker, lambda: done(result, error))

        task.add_done_callback(finished)

        def cancel() -> None:
            task.cancel()

        return cancel

    def cancel_tasks(self) -> None:
        """Cancel all running work; its results are lost."""
        for task in self._tasks:
            task.cancel()
