"""`sender` processes of the receiver's own, for pictures, clips and cameras that come over the web.

    picture ─→ Unix socket ─→ sender process ─→ link ─→ pipeline ─→ observers
    or a clip: file ─────────→

The receiver does not import the sender: it starts it as its users do, and it ends with the receiver. Its frames come by
the link of all senders; a token says which process it is, and so whose sessions they are (`receiver.link.refusals`).

Cameras of browsers: each has a sender process, whose frames are published like those of any sender.

browser ─ JPEG ─→ sender process ─ link ─→ receiver's pipeline
"""

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from common.errors import MalformedPacket, OutputError
from common.io.files import PrivateFolder, atomic_write
from common.io.logs import RepeatedLines
from common.io.tasks import cancel
from common.wire.pictures import (
    ANSWER_PREFIX,
    MAX_ANSWER_BYTES,
    PictureAnswer,
    PictureHeader,
    PictureRefused,
    decode_answer,
    encode_picture,
)
from receiver.link.refusals import OwnKind
from receiver.link.server import LinkServer
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.publish.observer import ObservedSender, SessionObserver
from receiver.web.children.standby import begun, give_options, own_program
from receiver.web.owners import CAMERA, owner_of
from receiver.web.places import NOBODY, Places, RateLimits, Refused, Visitor

logger = logging.getLogger(__name__)

SENDER = own_program("sender")
"""The command of a child, before its flags."""

_END_TIMEOUT_S = 5.0
# The process waits for a receiver that is busy: who has no use for it any more ends it, and it ends with the receiver.
_PATIENCE = ("--connect-timeout", "3600", "--reconnect-timeout", "3600")
_WORDS = 20
_OWNER_ONLY = 0o600
# Beside the networks: the largest picture that is accepted takes 1.5 GB at most.
_MOST_MORE_BYTES = 2_000_000_000


class ChildEnded(Exception):
    """The sender process has ended, or cannot be started."""


