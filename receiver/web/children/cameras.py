"""Cameras of browsers: each has a sender process, whose frames are published like those of any sender.

browser ─ JPEG ─→ sender process ─ link ─→ receiver's pipeline
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from common.errors import OutputError
from common.io.logs import RepeatedLines
from common.wire.pictures import PictureHeader, PictureRefused
from receiver.link.own_senders import OwnKind
from receiver.link.server import LinkServer
from receiver.metrics import ReceiverMetrics
from receiver.publish.observer import ObservedSender
from receiver.web.children.sender_child import SENDER, ChildEnded, PictureSocket, SenderChild
from receiver.web.owners import CAMERA, owner_of
from receiver.web.pictures import PicturesUnavailable
from receiver.web.preemption import Visitor, make_room
from receiver.web.rate_limits import RateLimits, TriedTooOften

logger = logging.getLogger(__name__)

CAMERA_NAME = "browser camera"
"""Sender and source of these sessions."""

_START_TIMEOUT_S = 60.0
# Of one visitor: a start costs seconds of a core.
_STARTS = "6 per minute"


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """A frame on its way; `taken` is whether the sender process took it."""

    jpeg: bytes
    taken: asyncio.Future[bool]


class ChildCamera:
    """The sender process of one browser's camera; open it with `ChildCameras.open`."""

    def __init__(
        self,
        link: LinkServer,
        visitor: Visitor = (False, ""),
        *,
        metrics: ReceiverMetrics | None = None,
        command: Sequence[str] = SENDER,
    ) -> None:
        self.visitor, self.displaced = visitor, asyncio.Event()
        self._metrics = metrics or ReceiverMetrics()
        self._child = SenderChild(
            link,
            ObservedSender(CAMERA_NAME, owner_of(CAMERA, visitor[1]) if visitor[0] else CAMERA, OwnKind.CAMERA),
            "socket+live",
            on_end=self._on_child_end,
            restarts=False,
            command=command,
        )
        self._lines = RepeatedLines(logger)
        self._newest: _Frame | None = None
        self._changed = asyncio.Event()
        self._ended = False
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the process, and waits until it takes frames. Raises ChildEnded or OutputError if it does not."""
        await self._child.start()
        await self._child.ready()
        self._sending = asyncio.create_task(self._send_frames(), name="browser camera")

    async def push(self, jpeg: bytes) -> bool:
        """Gives the newest frame to the process; a frame that still waits is dropped for it.

        Returns:
            Whether the process took the frame; otherwise a newer one came first, or it is no readable picture.

        Raises:
            PicturesUnavailable: the process has ended; the browser has to begin again.
        """
        if self._ended:
            raise PicturesUnavailable("the process of this camera has ended: begin again")
        frame = _Frame(jpeg, asyncio.get_running_loop().create_future())
        replaced, self._newest = self._newest, frame
        if replaced is not None:
            _settle(replaced, False)
        self._changed.set()
        return await frame.taken

    async def close(self) -> None:
        """Ends the process and its session: the browser has left."""
        self._on_end()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._child.close()

    async def _send_frames(self) -> None:
        try:
            async with PictureSocket(self._child.socket_path) as connection:
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    frame, self._newest = self._newest, None
                    if frame is not None:
                        await self._send(connection, frame)
        except ChildEnded:
            self._on_end()

    async def _send(self, connection: PictureSocket, frame: _Frame) -> None:
        try:
            answer = await connection.send(PictureHeader(CAMERA_NAME), frame.jpeg)
        except BaseException:
            _fail(frame)
            raise
        if isinstance(answer, PictureRefused):
            text = f"a frame of a browser's camera was refused: {answer.reason}"
            self._lines.write(logging.INFO, "refused", text)
        _settle(frame, not isinstance(answer, PictureRefused))

    def _on_child_end(self) -> None:
        self._metrics.sender_process_ended()
        self._on_end()

    def _on_end(self) -> None:
        self._ended = True
        frame, self._newest = self._newest, None
        if frame is not None:
            _fail(frame)


def _settle(frame: _Frame, taken: bool) -> None:
    if not frame.taken.done():
        frame.taken.set_result(taken)


def _fail(frame: _Frame) -> None:
    if not frame.taken.done():
        frame.taken.set_exception(PicturesUnavailable("the process of this camera has ended: begin again"))


class ChildCameras:
    """The cameras of all browsers, `most` at a time; visitors share the places, and may start some a minute."""

    def __init__(
        self,
        link: LinkServer,
        most: int = 1,
        *,
        metrics: ReceiverMetrics | None = None,
        command: Sequence[str] = SENDER,
    ) -> None:
        self._link = link
        self._metrics = metrics or ReceiverMetrics()
        self._most = most
        self._command = command
        self._starts = RateLimits(_STARTS)
        self._open: list[ChildCamera] = []
        self._left = asyncio.Condition()
        self._closed = False

    @asynccontextmanager
    async def open(self, visitor: Visitor = (False, "")) -> AsyncIterator[ChildCamera]:
        """A camera for a block, which has to end soon when it is displaced.

        Raises:
            PicturesUnavailable: there are too many, or of this visitor, or the process cannot be started.
        """
        self._admit(visitor)
        camera = ChildCamera(self._link, visitor, metrics=self._metrics, command=self._command)
        self._open.append(camera)
        try:
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    # The process of a camera that was displaced for this one still has the memory.
                    async with self._left:
                        await self._left.wait_for(lambda: self._open.index(camera) < self._most)
                    await camera.start()
            except (ChildEnded, OutputError, TimeoutError) as error:
                raise PicturesUnavailable("the process for this camera cannot be started: try again later") from error
            yield camera
        finally:
            try:
                await camera.close()
            finally:
                self._open.remove(camera)
                async with self._left:
                    self._left.notify_all()

    async def close(self) -> None:
        """Ends all cameras."""
        self._closed = True
        await asyncio.gather(*(camera.close() for camera in self._open))

    def _admit(self, visitor: Visitor) -> None:
        try:
            self._starts.take(str(visitor))
        except TriedTooOften as error:
            detail = f"this camera was begun too often: try again in {math.ceil(error.wait_s)} s"
            raise PicturesUnavailable(detail) from error
        if self._closed or not make_room(self._open, visitor, self._most):
            raise PicturesUnavailable(f"{len(self._open)} cameras of browsers are in use: wait until one is free")
