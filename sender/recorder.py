"""Records what is sent (`--record`), with a receiver or without one.

The recording has a chain of packets of its own: every captured frame is in it, at the finest quantisation, whatever the
link drops or compresses. A key frame every ten seconds is where a replay can begin.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.frames import LabelFrame
from common.labels import GROUP_NAMES
from common.recording.format import RecordedFrame
from common.recording.writer import BackgroundRecording, RecordingWriter
from common.text import counted
from sender.pipeline import Delivery

_FINEST: Final = dict.fromkeys(GROUP_NAMES, 0.0)
_KEY_EVERY_US: Final = 10_000_000


class NoPeer:
    """Takes every frame at once, and sends nothing."""

    def __init__(self, on_frame: Callable[[LabelFrame], None]) -> None:
        self._on_frame = on_frame

    @property
    def outstanding(self) -> int:
        return 0

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        self._on_frame(frame)

    def post(self, blob: Blob) -> None:
        """Takes a blob."""

    async def drain(self) -> None:
        """Every frame was taken."""

    async def close(self) -> None:
        """There is nothing to close."""


class SenderRecorder:
    """Encodes and writes frames in a thread of its own.

    Args:
        writer: of a new file.
        codec: new, and not progressive: a replay may begin at any key frame.
    """

    def __init__(self, writer: RecordingWriter, codec: FrameCodec) -> None:
        self._codec = codec
        self._background = BackgroundRecording(writer)
        self._key_us: int | None = None
        self.blob = self._background.add_blob

    def frame(self, frame: LabelFrame) -> None:
        """Records a frame; does not block."""
        self._background.submit(lambda writer: self._write(writer, frame))

    def close(self) -> None:
        """Waits until the file is complete; safe to call twice."""
        self._background.close()

    def summary(self) -> str:
        """What is in the file, after `close`."""
        writer = self._background.writer
        ended = " (it ended early)" if self._background.failed else ""
        frames = counted(writer.frames, "frame")
        return f"recorded {frames}, {counted(writer.bytes_written, 'byte')} in {writer.path}{ended}"

    def _write(self, writer: RecordingWriter, frame: LabelFrame) -> None:
        captured_us = round(frame.captured_at * 1e6)
        if self._key_us is None or not 0 <= captured_us - self._key_us < _KEY_EVERY_US:
            self._key_us = captured_us
            self._codec.reset()
        encoded = self._codec.encode(frame, _FINEST)
        self._codec.acknowledge(frame.sequence)
        recorded = RecordedFrame(frame.sequence, captured_us, encoded.key, encoded.payload)
        writer.add_frame(recorded, entry_point=encoded.key)


class RecordedDelivery:
    """Records everything on its way to a `Delivery`."""

    def __init__(self, delivery: Delivery, recorder: SenderRecorder) -> None:
        self._delivery = delivery
        self._recorder = recorder

    @property
    def outstanding(self) -> int:
        """Number of frames that were taken and are neither acknowledged nor dropped."""
        return self._delivery.outstanding

    async def send(self, frame: LabelFrame, ahead: Sequence[Blob] = ()) -> None:
        """Records a frame and its blobs, and passes them on."""
        for blob in ahead:
            self._recorder.blob(blob)
        self._recorder.frame(frame)
        await self._delivery.send(frame, ahead)

    def post(self, blob: Blob) -> None:
        self._recorder.blob(blob)
        self._delivery.post(blob)

    async def drain(self) -> None:
        await self._delivery.drain()


@contextmanager
def open_recorder(writer: RecordingWriter | None, networks: bytes) -> Iterator[SenderRecorder | None]:
    """The recorder into a new file; None without one.

    Args:
        networks: hash of the weights that the codec is for.
    """
    if writer is None:
        yield None
        return
    recorder = SenderRecorder(writer, FrameCodec(networks, progressive=False))
    try:
        yield recorder
    finally:
        recorder.close()
