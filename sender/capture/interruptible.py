"""Sources whose opening and reading can be given up: files, pipes and servers may block for ever."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any, TypeVar

from sender.capture.source import CapturedFrame, FrameSource

T = TypeVar("T")

_CLOSE_TIMEOUT_S = 0.5


class DaemonWorker:
    """Runs calls one after the other in a thread that does not keep the process alive.

    A system call on a pipe without a writer, or on a file server that is gone, cannot be interrupted. So it is made in
    this thread; the caller waits for the result, and that wait ends with `stop` or with a signal's exception.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._newest: Future[Any] | None = None
        self._stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> T:
        """The result of a function, which runs in the thread; what it raises is raised here.

        Raises:
            CancelledError: the worker was stopped.
        """
        result: Future[T] = Future()
        self._newest = result
        if self._stopped:
            raise CancelledError
        self._calls.put((function, result))
        return result.result()

    def stop(self, last: Callable[[], object] = lambda: None) -> None:
        """Ends the thread after a last call, for which it waits a moment; a call that waits now is cancelled."""
        self._stopped = True
        if self._newest is not None:
            self._newest.cancel()
        done: Future[object] = Future()
        self._calls.put((last, done))
        self._calls.put(None)
        with contextlib.suppress(TimeoutError):
            done.exception(timeout=_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            function, result = item
            # The state of a cancelled call is final.
            with contextlib.suppress(InvalidStateError):
                try:
                    value = function()
                except BaseException as error:
                    result.set_exception(error)
                else:
                    result.set_result(value)


class InterruptibleSource(FrameSource):
    """A source that is read in a worker's thread, each frame when it is asked for.

    `close`, from any thread, ends an iteration that waits.

    Args:
        source: one that ends.
        worker: opened the source; stopped with it.
    """

    def __init__(self, source: FrameSource, worker: DaemonWorker) -> None:
        self.source, self.stills = source, source.stills
        self._worker = worker
        self._closed = False

    @property
    def fps(self) -> float | None:
        return self.source.fps

    @property
    def length(self) -> int | None:
        return self.source.length

    def __iter__(self) -> Iterator[CapturedFrame]:
        frames = iter(self.source)
        with contextlib.suppress(CancelledError):
            while (frame := self._worker.call(lambda: next(frames, None))) is not None:
                yield frame

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._worker.stop(self.source.close)
