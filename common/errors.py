"""The tree of errors; each branch has the exit code of `sender` and `receiver`.

    BodywireError              1  the common base class
    ├── UsageError             2  a flag, an environment variable or the configuration file
    ├── SourceError            3  a camera or file: missing, unreadable, empty, lost
    │   └── RecordingError     3  a recording: not one, damaged, cut, or of another version
    ├── PeerError              4  the peer is unreachable, does not respond, or does not speak Bodywire
    │   └── WireError          4  received bytes that are refused
    │       ├── MalformedPacket       truncated, or with inconsistent fields
    │       ├── ChecksumMismatch      damaged content
    │       ├── VersionMismatch       another version of the codec or the protocol
    │       ├── ModelMismatch         coded with other networks or tables
    │       └── MissingReference      predicted from a frame that was not decoded here
    ├── OutputError            5  a directory cannot be written, a port cannot be opened
    │   └── ResourceError      5  too little memory, address space or file descriptors
    ├── WeightsError           6  trained weights: missing, damaged, or of another version
    └── ForkError              1  the library in a process that was forked too late

    KeyboardInterrupt        130  interrupted by the user

A message is one line: the object, what is wrong with it, and what to do.  It may quote text of the peer, so that it has
to be made printable (`common.text`) before it is shown.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import ClassVar

from common.text import printable

INTERRUPTED = 130
_MAX_MESSAGE_CHARACTERS = 2000

_SHORTAGES = {errno.ENOMEM: "memory", errno.EMFILE: "file descriptors", errno.ENFILE: "file descriptors"}
_FULL = (errno.ENOSPC, errno.EDQUOT)
# No space would help.
_FORBIDDEN = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EFBIG),
)
# What the dynamic linker, torch and `threading` say where they raise no MemoryError.
_SHORTAGE_WORDS = (
    *("cannot allocate memory", "can't allocate memory", "failed to map segment", "not enough memory"),
    *("bad_alloc", "bad allocation", "can't start new thread", "out of memory"),
)


class BodywireError(Exception):
    """Base class of all errors that Bodywire raises, except `ValueError` for wrong arguments."""

    exit_code: ClassVar[int] = 1


class UsageError(BodywireError):
    """A flag, an environment variable or the configuration file is invalid."""

    exit_code = 2


class SourceError(BodywireError):
    """A camera, file or stream is missing, unreadable or empty, or the connection to it was lost."""

    exit_code = 3


class RecordingError(SourceError):
    """A recording cannot be replayed: it is none, damaged, or of another version."""


class PeerError(BodywireError):
    """The peer is unreachable, does not respond, or does not speak Bodywire."""

    exit_code = 4


class WireError(PeerError):
    """Bytes from the peer are refused."""


class MalformedPacket(WireError):
    """A packet is truncated, or its fields are inconsistent."""


class ChecksumMismatch(WireError):
    """A packet's content was damaged."""


class VersionMismatch(WireError):
    """A packet or a handshake is from another version of the codec or the protocol."""


class ModelMismatch(WireError):
    """A packet or a handshake is from other networks or frequency tables."""


class MissingReference(WireError):
    """A packet is predicted from a frame that was not decoded here."""


class OutputError(BodywireError):
    """A directory cannot be written, or a port cannot be opened."""

    exit_code = 5


class ResourceError(OutputError):
    """The machine, or a limit on the process, gives too little memory, address space or file descriptors."""


class WeightsError(BodywireError):
    """Trained weights are missing, damaged, or of another version."""

    exit_code = 6


class ForkError(BodywireError):
    """The library was used before this process was forked, and cannot be used in it."""


def disk_remedy(error: OSError, elsewhere: str) -> str:
    """What to do about a file that cannot be written; `elsewhere` says how to choose another place."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "close other programs, or raise the limit of open files (ulimit -n)"
    return elsewhere if error.errno in _FORBIDDEN else f"free some space or {elsewhere}"


def exit_code_of(program: str, work: Callable[[], object]) -> int:
    """Runs the `work` of a command line and returns its exit code.

    A `BodywireError` is printed to stderr as the line `program: message`, and so is a lack of memory or of file
    descriptors, and an output that cannot be written; an interrupt gives `INTERRUPTED`. Any other exception is a bug
    and propagates.
    """
    try:
        try:
            work()
        except SystemExit:  # of `--help` and `--version`
            _flush_output()
            raise
        _flush_output()
    except BodywireError as error:
        return _report(program, error)
    except BrokenPipeError:
        # The reader closed the pipe (`| head`).
        _discard_output()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{program}: interrupted\n")
        return INTERRUPTED
    except (MemoryError, OSError, ImportError, RuntimeError) as error:
        reported = _reported(error)
        if reported is None:
            raise
        return _report(program, reported)
    return 0


def _report(program: str, error: BodywireError) -> int:
    message = printable(" ".join(str(error).split()), _MAX_MESSAGE_CHARACTERS)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{program}: {message}\n")
    with contextlib.suppress(OutputError, BrokenPipeError):
        _flush_output()
    return error.exit_code


def _flush_output() -> None:
    """Writes what is buffered for stdout; the interpreter's own flush at exit would fail with a traceback.

    Raises:
        OutputError: stdout cannot be written.
        BrokenPipeError: the reader of stdout is gone.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise OutputError(f"cannot write the output: {error.strerror}") from error


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reported(error: BaseException) -> OutputError | None:
    """The error to report if the machine had too little of something; None for a bug."""
    cause: BaseException | None = error
    while cause is not None:
        missing = _SHORTAGES.get(cause.errno or 0) if isinstance(cause, OSError) else None
        if isinstance(cause, MemoryError) or any(words in str(cause).lower() for words in _SHORTAGE_WORDS):
            missing = missing or "memory"
        if missing:
            return ResourceError(f"too little {missing}: end other programs, or raise the limits (ulimit -a)")
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return OutputError(f"cannot write {cause.filename or 'the output'}: {cause.strerror}")
        cause = cause.__cause__ or cause.__context__
    return None
