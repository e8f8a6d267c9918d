"""Pictures and frames that other programs send: `--camera socket:PATH` and `--camera socket+live:PATH`."""

import itertools
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common.clock import STEADY_CLOCK, BridgedTimes, Clock
from common.errors import MalformedPacket, SourceError
from common.wire.pictures import PictureAccepted, PictureAnswer, PictureHeader, PictureRefused, decode_header
from sender.capture.images import decode_image
from sender.capture.picture_socket import PictureServer
from sender.capture.source import CapturedFrame, FrameSource, camera_of
from sender.metrics import DropReason, SenderMetrics

logger = logging.getLogger(__name__)

# From one frame to the next, until two are known.
_INTERVAL_S = 1 / 30
# The year 1980: what is less are seconds since a machine's start.
_LEAST_EPOCH_S = 315_532_800.0


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
        clock: Clock = STEADY_CLOCK,
    ) -> None:
        self.live, self.stills, self.ends = live, not live, False
        self._name = path.stem
        self._focal_px = focal_px
        self._metrics = SenderMetrics() if metrics is None else metrics
        self._clock = clock
        self._began_s = clock.monotonic()
        self._times = BridgedTimes(_INTERVAL_S)
        self._waiting: CapturedFrame | None = None
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._taken = 0
        self._last_source = ""
        self._closed = self._warned = False
        self._server = PictureServer(path, self._answer)
        self._metrics.camera_up(True)

    def __iter__(self) -> Iterator[CapturedFrame]:
        for sequence in itertools.count():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                frame, self._waiting = self._waiting, None
                self._changed.notify_all()
            if frame is None or self._closed:
                return
            # Frames that were replaced have no number.
            yield replace(frame, sequence=sequence)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.close()
        self._metrics.camera_up(False)

    def _answer(self, header: bytes, image: bytes) -> PictureAnswer:
        try:
            return self._take(decode_header(header), image)
        except (MalformedPacket, SourceError) as error:
            return PictureRefused(str(error))

    def _take(self, header: PictureHeader, image: bytes) -> PictureAnswer:
        """Decodes a picture in its turn, and waits until there is room for it.

        Raises:
            SourceError: it is no readable picture.
        """
        captured_at, arrived_s = self._clock.wall(), self._clock.monotonic()
        with self._turn:
            try:
                picture = decode_image(image)
                camera = camera_of(picture.image, header.focal_px or self._focal_px or picture.focal_px)
            except SourceError:
                self._metrics.frame_dropped(DropReason.UNREADABLE)
                raise
            source = self._source(header.name)
            if header.captured_at is not None and self._is_epoch(header.captured_at):
                # Of a stream they are times of one clock, of pictures any.
                captured_at = self._times.following(header.captured_at) if self.live else header.captured_at
            frame = CapturedFrame(
                0,
                source,
                captured_at,
                arrived_s - self._began_s if self.live else 0.0,
                picture.image,
                camera,
            )
            self._taken += 1
            self._put(frame)
        return PictureAccepted(source, camera.width, camera.height)

    def _is_epoch(self, time_s: float) -> bool:
        """Whether a program counts its times from 1970, and not from the start of its machine: the first is told."""
        if time_s < _LEAST_EPOCH_S and not self._warned:
            self._warned = True
            text = "%s: captured_at has to be seconds since 1970, and %g is none of now: times of arrival are taken"
            logger.warning(text, self._name, time_s)
        return time_s >= _LEAST_EPOCH_S

    def _put(self, frame: CapturedFrame) -> None:
        with self._changed:
            if self.live:
                self._metrics.camera_frame()
            if not self.live:
                self._changed.wait_for(lambda: self._waiting is None or self._closed)
            elif self._waiting is not None:
                self._metrics.frame_dropped(DropReason.REPLACED)
                frame = replace(frame, is_late=True)
            self._waiting = frame
            self._changed.notify_all()

    def _source(self, name: str | None) -> str:
        """The name of a live camera, or of a picture: never that of the picture before, whose people are others."""
        if self.live:
            return name or self._name
        source = name or f"picture {self._taken + 1}"
        if source == self._last_source:
            source = f"{source} ({self._taken + 1})"
        self._last_source = source
        return source