class SenderChild:
    """A sender process, watched to its end; it ends with the receiver.

    Args:
        sender: what its sessions are.
        source: `socket` for pictures, `socket+live` for a camera, or the file of a clip, with which the process ends.
        on_end: called when the process has ended by itself.
        nice: how much of the processor it leaves to others.
        waiting: a process that has been started with these flags, and waits for the others; by default one is started.
    """

    def __init__(
        self,
        link: LinkServer,
        sender: ObservedSender,
        source: str | Path,
        *,
        flags: Sequence[str] = (),
        on_end: Callable[[], None] = lambda: None,
        nice: int = 0,
        command: Sequence[str] = SENDER,
        waiting: asyncio.subprocess.Process | None = None,
    ) -> None:
        self._link, self._name = link, sender.name
        self._connected = asyncio.Event()
        self._sender = replace(sender, observers=(*sender.observers, _Connected(self._has_connected)))
        self._on_end, self._nice = on_end, nice
        self._source = source
        self._command = (*command, "--log-level", "warning", *flags)
        self.words = deque[str](maxlen=_WORDS)
        """The newest lines of the process's log."""
        self._folder: PrivateFolder | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._waiting = waiting
        self._supervision: asyncio.Task[int | None] | None = None

    @property
    def socket_path(self) -> Path:
        """Where the process takes pictures, once it was started."""
        assert self._folder is not None
        return self._folder.path / "pictures.sock"

    async def start(self) -> None:
        """Starts the process. Raises OutputError if no folder can be written."""
        address, token = self._link.admit(self._sender)
        try:
            self._folder = PrivateFolder()
            token_file = self._folder.path / "token"
            atomic_write(token_file, token.encode(), mode=_OWNER_ONLY)
        except OSError as error:
            raise OutputError(f"cannot write temporary files: {error.strerror}") from error
        source = self._source
        camera = ("--camera", str(source) if isinstance(source, Path) else f"{source}:{self.socket_path}")
        # On the loopback bytes cost nothing, and gRPC the least time.
        over = ("--peer", str(address), "--transport", "grpc", "--token-file", str(token_file))
        flags = (*camera, *over, *_PATIENCE)
        self._supervision = asyncio.create_task(self._supervise(flags), name=f"sender for {self._name}")

    @property
    def has_ended(self) -> bool:
        """Whether it was started and takes no pictures any more."""
        return self._supervision is not None and self._supervision.done()

    @property
    def was_ready(self) -> bool:
        """Whether it has ever taken pictures."""
        return self._connected.is_set()

    async def ready(self) -> None:
        """Waits until the process takes pictures. Raises ChildEnded if it has ended or ends before."""
        assert self._supervision is not None
        connected = asyncio.create_task(self._connected.wait())
        try:
            await asyncio.wait((connected, self._supervision), return_when=asyncio.FIRST_COMPLETED)
        finally:
            connected.cancel()
        if self.has_ended:
            raise ChildEnded("the sender process has ended")

    async def ended(self) -> int | None:
        """Waits until the process has ended; its exit code, None if it has none."""
        assert self._supervision is not None
        await asyncio.wait((self._supervision,))
        return None if self._supervision.cancelled() else self._supervision.result()

    def kill(self) -> None:
        """Ends a process that has taken pictures and does not answer any more."""
        if self.was_ready and self._process is not None and self._process.returncode is None:
            # `Process.kill` asks for the exit code first, which asyncio then does not get of one that has just ended.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Ends the process and its sessions, and removes its files. Safe to call twice."""
        if self._supervision is not None:
            await cancel([self._supervision])
        await self._link.dismiss(self._sender)
        if self._folder is not None:
            self._folder.remove()

    def _has_connected(self) -> None:
        if self._process is not None:
            _limit_memory(self._process.pid)
        self._connected.set()

    async def _supervise(self, flags: Sequence[str]) -> int | None:
        exit_code, reason = await self._run(flags)
        await self._link.end_sessions(self._sender)
        self._on_end()
        level = logging.WARNING if exit_code != 0 else logging.INFO
        logger.log(level, "the sender process for %s ended (%s)", self._name, reason)
        return exit_code

    async def _run(self, flags: Sequence[str]) -> tuple[int | None, str]:
        """Runs the process to its end; its exit code, None if it cannot be started, and how it ended."""
        assert self._folder is not None
        try:
            self._process = process = give_options(self._waiting, flags) or await begun((*self._command, *flags))
        except OSError as error:
            return None, error.strerror or str(error)
        if self._nice:
            with contextlib.suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, self._nice)
        try:
            await self._log_lines(process)
            exit_code = await process.wait()
            return exit_code, f"exit code {exit_code}"
        finally:
            await end_process(process)

    async def _log_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                # Longer than the limit; what is left of it is dropped.
                continue
            if not line:
                return
            self.words.append(_message_of(line.decode(errors="replace").rstrip()))
            logger.warning("%s: %s", self._name, self.words[-1])


