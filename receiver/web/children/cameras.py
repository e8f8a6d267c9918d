"""Cameras of browsers: each has a sender process, whose frames are published like those of any sender.

browser ─ JPEG ─→ sender process ─ link ─→ receiver's pipeline
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from common.errors import OutputError
from common.io.logs import RepeatedLines
from common.wire.pictures import PictureHeader, PictureRefused
from receiver.link.refusals import OwnKind
from receiver.link.server import LinkServer
from receiver.metrics import ReceiverMetrics
from receiver.publish.observer import ObservedSender
from receiver.web.children.sender_child import SENDER, ChildEnded, PictureSocket, SenderChild
from receiver.web.owners import CAMERA, owner_of
from receiver.web.places import NOBODY, Places, RateLimits, Refused, Visitor

logger = logging.getLogger(__name__)

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
        self._metrics = metrics
        self._child = SenderChild(
            link,
            ObservedSender(CAMERA_NAME, owner_of(CAMERA, visitor[1]) if visitor[0] else CAMERA, OwnKind.CAMERA),
            "socket+live",
            on_end=self._on_child_end,
            command=command,
        )
        self._lines = RepeatedLines(logger)
        self._connection: PictureSocket | None = None
        self._ended = False

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
        try:
            if self._ended or self._connection is None:
                raise ChildEnded("the sender process has ended")
            answer = await self._connection.send(PictureHeader(CAMERA_NAME), jpeg)
        except ChildEnded as error:
            self._ended = True
            raise Refused(503, "the process of this camera has ended: begin again") from error
        if isinstance(answer, PictureRefused):
            text = f"a frame of a browser's camera was refused: {answer.reason}"
            self._lines.write(logging.INFO, "refused", text)
        return not isinstance(answer, PictureRefused)

    async def close(self) -> None:
        """Ends the process and its session: the browser has left."""
        self._ended = True
        if self._connection is not None:
            self._connection.close()
        await self._child.close()

    def _on_child_end(self) -> None:
        self._metrics.sender_process_ended()
        self._ended = True


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
