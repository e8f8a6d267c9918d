"""Checks of the machine: limits of the process, processors, memory, clock, EGL."""

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common.doctor.finding import Finding, ok, warning
from common.io.startup import check_limits

_GIGABYTE = 1e9
# Measured: each daemon needs about 1 GB.
_NEEDED_BYTES = 1_000_000_000
# `struct timex` of adjtimex(2): modes, offset, freq, maxerror, esterror, status.
_TIMEX = struct.Struct("I4xqqqqi")
_TIMEX_BYTES = 512
_TIME_ERROR, _UNSYNCHRONISED = 5, 0x40
_EGL_TIMEOUT_S = 4.0
# In a process of its own: a driver that crashes must not end the doctor.
_EGL_PROGRAM = """
import moderngl
context = moderngl.create_context(standalone=True, require=330, backend="egl")
print(context.info["GL_RENDERER"])
"""


def check_process_limits() -> Finding:
    """Whether the limits of the process (`ulimit`) are high enough; raises ResourceError."""
    check_limits()
    return ok("limits", "address space, data and file descriptors suffice")


def _processors() -> int:
    """How many processors this process may use; without Linux, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_processors(available: Callable[[], int] = _processors) -> Finding:
    """How many processors this process may use."""
    count = available()
    if count == 1:
        found = "1 processor, which the networks share with capture, codec and link"
        return warning("processors", found, "expect a low frame rate; sender and receiver need one each")
    return ok("processors", f"{count}")


def check_memory(
    meminfo: Path = Path("/proc/meminfo"), control_group: Path = Path("/sys/fs/cgroup"), needed: int = _NEEDED_BYTES
) -> Finding:
    """Whether as much memory is available as a daemon needs, in the machine and in its control group."""
    if not meminfo.exists():
        return warning("memory", f"only Linux says how much is available ({meminfo})")
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), flags=re.MULTILINE)
    if match is None:
        return warning("memory", f"{meminfo} does not say how much is available")
    free = int(match[1]) * 1024
    where = "available"
    group_free = _group_free_bytes(control_group)
    if group_free is not None and group_free < free:
        free, where = group_free, "left in the control group"
    found = f"{free / _GIGABYTE:.1f} GB {where}"
    if free < needed:
        return warning("memory", f"{found}, a daemon needs {needed / _GIGABYTE:.0f}", "end other programs")
    return ok("memory", found)


def _group_free_bytes(control_group: Path) -> int | None:
    """What the limit of a control group of version 2 leaves; None without a limit."""
    try:
        limit = (control_group / "memory.max").read_text().strip()
        used = int((control_group / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(int(limit) - used, 0)


def read_clock_state() -> tuple[int, float]:
    """The kernel's clock: whether it is synchronised (not `_TIME_ERROR`, see adjtimex(2)), and its largest error in s.

    Raises:
        OSError: the kernel does not answer.
    """
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    state = int(libc.adjtimex(buffer))
    if state < 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
    _, _, _, largest_error_us, _, status = _TIMEX.unpack_from(buffer)
    return _TIME_ERROR if status & _UNSYNCHRONISED else state, largest_error_us / 1e6


def check_clock(read: Callable[[], tuple[int, float]] = read_clock_state) -> Finding:
    """Whether a time service keeps the clock of this machine, which the age of a frame is measured with."""
    try:
        state, largest_error_s = read()
    except OSError as error:
        return warning("clock", f"the kernel does not say whether it is synchronised ({error.strerror})")
    if state == _TIME_ERROR:
        advice = "run a time service, such as systemd-timesyncd or chrony (timedatectl set-ntp true)"
        return warning("clock", "not synchronised", advice)
    return ok("clock", f"synchronised, error at most {largest_error_s * 1e3:.0f} ms")


def check_egl(run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> Finding:
    """Whether training pictures can be rendered; the daemons do without."""
    advice = "only training needs it: install libegl1 and libegl-mesa0, and bodywire[train]"
    try:
        command = [sys.executable, "-c", _EGL_PROGRAM]
        done = run(command, capture_output=True, text=True, timeout=_EGL_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return warning("egl", "does not answer", advice)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it crashed"])[-1]
        return warning("egl", f"cannot be used ({reason})", advice)
    return ok("egl", done.stdout.strip())
