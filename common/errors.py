"""What can go wrong, as one tree; each branch has the exit code that `sender` and `receiver` end with.

    BodywireError              1  anything below, caught at once
    ├── UsageError             2  a flag, an environment variable or the configuration file
    ├── SourceError            3  a camera or file: missing, unreadable, empty, lost
    ├── PeerError              4  the other end: unreachable, silent, or not speaking Bodywire
    │   └── WireError          4  bytes that arrived and that we will not decode
    │       ├── MalformedPacket       cut short, or its fields contradict each other
    │       ├── ChecksumMismatch      the content is not what was sent
    │       ├── VersionMismatch       another version of the codec or of the protocol
    │       ├── ModelMismatch         coded with networks or tables that we do not have
    │       └── MissingReference      predicted from a state that we never decoded
    ├── OutputError            5  a directory we cannot write, a port we cannot open
    └── WeightsError           6  trained weights: missing, damaged, or of another version

    KeyboardInterrupt        130  not ours, but documented with them

A message is one line, says what is wrong with which thing, and what to do about it.
"""

import os
import sys
from collections.abc import Callable
from typing import ClassVar

INTERRUPTED = 130


class BodywireError(Exception):
    """The root of every error that Bodywire raises on purpose (`ValueError` apart, for arguments)."""

    exit_code: ClassVar[int] = 1


class UsageError(BodywireError):
    """A flag, an environment variable or the configuration file does not make sense."""

    exit_code = 2


class SourceError(BodywireError):
    """A camera, file or stream is missing, unreadable or empty, or was lost."""

    exit_code = 3


class PeerError(BodywireError):
    """The other end is unreachable, fell silent, or speaks something else."""

    exit_code = 4


class WireError(PeerError):
    """Bytes from the other end that must not be decoded."""


class MalformedPacket(WireError):
    """A packet is cut short, or its fields contradict each other."""


class ChecksumMismatch(WireError):
    """A packet's content is not what its sender put in."""


class VersionMismatch(WireError):
    """A packet or a handshake comes from another version of the codec or the protocol."""


class ModelMismatch(WireError):
    """A packet or a handshake names networks or frequency tables other than ours."""


class MissingReference(WireError):
    """A packet is predicted from a state that was never decoded here."""


class OutputError(BodywireError):
    """A directory cannot be written, or a port cannot be opened."""

    exit_code = 5


class WeightsError(BodywireError):
    """Trained weights are missing, damaged, or of another version."""

    exit_code = 6


def exit_code_of(program: str, work: Callable[[], object]) -> int:
    """Runs a command line's `work` and gives the code to exit with.

    One of our errors becomes the line `program: message` on stderr, an interrupt becomes `INTERRUPTED`. Anything else
    is a bug and passes with its traceback.
    """
    try:
        work()
    except BodywireError as error:
        message = " ".join(str(error).split())
        sys.stderr.write(f"{program}: {message}\n")
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.stderr.write(f"{program}: interrupted\n")
        return INTERRUPTED
    return 0
