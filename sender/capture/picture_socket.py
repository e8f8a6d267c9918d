"""The Unix socket on which other programs send pictures to a sender, and the messages on it."""

import contextlib
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from common.errors import MalformedPacket, SourceError
from common.io.logs import RepeatedLines
from common.wire.pictures import (
    MESSAGE_PREFIX,
    PictureAnswer,
    PictureRefused,
    check_sizes,
    encode_answer,
)

logger = logging.getLogger(__name__)

# Each connection may hold one encoded picture.
MAX_CONNECTIONS = 8
_BACKLOG = 16
# For a program to send more of a message that it has begun, and to read an answer.
_TIMEOUT_S = 30.0
_PROBE_TIMEOUT_S = 1.0
# After a connection that could not be taken.
_PAUSE_S = 1.0
_OWNER_ONLY = 0o600


class PictureServer:
    """Listens at a path, for programs of the same user, and answers each message; `close` removes the path.

    Args:
        answer: gets header and image of each message, in a thread of its connection.

    Raises:
        SourceError: a sender listens there, something else is in its place, or it cannot be created.
    """

    def __init__(self, path: Path, answer: Callable[[bytes, bytes], PictureAnswer]) -> None:
        self._path, self._answer = path, answer
        self._connections: set[socket.socket] = set()
        self._closing = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            self._listener.bind(str(path))
            # Nobody can connect before `listen`, so nobody can before the mode is set.
            path.chmod(_OWNER_ONLY)
            self._inode = path.stat().st_ino
            self._listener.listen(_BACKLOG)
        except (OSError, ValueError) as error:
            self._listener.close()
            raise SourceError(f"cannot listen on {path}: {getattr(error, 'strerror', None) or error}") from error
        except SourceError:
            self._listener.close()
            raise
        threading.Thread(target=self._accept, name=f"capture {path}", daemon=True).start()

    def close(self) -> None:
        """Ends all connections. Safe to call twice."""
        self._closing.set()
        for each in (self._listener, *list(self._connections)):
            with contextlib.suppress(OSError):  # which wakes the thread that waits for it
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self) -> None:
        lines = RepeatedLines(logger)
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._closing.is_set():
                    lines.write(logging.WARNING, error.errno, f"no connection with pictures can be taken: {error}")
                    self._closing.wait(_PAUSE_S)  # for a descriptor, or for memory
                continue
            self._connections.add(connection)
            thread = threading.Thread(target=self._converse, args=(connection,), name="pictures", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # there is no memory for it
                lines.write(logging.WARNING, "thread", f"a connection with pictures is refused: {error}")
                self._connections.discard(connection)
                connection.close()

    def _converse(self, connection: socket.socket) -> None:
        """Takes the pictures of a connection, one after the other, and answers them; whatever arrives, it goes on."""
        try:
            if len(self._connections) > MAX_CONNECTIONS:
                raise MalformedPacket(f"too many connections: at most {MAX_CONNECTIONS} at a time")
            while (message := _receive(connection)) is not None:
                _send(connection, self._answer(*message))
        except (MalformedPacket, TimeoutError) as error:
            reason = str(error) if isinstance(error, MalformedPacket) else "the message was not complete in time"
            with contextlib.suppress(OSError):
                _send(connection, PictureRefused(reason))
        except (OSError, EOFError) as error:
            logger.info("a connection with pictures broke: %s", error)
        finally:
            self._connections.discard(connection)
            connection.close()


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


def _receive(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """Header and image of the next message; None at the end of the connection.

    Raises:
        MalformedPacket: the sizes are out of range; the next message cannot be found.
        TimeoutError: the message takes too long.
        EOFError: the connection ended within the message.
    """
    # A connection may be idle for ever.
    connection.settimeout(None)
    first = connection.recv(1)
    if not first:
        return None
    connection.settimeout(_TIMEOUT_S)
    header_bytes, image_bytes = MESSAGE_PREFIX.unpack(first + _read(connection, MESSAGE_PREFIX.size - 1))
    check_sizes(header_bytes, image_bytes)
    return _read(connection, header_bytes), _read(connection, image_bytes)


def _read(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("it ended within a message")
        data += part
    return bytes(data)


def _send(connection: socket.socket, answer: PictureAnswer) -> None:
    if isinstance(answer, PictureRefused):
        logger.info("a picture was refused: %s", answer.reason)
    connection.settimeout(_TIMEOUT_S)
    connection.sendall(encode_answer(answer))
