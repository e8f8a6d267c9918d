"""Runs a program that the kernel ends together with its parent, however the parent ends.

    python end_with_parent.py PARENT_PID PROGRAM [ARGUMENT]...

A process can ask for this only for itself, so it happens here, between the fork and the program. Nothing but the
standard library is imported: the parent runs this file by its path, in a bare interpreter.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends; ends it at once if the parent has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


def main(arguments: Sequence[str]) -> None:
    """Binds this process to its parent and becomes the program."""
    end_with(int(arguments[0]))
    os.execv(arguments[1], list(arguments[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
