"""What a forked process must never free.

Threads do not come along into it.  OpenVINO's networks and FFmpeg's decoders wait in their destructors for threads of
their own: there for ever.
"""

import ctypes
import gc
import os
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")

_kept: WeakSet[object] = WeakSet()


def keep_in_forks(owner: T) -> T:
    """Gives back an object that this process frees as any other; forked ones never free it, nor what it refers to."""
    _kept.add(owner)
    return owner


def _keep() -> None:
    if _kept:
        # Among what no one refers to any more, there may be frames with FFmpeg's threads.
        gc.freeze()
    for owner in _kept:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


os.register_at_fork(after_in_child=_keep)
