"""Pictures and frames that other programs send: `--camera socket:PATH` and `--camera socket+live:PATH`."""

import asyncio
import itertools
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import MalformedPacket, SourceError
from common.wire.pictures import PictureAccepted, PictureAnswer, PictureHeader, PictureRefused, decode_header
from sender.capture.images import decode_image
from sender.capture.picture_socket import PictureListener, receive, refuse, send
from sender.capture.source import CapturedFrame, FrameSource, camera_of
from sender.metrics import DropReason, SenderMetrics

logger = logging.getLogger(__name__)

# Each connection may hold one encoded picture.
MAX_CONNECTIONS = 8
_CLOSE_TIMEOUT_S = 0.5


class SocketSource(FrameSource):
    """Takes pictures on a Unix socket, from one connection or several.

    Pictures: none is dropped, and each is a source of its own, so that its people are new ones. A picture is decoded
    when the one before has left; a program that sends faster waits for its answers. Live: the newest frame replaces
    one that waits, and frames of one name are one source.

    Either way the source does not end by itself. At most three decoded pictures are in memory, and an encoded one for
    each connection. `close`, from any thread, ends an iteration that waits.

    Args:
        live: whether only the newest frame counts.
        focal_px: of pictures that come without one.

    Raises:
        SourceError: the socket cannot be created, or another sender uses it.
    """

    def __init__(
        self,
        path: Path,
        *,
        live: bool,
        focal_px: float | None = None,
        metrics: SenderMetrics | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.live, self.stills, self.ends = live, not live, False
        self._name = path.stem
        self._focal_px = focal_px
        self._metrics = SenderMetrics() if metrics is None else metrics
        self._clock = clock
        self._began_s = clock.monotonic()
        self._listener = PictureListener(path)
        self._waiting: asyncio.Queue[CapturedFrame] = asyncio.Queue(maxsize=1)
        self._turn = asyncio.Lock()
        self._taken = 0
        self._last_source = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._closing = threading.Lock()
        self._closed = False
        self._connections = 0
        self._thread = threading.Thread(target=self._run, name=f"capture {path}", daemon=True)
        self._thread.start()
        self._metrics.camera_up(True)

    def __iter__(self) -> Iterator[CapturedFrame]:
        for sequence in itertools.count():
            frame = self._next()
            if frame is None:
                return
            # Frames that were replaced have no number.
            yield replace(frame, sequence=sequence)

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=_CLOSE_TIMEOUT_S)
        self._metrics.camera_up(False)

    def _next(self) -> CapturedFrame | None:
        with self._closing:
            if self._closed:
                return None
            # Requested before the loop can learn that it has to stop, so that stopping cancels it.
            frame = asyncio.run_coroutine_threadsafe(self._waiting.get(), self._loop)
        try:
            return frame.result()
        except CancelledError:
            return None

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            server = await asyncio.start_unix_server(self._converse, sock=self._listener.socket)
            await self._stop.wait()
            server.close()
        finally:
            self._listener.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes the pictures of a connection, one after the other, and answers them; whatever arrives, it goes on."""
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                await refuse(reader, writer, f"too many connections: at most {MAX_CONNECTIONS} at a time")
                return
            while (message := await receive(reader)) is not None:
                await send(writer, await self._answer(*message))
        except MalformedPacket as error:
            await refuse(reader, writer, str(error))
        except TimeoutError:
            await refuse(reader, writer, "the message was not complete in time")
        except (OSError, asyncio.IncompleteReadError) as error:
            logger.info("a connection with pictures broke: %s", error)
        except asyncio.CancelledError:
            # The sender stops. Until Python 3.12, asyncio reports a connection whose task is cancelled as an error.
            pass
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, header: bytes, image: bytes) -> PictureAnswer:
        try:
            return await self._take(decode_header(header), image)
        except (MalformedPacket, SourceError) as error:
            return PictureRefused(str(error))

    async def _take(self, header: PictureHeader, image: bytes) -> PictureAnswer:
        """Decodes a picture in its turn, and waits until there is room for it.

        Raises:
            SourceError: it is no readable picture.
        """
        captured_at, arrived_s = self._clock.wall(), self._clock.monotonic()
        async with self._turn:
            try:
                picture = await asyncio.to_thread(decode_image, image)
                camera = camera_of(picture.image, header.focal_px or self._focal_px or picture.focal_px)
            except SourceError:
                self._metrics.frame_dropped(DropReason.UNREADABLE)
                raise
            source = self._source(header.name)
            frame = CapturedFrame(
                0,
                source,
                captured_at if header.captured_at is None else header.captured_at,
                arrived_s - self._began_s if self.live else 0.0,
                picture.image,
                camera,
            )
            self._taken += 1
            if self.live and self._waiting.full():
                self._waiting.get_nowait()
                self._metrics.frame_dropped(DropReason.REPLACED)
            await self._waiting.put(frame)
        return PictureAccepted(source, camera.width, camera.height)

    def _source(self, name: str | None) -> str:
        """The name of a live camera, or of a picture: never that of the picture before, whose people are others."""
        if self.live:
            return name or self._name
        source = name or f"picture {self._taken + 1}"
        if source == self._last_source:
            source = f"{source} ({self._taken + 1})"
        self._last_source = source
        return source
