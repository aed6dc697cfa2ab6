"""What a running application may ask for beside the network: time, threads, tasks, secrets.

The results come back in a turn, so what they change is committed before anyone
sees it. Nothing here is durable: a thread or a task ends with the process, and
its protocol asks again in `connection_resumed`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tapd.model.application import QUEUE_GROUP_MAX
from tapd.model.seal import Sealer
from tapd.net.fair_queue import FairQueue, Work
from tapd.net.telling import Tellings


class LiveRuntime:
    """The part of `model.application.Runtime` that needs an event loop and no socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sealer: Sealer) -> None:
        self._loop = loop
        self._sealer = sealer
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = 0
        self._queue = FairQueue(self.run_blocking)
        self._tellings = Tellings(loop)

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the next turn; `net.turn.Turn` does."""
        raise NotImplementedError

    @property
    def is_waiting(self) -> bool:
        """Whether a task or thread that was asked for has yet to give its result."""
        return bool(self._tasks or self._threads or self._queue)

    now_s = staticmethod(time.time)  # the wall clock, in seconds since the epoch: in C

    @property
    def sealer(self) -> Sealer:
        """What keeps secrets unreadable in the journal and the TAP."""
        return self._sealer

    def run_blocking(
        self, function: Callable[..., Any], args: tuple[Any, ...], done: Callable[[Any, Any], None]
    ) -> None:
        """Run `function` in a thread, then ``done(result, error)`` in a turn."""
        self._threads += 1

        def finished(future: asyncio.Future[Any]) -> None:
            self._threads -= 1
            if not future.cancelled():
                error = future.exception()
                result = None if error else future.result()
                self.call(lambda: done(result, error))

        self._loop.run_in_executor(None, function, *args).add_done_callback(finished)

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
        return self._queue.add(Work(function, args, done, is_wanted), group, group_max)

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

        def finished(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                self.call(lambda: done(None, asyncio.CancelledError()))
                return
            error = task.exception()
            result = None if error else task.result()
            self.call(lambda: done(result, error))

        task.add_done_callback(finished)

        def cancel() -> None:
            task.cancel()

        return cancel

    def cancel_tasks(self) -> None:
        """Cancel what still runs; its results are lost."""
        for task in self._tasks:
            task.cancel()
