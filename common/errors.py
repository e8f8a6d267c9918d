"""The tree of errors; each branch has the exit code of `sender` and `receiver`.

    BodywireError              1  the common base class
    ├── UsageError             2  a flag, an environment variable or the configuration file
    ├── SourceError            3  a camera or file: missing, unreadable, empty, lost
    ├── PeerError              4  the peer is unreachable, does not respond, or does not speak Bodywire
    │   └── WireError          4  received bytes that are refused
    │       ├── MalformedPacket       truncated, or with inconsistent fields
    │       ├── ChecksumMismatch      damaged content
    │       ├── VersionMismatch       another version of the codec or the protocol
    │       ├── ModelMismatch         coded with other networks or tables
    │       └── MissingReference      predicted from a frame that was not decoded here
    ├── OutputError            5  a directory cannot be written, a port cannot be opened
    └── WeightsError           6  trained weights: missing, damaged, or of another version

    KeyboardInterrupt        130  interrupted by the user

A message is one line: the object, what is wrong with it, and what to do.  It may quote text of the peer, so that it has
to be made printable (`common.text`) before it is shown.
"""

import os
import sys
from collections.abc import Callable
from typing import ClassVar

from common.text import printable

INTERRUPTED = 130
_MAX_MESSAGE_CHARACTERS = 2000


class BodywireError(Exception):
    """Base class of all errors that Bodywire raises, except `ValueError` for wrong arguments."""

    exit_code: ClassVar[int] = 1


class UsageError(BodywireError):
    """A flag, an environment variable or the configuration file is invalid."""

    exit_code = 2


class SourceError(BodywireError):
    """A camera, file or stream is missing, unreadable or empty, or the connection to it was lost."""

    exit_code = 3


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


class WeightsError(BodywireError):
    """Trained weights are missing, damaged, or of another version."""

    exit_code = 6


def exit_code_of(program: str, work: Callable[[], object]) -> int:
    """Runs the `work` of a command line and returns its exit code.

    A `BodywireError` is printed to stderr as the line `program: message`; an interrupt gives `INTERRUPTED`. Any other
    exception is a bug and propagates.
    """
    try:
        work()
    except BodywireError as error:
        message = printable(" ".join(str(error).split()), _MAX_MESSAGE_CHARACTERS)
        sys.stderr.write(f"{program}: {message}\n")
        return error.exit_code
    except BrokenPipeError:
        # The reader closed the pipe (`| head`); the flush at exit must not fail on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted\n")
        return INTERRUPTED
    return 0
