"""Freed memory goes back to the system after a peak."""

import ctypes


def return_freed_memory() -> None:
    """Gives whole free pages of the heap back to the system, in a few milliseconds; without glibc it does nothing.

    glibc keeps what a thread has freed between blocks that are still in use.  Smaller blocks of their own for each
    array (`M_MMAP_THRESHOLD`) would do without, and cost a sixth of the receiver's processor time a frame.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
