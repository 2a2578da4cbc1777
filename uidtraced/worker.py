"""A thread that does jobs in their order, and that never keeps the process from ending."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Worker:
    """Like ThreadPoolExecutor(1), but for jobs that may hang, as a name service can.

    The interpreter waits at its end for an executor's threads; for this one it does not.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], _T]) -> Future[_T]:
        """Return the future result of *job*."""
        future: Future[_T] = Future()
        self._jobs.put((future, job))
        return future

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001  the waiter gets it
                future.set_exception(error)
            else:
                future.set_result(result)

    def close(self, wait_seconds: float = 0.0) -> None:
        """End the thread after the jobs that wait; wait for that no longer than told."""
        self._jobs.put(None)
        self._thread.join(wait_seconds)
