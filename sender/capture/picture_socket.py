"""The Unix socket on which other programs send pictures to a sender, and the messages on it."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from pathlib import Path

from common.errors import SourceError
from common.wire.pictures import (
    MESSAGE_PREFIX,
    PictureAnswer,
    PictureRefused,
    check_sizes,
    encode_answer,
)

logger = logging.getLogger(__name__)

_BACKLOG = 16
# From the first byte of a message to its last.
_MESSAGE_TIMEOUT_S = 30.0
# For the program to read an answer.
_ANSWER_TIMEOUT_S = 10.0
# Bytes of a refused message are read and dropped for this long: closing at once would discard the answer, too.
_LINGER_S = 5.0
_LINGER_CHUNK_BYTES = 65_536
_PROBE_TIMEOUT_S = 1.0
_OWNER_ONLY = 0o600


class PictureListener:
    """A listening socket at a path, for programs of the same user; `close` removes it.

    Raises:
        SourceError: a sender listens there, something else is in its place, or it cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            self.socket.bind(str(path))
            # Nobody can connect before `listen`, so nobody can before the mode is set.
            path.chmod(_OWNER_ONLY)
            self._inode = path.stat().st_ino
            self.socket.listen(_BACKLOG)
        except (OSError, ValueError) as error:
            self.socket.close()
            raise SourceError(f"cannot listen on {path}: {getattr(error, 'strerror', None) or error}") from error
        except SourceError:
            self.socket.close()
            raise

    def close(self) -> None:
        self.socket.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()


def _remove_stale(path: Path) -> None:
    """Removes the socket file of a process that is gone.

    Raises:
        SourceError: the socket is in use, or the path is no socket.
        OSError: the path cannot be examined.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SourceError(f"{path} exists and is no socket: give --camera socket: a path that is free")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        # Full of connections that wait: it is in use.
        except (TimeoutError, BlockingIOError):
            pass
    raise SourceError(f"another sender listens on {path}: end it, or give --camera socket: another path")


async def receive(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """Header and image of the next message; None at the end of the connection.

    Raises:
        MalformedPacket: the sizes are out of range; the next message cannot be found.
        TimeoutError: the message takes too long.
        IncompleteReadError: the connection ended within the message.
    """
    # A connection may be idle for ever.
    first = await reader.read(1)
    if not first:
        return None
    async with asyncio.timeout(_MESSAGE_TIMEOUT_S):
        header_bytes, image_bytes = MESSAGE_PREFIX.unpack(first + await reader.readexactly(MESSAGE_PREFIX.size - 1))
        check_sizes(header_bytes, image_bytes)
        return await reader.readexactly(header_bytes), await reader.readexactly(image_bytes)


async def send(writer: asyncio.StreamWriter, answer: PictureAnswer) -> None:
    """Sends an answer; raises ConnectionError if the program does not read it."""
    if isinstance(answer, PictureRefused):
        logger.info("a picture was refused: %s", answer.reason)
    writer.write(encode_answer(answer))
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            await writer.drain()
    except TimeoutError as error:
        raise ConnectionError("the program does not read its answers") from error


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reason: str) -> None:
    """Answers a message whose end is unknown, and ends the connection."""
    with contextlib.suppress(OSError, TimeoutError):
        await send(writer, PictureRefused(reason))
        writer.write_eof()
        async with asyncio.timeout(_LINGER_S):
            while await reader.read(_LINGER_CHUNK_BYTES):
                pass
