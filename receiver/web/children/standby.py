"""Programs of this installation that the receiver starts, some of them ahead of their work.

A sender process that begins with the receiver, beside its own start, so that the first picture does not wait for it.

Nothing of it is imported that takes time: it is started before the receiver's own libraries are.
"""

import asyncio
import math
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.weights.threads import available_cores
from receiver.web.children import end_with_parent

# The packages lie side by side, wherever this one is installed.
_PACKAGES = Path(__file__).parents[3]


def own_program(module: str) -> tuple[str, ...]:
    """The command of a module, before its arguments.

    It keeps the receiver's working directory, in which paths of options and variables may be relative, but Python does
    not look there for modules (`-P`).
    """
    return sys.executable, "-P", "-m", module


def own_environment(without: str = "-", **more: str) -> dict[str, str]:
    """Variables of the receiver, and others, with its packages first; those that begin with `without` are left out."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **more}


PICTURE_FLAGS = ("--policy", "fixed", "--fixed-f", "0")
"""There is no later frame: labels are as fine as they get, on a link that is no limit."""

_MAX_LINE_BYTES = 16_384
# The process takes 0.9 GB, which it would otherwise not take before the first picture; the receiver about as much.
_LEAST_FREE_BYTES = 4e9
_MEMORY = Path("/proc/meminfo")
# Those of a sender that the user runs.
_OPTIONS_PREFIX = "BODYWIRE_SENDER_"


async def begun(command: Sequence[str], stdin: int = DEVNULL, stdout: int = DEVNULL) -> Process:
    """Starts a program that ends with the receiver, and speaks on one pipe: stdout, or else stderr.

    Raises:
        OSError: it cannot be started.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", end_with_parent.__file__, str(os.getpid())),
        *command,
        stdin=stdin,
        stdout=stdout,
        stderr=PIPE if stdout == DEVNULL else DEVNULL,
        limit=_MAX_LINE_BYTES,
        # An interrupt on the terminal is for the receiver, which ends the child in good order.
        start_new_session=True,
        env=own_environment(without=_OPTIONS_PREFIX),
    )


async def standby(device: str) -> Process | None:
    """A sender for pictures on a device that waits for its further options; None without room for it."""
    if available_cores() < 2 or _free_bytes() < _LEAST_FREE_BYTES:
        return None
    flags = ("--device", device, "--log-level", "warning", *PICTURE_FLAGS)
    try:
        return await begun((*own_program("sender.standby"), *flags), PIPE)
    except OSError:
        return None


def _free_bytes() -> float:
    """Memory that is free or can be made free; without limit where that is not known."""
    try:
        return 1024.0 * int(_MEMORY.read_text().split("MemAvailable:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return math.inf


def give_options(process: Process | None, flags: Sequence[str]) -> Process | None:
    """Gives a waiting process its options, and returns it; None if there is none, or it has ended."""
    if process is None or process.returncode is not None or process.stdin is None:
        return None
    process.stdin.write("\0".join(flags).encode())
    process.stdin.close()
    return process
