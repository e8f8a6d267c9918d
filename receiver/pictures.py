"""Pictures of sessions: those of the image channel, and small ones of what the sender sees."""

import asyncio
import io
import json
import logging
from collections.abc import Callable
from functools import cache, partial

import torch
from PIL import Image as Pictures

from common.arrays import Image
from common.blobs import MAX_PREVIEW_BYTES, MAX_PREVIEW_PX, Blob
from common.channel.channel import SignalBlob, carry
from common.channel.image_codec import ImageChannel, decode, load_network
from common.errors import MalformedPacket, OutputError, WeightsError
from common.io.logs import RepeatedLines
from receiver.config import PublishConfig
from receiver.engine.batching import FairExecutor
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.publish.files import LineFile, opened_folder, publish_file

_JPEG_END = b"\xff\xd9"


def check_preview(blob: Blob) -> None:
    """Checks a preview by its head; its decoder is the browser's, made for strangers.

    Raises:
        MalformedPacket: it is no JPEG, or has more bytes or pixels than previews have.
    """
    if len(blob.data) > MAX_PREVIEW_BYTES:
        raise MalformedPacket(f"a preview of {len(blob.data)} bytes; previews have up to {MAX_PREVIEW_BYTES}")
    try:
        with Pictures.open(io.BytesIO(blob.data), formats=["JPEG"]) as picture:
            width, height = picture.size
    # Pillow raises almost any exception for damaged files; a picture that is far too large is one of them.
    except Exception as error:
        raise MalformedPacket(f"the preview is no JPEG: {error}") from error
    if not blob.data.endswith(_JPEG_END):
        raise MalformedPacket("the preview is no JPEG: its end is missing")
    if not 1 <= min(width, height) <= max(width, height) <= MAX_PREVIEW_PX:
        raise MalformedPacket(f"a preview of {width} × {height} pixels; previews have up to {MAX_PREVIEW_PX} a side")


logger = logging.getLogger(__name__)


@cache
def _network() -> ImageChannel:
    """Loaded with the first picture: few sessions have any."""
    return load_network()


class ChannelPictures:
    """Sends the symbols over the channel, decodes and writes pictures in a thread; of a session's, the newest waits."""

    def __init__(self, config: PublishConfig, metrics: ReceiverMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._executor = FairExecutor(1, "channel")
        self._lines = RepeatedLines(logger)
        self._waiting: dict[bytes, SignalBlob] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}

    def take(self, session: Session, number: int, blob: Blob) -> None:
        """Takes a blob of the kind `SIGNAL`; one of another network is dropped with a log line.

        Raises:
            MalformedPacket: the blob is none of a picture.
        """
        try:
            picture = SignalBlob.decode(blob.data)
        except MalformedPacket:
            self._metrics.channel_picture("refused")
            raise
        if session.session_id in self._waiting:
            self._metrics.channel_picture("replaced")
        self._waiting[session.session_id] = picture
        if session.session_id not in self._tasks:
            self._tasks[session.session_id] = asyncio.ensure_future(self._work(session, number))

    async def _work(self, session: Session, number: int) -> None:
        """Decodes what waits of a session, one picture after the other."""
        try:
            while (picture := self._waiting.pop(session.session_id, None)) is not None:
                await self._decode_in_thread(session, partial(self._decode, number, picture, session.durable))
        finally:
            del self._tasks[session.session_id]

    async def _decode_in_thread(self, session: Session, decode: Callable[[], None]) -> None:
        try:
            await self._executor.run(session.account, session.session_id, decode)
        except (MalformedPacket, OutputError, WeightsError) as error:
            self._metrics.channel_picture("refused")
            text = f"dropped a picture of the channel of {session.sender}: {error}"
            self._lines.write(logging.WARNING, session.account, text)

    async def finish(self) -> None:
        """Waits until what has arrived is written."""
        await asyncio.gather(*self._tasks.values())

    async def close(self) -> None:
        """Writes what has arrived, and ends the thread."""
        await self.finish()
        self._executor.shutdown()

    def _decode(self, number: int, picture: SignalBlob, durable: bool) -> None:
        """Decodes and writes a picture; runs in the thread."""
        signal = picture.signal
        with self._metrics.stage("channel"):
            # By the number of the frame, so that noise and fading are the same in every run.
            generator = torch.Generator().manual_seed(picture.sequence)
            image = decode(_network(), signal, carry(picture.channel, signal.symbols, generator))
        self._write(number, picture, image, durable)
        self._metrics.channel_picture("decoded", signal.uses)

    def _write(self, number: int, picture: SignalBlob, image: Image, durable: bool) -> None:
        folder, mode = self._config.out / "channel", self._config.file_mode
        content = io.BytesIO()
        Pictures.fromarray(image).save(content, "PNG")
        name = f"s{number}-{picture.sequence:06d}.png"
        line = json.dumps(_facts(name, picture)) + "\n"
        with opened_folder(folder, self._config.folder_mode) as opened:
            publish_file(folder / name, content.getvalue(), synced=durable, mode=mode, folder=opened)
            with LineFile(folder / f"s{number}.jsonl", mode=mode, folder=opened) as lines:
                lines.append(line.encode(), synced=durable)


def _facts(name: str, picture: SignalBlob) -> dict[str, object]:
    """The line of a picture."""
    left, top, side = picture.window
    return {
        "picture": name,
        "sequence": picture.sequence,
        "captured_at": picture.captured_at,
        "window": [left, top, side, side],
        "channel": picture.channel.kind,
        "snr_db": round(picture.channel.snr_db, 3),
        "symbols": len(picture.signal.symbols),
        "channel_uses": picture.signal.uses,
        "bandwidth_ratio": round(picture.signal.bandwidth_ratio, 6),
    }
