"""Checks of folders and addresses that a daemon is going to use; nothing is created, and no port is opened."""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from common.doctor.finding import Finding, ok, problem
from common.errors import OutputError
from common.io.addresses import Address, bound_socket

_TRIAL_BYTES = 65536


def check_writable(check: str, folder: Path, flag: str) -> Finding:
    """Whether a folder can be written, or made if it is missing.

    The trial file has no name (`O_TMPFILE`), where the file system can do that, and is gone at once.
    """
    place = existing_ancestor(folder)
    fault = _fault(place)
    if fault:
        found = f"{folder} cannot be written" if place == folder else f"{folder} cannot be made in {place}"
        return problem(check, f"{found} ({fault})", f"choose another {flag}, or change its permissions", OutputError)
    state = "can be written" if place == folder else "does not exist yet and can be made"
    return ok(check, f"{folder} {state}, {shutil.disk_usage(place).free / 1e9:.1f} GB free")


def existing_ancestor(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    here = path.absolute()
    while not os.path.lexists(here) and here != here.parent:
        here = here.parent
    return path if here == path.absolute() else here


def _fault(place: Path) -> str:
    """Why nothing can be written in a folder; empty if it can be."""
    try:
        if not stat.S_ISDIR(place.stat().st_mode):
            return f"{place} is not a folder"
        with tempfile.TemporaryFile(dir=place) as trial:
            trial.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def is_locked(path: Path) -> bool:
    """Whether another process has locked a file (flock); the trial holds a lock for microseconds.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_address_free(check: str, address: Address, flag: str) -> Finding:
    """Whether a server can listen on an address.

    The trial binds without listening, so that neither a running server nor one that starts now notices it.
    """
    if address.port == 0:
        return ok(check, f"{address}: the system will choose a port")
    try:
        bound_socket(address).close()
    except OSError as error:
        advice = f"stop the program that uses it, or give {flag} another host:port"
        return problem(check, f"cannot listen on {address} ({error.strerror})", advice, OutputError)
    return ok(check, f"{address} is free")
