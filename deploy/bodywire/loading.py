"""The networks of this process: the first call loads them, and a forked process cannot take them over.

OpenVINO, PyTorch and the engine work in threads, and threads do not come along: who asks for something there waits for
ever.  A process that was forked before the first call loads networks of its own.
"""

import atexit
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import ForkError
from common.weights.threads import one_thread

if TYPE_CHECKING:
    from bodywire.both_ends import Loaded


@dataclass
class Process:
    """What is known of this process.

    Attributes:
        begun: it has begun to use networks or sources.
        inherits: one that it was forked from had begun to.
    """

    loaded: "Loaded | None" = None
    begun: bool = False
    inherits: bool = False


_process, _lock = Process(), threading.Lock()


def begin() -> Process:
    """Call it before every use of networks and sources; gives what is known of this process.

    Raises:
        ForkError: a process that this one was forked from has used some.
    """
    # First, so that a fork at any later moment sees it.
    _process.begun = True
    if _process.inherits:
        raise ForkError(
            "this process was forked from one that had used bodywire, OpenVINO or a GPU, which do not come along: "
            'start processes with multiprocessing.get_context("spawn"), or use bodywire first after the fork'
        )
    return _process


def loaded() -> "Loaded":
    """The networks of this process.

    Raises:
        ForkError: as `begin`.
        WeightsError: weights are missing, damaged or of another version.
    """
    begin()
    with _lock:
        if _process.loaded is None:
            _process.loaded = _load()
        return _process.loaded


def _load() -> "Loaded":
    with one_thread():
        # Imported here, as PyTorch and OpenVINO: they take seconds, and a program may fork before.
        from bodywire.both_ends import Loaded

        return Loaded()


def _close() -> None:
    if _process.loaded is not None and not _process.inherits:
        _process.loaded.close()


def _after_fork() -> None:
    uses_gpu = getattr(sys.modules.get("torch.cuda"), "_is_in_bad_fork", bool)
    _process.inherits |= _process.begun or "openvino" in sys.modules or uses_gpu()


atexit.register(_close)
os.register_at_fork(after_in_child=_after_fork)
