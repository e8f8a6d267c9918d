"""Freed memory goes back to the system after a peak."""

import asyncio
import ctypes
from collections.abc import Callable

_WAIT_S = 10.0


def return_freed_memory() -> None:
    """Gives whole free pages of the heap back to the system, in a few milliseconds; without glibc it does nothing.

    glibc keeps what a thread has freed between blocks that are still in use.  Smaller blocks of their own for each
    array (`M_MMAP_THRESHOLD`) would do without, and cost a sixth of the receiver's processor time a frame.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


class FreedMemory:
    """Returns freed memory some time after a peak, however many peaks end in that time.

    Args:
        give_back: called in a worker thread.
    """

    def __init__(self, give_back: Callable[[], None] = return_freed_memory, wait_s: float = _WAIT_S) -> None:
        self._give_back, self._wait_s = give_back, wait_s
        self._timer: asyncio.TimerHandle | None = None

    def return_soon(self) -> None:
        """Something large has ended."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._wait_s, self._return)

    def close(self) -> None:
        """Nothing is returned from now on."""
        if self._timer is not None:
            self._timer.cancel()

    def _return(self) -> None:
        self._timer = None
        asyncio.get_running_loop().run_in_executor(None, self._give_back)
