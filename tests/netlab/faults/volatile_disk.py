"""A disk that counts a process's system calls, fails or ends it at one of them, and forgets what was not synced.

    process   FaultyDisk     before every call that changes a file below a directory: count, note what undoes it, fault
    harness   forget         after the process's death: takes back what it has not synced, as a loss of power does

Synced means: data by `fsync` of their file; names (created, replaced, removed) by `fsync` of their folder.  Nothing is
really synced, which saves time.  The calls of SQLite are counted too (`count_sqlite`), but it loses nothing: its own
tests have that.
"""

import _pyio  # type: ignore[import-not-found]
import argparse
import builtins
import ctypes
import errno
import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self

from common.clock import SYSTEM_CLOCK

KINDS = ("kill", "half", "full")
FORGETS = ("nothing", "all", "some")
# How long the disk stays full, in calls, and how many more there are until the process ends.
_FULL_CALLS, _CALLS_AFTER = 6, 12
_OURS = ("common.", "sender.", "receiver.")
# The functions that write for all others are no points of their own.
_PLUMBING = ("common.io.files", "receiver.publish.files")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a system call.

    Args:
        kind: `kill` ends the process before the call, `half` after half of a write, and `full` some calls after the
            disk was full for a while; where that begins with a write, it had room for half.
        at: the number of the call, from 1.
    """

    kind: str
    at: int

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, at = text.split(":")
        if kind not in KINDS:
            raise ValueError(text)
        return cls(kind, int(at))


class Meter:
    """Counts the system calls of a process, and carries out its fault.

    Args:
        journal: an existing directory, outside of the one whose calls are counted; gets `died`, the point of the fault.
    """

    def __init__(self, journal: Path, fault: Fault) -> None:
        self._journal, self._fault = journal, fault
        self._write = os.write
        self.calls = 0

    @property
    def past_middle(self) -> bool:
        """Whether half of the calls before the fault are over."""
        return 2 * self.calls >= self._fault.at

    def call(self, name: str, halve: Callable[[], object] | None = None) -> None:
        """Counts a call that is about to be made.

        Args:
            halve: makes half of it, if it is a write.

        Raises:
            OSError: the disk is full.
        """
        self.calls += 1
        kind, after = self._fault.kind, self.calls - self._fault.at
        if after < 0:
            return
        if after == 0:
            (self._journal / "died").write_text(f"{_caller()} {name}", "utf-8")
        if kind == "full":
            if after < _FULL_CALLS and name in ("write", "open", "replace"):
                if halve is not None and after == 0:
                    halve()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if after < _FULL_CALLS + _CALLS_AFTER:
                return
        elif kind == "half" and halve is not None:
            halve()
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


def _caller() -> str:
    """The innermost function of ours that makes a call."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_OURS) and module not in _PLUMBING:
            return f"{module.rpartition('.')[2]}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "elsewhere"