def _message_of(line: str) -> str:
    """What a log record says, which is JSON; another line as it is."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line


class _Connected(SessionObserver):
    """Tells when the process has connected."""

    def __init__(self, connected: Callable[[], None]) -> None:
        self._connected = connected

    def session_began(self, number: int, session: Session) -> None:
        # After the turn of the event loop in which the sender gets its Welcome.
        asyncio.get_running_loop().call_soon(self._connected)


def _limit_memory(pid: int) -> None:
    """Lets a process whose networks are loaded take so much more memory, whatever it is sent; on Linux alone."""
    with contextlib.suppress(OSError, AttributeError, IndexError):
        taken_kb = int(Path(f"/proc/{pid}/status").read_text().split("VmData:")[1].split()[0])
        most = 1024 * taken_kb + _MOST_MORE_BYTES
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Ends a process: politely, then at once."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


_GONE = "the sender process has ended"


class PictureSocket:
    """A connection to a sender, on which pictures are sent one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Connects. Raises ChildEnded if nobody listens."""
        try:
            return cls(*await asyncio.open_unix_connection(path))
        except OSError as error:
            raise ChildEnded(_GONE) from error

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()

    async def send(self, header: PictureHeader, image: bytes) -> PictureAnswer:
        """Sends a picture; returns the answer. Raises ChildEnded if the connection ends, or it makes no sense."""
        try:
            message = encode_picture(header, image)
        except MalformedPacket as error:
            return PictureRefused(str(error))
        try:
            self._writer.write(message)
            await self._writer.drain()
            (size,) = ANSWER_PREFIX.unpack(await self._reader.readexactly(ANSWER_PREFIX.size))
            if size > MAX_ANSWER_BYTES:
                raise MalformedPacket(f"an answer of {size} bytes")
            return decode_answer(await self._reader.readexactly(size))
        except (OSError, asyncio.IncompleteReadError, MalformedPacket) as error:
            raise ChildEnded(_GONE) from error


CAMERA_NAME = "browser camera"
"""Sender and source of these sessions."""

_START_TIMEOUT_S = 60.0
# Of one visitor: a start costs seconds of a core.
_STARTS = "6 per minute"


class ChildCamera:
    """The sender process of one browser's camera; open it with `ChildCameras.open`."""

    def __init__(
        self,
        link: LinkServer,
        visitor: Visitor,
        metrics: ReceiverMetrics,
        command: Sequence[str],
    ) -> None:
        self._child = SenderChild(
            link,
            ObservedSender(CAMERA_NAME, owner_of(CAMERA, visitor[1]) if visitor[0] else CAMERA, OwnKind.CAMERA),
            "socket+live",
            on_end=metrics.sender_process_ended,
            command=command,
        )
        self._lines = RepeatedLines(logger)
        self._connection: PictureSocket | None = None

    async def start(self) -> None:
        """Starts the process, and waits until it takes frames. Raises ChildEnded or OutputError if it does not."""
        await self._child.start()
        await self._child.ready()
        self._connection = await PictureSocket.connect(self._child.socket_path)

    async def push(self, jpeg: bytes) -> bool:
        """Gives the newest frame to the process, in which it replaces one that waits; one at a time.

        Returns:
            Whether the process took the frame: otherwise it is no readable picture.

        Raises:
            Refused: 503 the process has ended; the browser has to begin again.
        """
        assert self._connection is not None
        try:
            answer = await self._connection.send(PictureHeader(CAMERA_NAME), jpeg)
        except ChildEnded as error:
            raise Refused(503, "the process of this camera has ended: begin again") from error
        if isinstance(answer, PictureRefused):
            text = f"a frame of a browser's camera was refused: {answer.reason}"
            self._lines.write(logging.INFO, "refused", text)
        return not isinstance(answer, PictureRefused)

    async def close(self) -> None:
        """Ends the process and its session: the browser has left."""
        if self._connection is not None:
            self._connection.close()
        await self._child.close()


class ChildCameras:
    """The cameras of all browsers, `most` at a time; visitors share the places, and may start some a minute."""

    def __init__(self, link: LinkServer, most: int, metrics: ReceiverMetrics, command: Sequence[str] = SENDER) -> None:
        self._link, self._metrics, self._command = link, metrics, command
        self._starts, self._places = RateLimits(_STARTS, "cameras"), Places(most, most, "cameras of browsers")
        self._open: set[ChildCamera] = set()
        self._closed = False

    @asynccontextmanager
    async def open(self, visitor: Visitor = NOBODY) -> AsyncIterator[ChildCamera]:
        """A camera for a block.

        Raises:
            Refused: there are too many, or of this visitor, or the process cannot be started.
        """
        self._starts.take(str(visitor))
        with self._places.take(visitor):
            if self._closed:
                raise Refused(503, "the receiver is stopping: try again later")
            camera = ChildCamera(self._link, visitor, self._metrics, self._command)
            self._open.add(camera)
            try:
                try:
                    async with asyncio.timeout(_START_TIMEOUT_S):
                        await camera.start()
                except (ChildEnded, OutputError, TimeoutError) as error:
                    raise Refused(503, "the process for this camera cannot be started: try again later") from error
                yield camera
            finally:
                self._open.discard(camera)
                await camera.close()

    async def close(self) -> None:
        """Ends all cameras."""
        self._closed = True
        await asyncio.gather(*(camera.close() for camera in self._open))
