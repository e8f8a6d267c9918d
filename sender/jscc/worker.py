"""A thread for work that may not delay frames: of what waits for it, only the newest is done."""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")

# Of the scheduler, where threads have one of their own (Linux): labels come first.
_NICENESS = 10


class NewestWorker(Generic[Work, Result]):
    """Runs a function in a thread of low priority; a newer input replaces one that waits.

    Args:
        function: called with each input; it must not raise.
        name: of the thread.
    """

    def __init__(self, function: Callable[[Work], Result | None], name: str) -> None:
        self._function = function
        self._condition = threading.Condition()
        self._waiting: list[Work] = []
        self._results: list[Result] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, work: Work) -> bool:
        """Takes an input, at once; returns whether it has replaced another."""
        with self._condition:
            replaced = bool(self._waiting)
            self._waiting = [work]
            self._condition.notify()
            return replaced

    def take(self) -> list[Result]:
        """The results since the last call, the oldest first."""
        with self._condition:
            taken, self._results = self._results, []
            return taken

    def close(self) -> None:
        """Ends the thread after its present input; what waits is dropped. Safe to call twice."""
        with self._condition:
            self._closed, self._waiting = True, []
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                work = self._waiting.pop()
            result = self._function(work)
            if result is not None:
                with self._condition:
                    self._results.append(result)