class FaultyDisk:
    """Counts and notes the calls that change files below a directory, from `install` on.

    Args:
        journal: an empty directory on the same file system; gets `log`, a line per note, and links to changed files.
    """

    def __init__(self, directory: Path, journal: Path, meter: Meter) -> None:
        self._root, self._journal, self._meter = f"{directory.resolve()}{os.sep}", journal.resolve(), meter
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._log = os.open(self._journal / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # What is not synced: the number of its note, by file or folder.
        self._data: dict[int, int] = {}
        self._names: dict[str, list[int]] = {}
        self._write, self._unlink, self._replace, self._truncate = os.write, os.unlink, os.replace, os.ftruncate
        self._open, self._sync, self._builtin_open = os.open, os.fsync, builtins.open

    def install(self) -> None:
        """Replaces functions of `os`, and `open`, in this process."""
        os.open, os.write, os.ftruncate = self.open, self.write, self.ftruncate
        os.fsync = self.fsync  # type: ignore[assignment]
        os.replace = os.rename = self.replace  # type: ignore[assignment]
        os.unlink = os.remove = self.unlink
        builtins.open = io.open = self.open_file

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Creates or opens a file."""
        full = self._path(path, dir_fd)
        if not flags & os.O_CREAT or not full.startswith(self._root):
            return self._open(path, flags, mode, dir_fd=dir_fd)
        with self._lock:
            if not os.path.lexists(full):
                self._meter.call("open")
                self._note_name("create", full)
            return self._open(path, flags, mode, dir_fd=dir_fd)

    def open_file(self, file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        """Opens a file for writing by Python's own code, which calls `os`."""
        ours = not isinstance(file, int) and str(file).startswith(self._root) and set(mode) & set("wxa+")
        return (_pyio.open if ours else self._builtin_open)(file, mode, *arguments, **named)

    def write(self, descriptor: int, data: Any) -> int:
        """Writes data, which are lost unless the file is synced."""
        path = _path_of(descriptor)
        if not path.startswith(self._root):
            return self._write(descriptor, data)
        with self._lock:
            self._note_data(descriptor, path)
            self._meter.call("write", lambda: self._write(descriptor, bytes(data)[: len(data) // 2]))
            return self._write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Makes data or names last."""
        path = _path_of(descriptor)
        if not f"{path}{os.sep}".startswith(self._root):
            self._sync(descriptor)
            return
        with self._lock:
            self._meter.call("fsync")
            noted = self._data.pop(os.fstat(descriptor).st_ino, None)
            self._append({"synced": [*self._names.pop(path, ()), *(() if noted is None else (noted,))]})

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Cuts a file, for good."""
        with self._lock:
            if _path_of(descriptor).startswith(self._root) and os.fstat(descriptor).st_size != size:
                self._meter.call("ftruncate")
            self._truncate(descriptor, size)

    def replace(self, old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        """Gives a file another name."""
        source, target = self._path(old, src_dir_fd), self._path(new, dst_dir_fd)
        with self._lock:
            if target.startswith(self._root):
                self._meter.call("replace")
                self._note_name("replace", target, source=source, inode=os.stat(source).st_ino)
            self._replace(source, target)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        """Removes a file."""
        full = self._path(path, dir_fd)
        with self._lock:
            if full.startswith(self._root) and os.path.lexists(full):
                self._meter.call("unlink")
                self._note_name("unlink", full)
            self._unlink(path, dir_fd=dir_fd)

    def _path(self, path: Any, folder: int | None) -> str:
        path = os.fspath(path)
        return os.path.join(_path_of(folder), path) if folder is not None else os.path.abspath(path)

    def _note_name(self, what: str, path: str, **more: Any) -> None:
        number = next(self._numbers)
        if os.path.lexists(path):
            os.link(path, self._journal / f"name-{number}")
        self._names.setdefault(os.path.dirname(path), []).append(number)
        self._append({"number": number, "what": what, "path": path, **more})

    def _note_data(self, descriptor: int, path: str) -> None:
        status = os.fstat(descriptor)
        if status.st_ino in self._data or not status.st_nlink:
            return
        link = self._journal / f"data-{status.st_ino}"
        if not link.exists():
            os.link(path, link)
        number = self._data[status.st_ino] = next(self._numbers)
        self._append({"number": number, "what": "data", "path": str(link), "size": status.st_size})

    def _append(self, note: dict[str, Any]) -> None:
        self._write(self._log, json.dumps(note).encode() + b"\n")


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


def forget(journal: Path, forgets: str, random: Random) -> None:
    """Takes back what a process that has ended had not synced.

    Args:
        forgets: one of `FORGETS`; `some`: of the names those from a random moment on, of each file a random rest.
    """
    unsynced = {note["number"]: note for note in _unsynced(journal)}
    names = [number for number, note in unsynced.items() if note["what"] != "data"]
    kept = {"nothing": len(names), "all": 0, "some": random.randint(0, len(names))}[forgets]
    for number in reversed(names[kept:]):
        _take_back_name(unsynced[number], journal / f"name-{number}")
    for note in unsynced.values():
        if note["what"] == "data" and forgets != "nothing":
            size = os.stat(note["path"]).st_size
            if size > note["size"]:
                os.truncate(note["path"], random.randint(note["size"], size) if forgets == "some" else note["size"])


def _unsynced(journal: Path) -> Iterator[dict[str, Any]]:
    log = journal / "log"
    notes = [json.loads(line) for line in log.read_text("utf-8").split("\n")[:-1]] if log.exists() else []
    synced = {number for note in notes for number in note.get("synced", ())}
    return (note for note in notes if "number" in note and note["number"] not in synced)


def _take_back_name(note: dict[str, Any], before: Path) -> None:
    """A note may be of a call that was not made any more."""
    path = Path(note["path"])
    if note["what"] == "create":
        path.unlink(missing_ok=True)
    elif note["what"] == "unlink":
        if not path.exists():
            os.link(before, path)
    elif path.exists() and path.stat().st_ino == note["inode"]:
        os.replace(path, note["source"])
        if before.exists():
            os.link(before, path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `install`."""
    parser.add_argument("--journal", type=Path, required=True, help="empty directory beside the one that is counted")
    parser.add_argument("--fault", type=Fault.parse, default=Fault("kill", sys.maxsize), help="KIND:CALL")
    parser.add_argument("--clock", type=float, default=0.0, help="seconds by which the clock is set before the fault")


def install(options: argparse.Namespace, directory: Path) -> Meter:
    """Puts a directory of this process on a faulty disk."""
    meter = Meter(options.journal, options.fault)
    if options.clock:
        _step_clock(options.clock, meter)
    directory.mkdir(exist_ok=True)
    FaultyDisk(directory, options.journal, meter).install()
    return meter


def _step_clock(seconds: float, meter: Meter) -> None:
    """Sets the wall clock forward or back in the middle between the start of this process and its fault."""
    wall = time.time

    def stepped() -> float:
        return wall() + (seconds if meter.past_middle else 0.0)

    time.time = stepped
    object.__setattr__(SYSTEM_CLOCK, "wall", stepped)


class _Vfs(ctypes.Structure):
    """SQLite's `sqlite3_vfs`, up to the functions that replace system calls."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("sizes", ctypes.c_int * 2),
        ("pointers", ctypes.c_void_p * 3),
        ("methods", ctypes.c_void_p * 13),
        ("set_call", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)),
        ("get_call", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)),
    )


def count_sqlite(meter: Meter) -> list[object]:
    """Counts the system calls by which SQLite writes, in this process; the result must be kept."""
    library = ctypes.CDLL("libsqlite3.so.0")
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(b"unix")
    number, text, pointer, size = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t
    calls = {
        "pwrite64": (ctypes.c_ssize_t, number, pointer, size, ctypes.c_int64),
        "write": (ctypes.c_ssize_t, number, pointer, size),
        "ftruncate": (number, number, ctypes.c_int64),
        "unlink": (number, text),
    }
    return [_counted(vfs, meter, name, ctypes.CFUNCTYPE(*types, use_errno=True)) for name, types in calls.items()]


def _counted(vfs: Any, meter: Meter, name: str, prototype: Any) -> object:
    real = prototype(vfs.contents.get_call(vfs, name.encode()))
    writes = name in ("write", "pwrite64")

    def call(*given: Any) -> int:
        half = (lambda: real(*given[:2], given[2] // 2, *given[3:])) if writes else None
        try:
            meter.call("write" if writes else name, half)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1
        result: int = real(*given)
        return result

    replacement = prototype(call)
    vfs.contents.set_call(vfs, name.encode(), ctypes.cast(replacement, ctypes.c_void_p))
    return replacement
