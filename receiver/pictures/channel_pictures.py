"""Pictures that come over a simulated channel, written beside a session's other files (`sender --channel`)."""

import io
import json
import logging
import math
from dataclasses import dataclass, field
from functools import cache, partial

from PIL import Image as Pictures
from PIL.PngImagePlugin import PngInfo

from common.blobs import SIGNAL, Blob
from common.channel.diffusion import INVENTED, DiffusionDecoder, load_decoder
from common.channel.model import ImageChannel
from common.channel.physical import measured_snr_db
from common.channel.sequence import SequencePicture, SequenceReceiver
from common.channel.signal_blob import SignalBlob, SignalHeader
from common.channel.state import MAX_SNR_DB, MIN_SNR_DB
from common.channel.transmission import load_network
from common.errors import MalformedPacket
from common.io.logs import RepeatedLines
from common.wire.convert import ChannelReport
from receiver.engine.fair_queue import FairExecutor
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.pictures.picture_threads import PictureThreads
from receiver.publish.config import PublishConfig
from receiver.publish.line_file import LineFile
from receiver.publish.output_files import opened_folder, publish_file

logger = logging.getLogger(__name__)


@cache
def _networks() -> tuple[ImageChannel, DiffusionDecoder]:
    """Loaded with the first picture: few sessions have any."""
    return load_network(), load_decoder()


@dataclass(slots=True)
class _Sequence:
    """The pictures of one session.

    Args:
        receiver: made with the first picture.
        measured: sum and number of the noise powers that were measured.
    """

    number: int
    receiver: SequenceReceiver | None = None
    pictures: int = 0
    ratios: float = 0.0
    noise: list[float] = field(default_factory=lambda: [0.0, 0.0])
    channel: str = ""


class ChannelPictures:
    """Decodes and writes the pictures of all sessions in a thread; of a session's that wait, the newest counts."""

    def __init__(self, config: PublishConfig, metrics: ReceiverMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._executor = FairExecutor(1, "channel")
        self._threads = PictureThreads(self._executor)
        self._lines = RepeatedLines(logger)
        self._sequences: dict[bytes, _Sequence] = {}

    def take(self, session: Session, number: int, blob: Blob) -> None:
        """Takes a blob of the kind `SIGNAL`; one that turns out not to decode is dropped with a log line.

        Raises:
            MalformedPacket: the blob is none of a picture.
        """
        try:
            header = SignalHeader.read(blob.data)
        except MalformedPacket:
            self._metrics.channel_picture_dropped("refused")
            raise
        # At once: decoding takes longer than the sender should wait for it.
        measured_db = measured_snr_db(header.channel, header.seed, header.sequence)
        if measured_db is not None:
            session.channel_report = ChannelReport(header.sequence, min(max(measured_db, MIN_SNR_DB), MAX_SNR_DB))
        sequence = self._sequences.setdefault(session.session_id, _Sequence(number))

        def refuse(error: Exception) -> None:
            self._metrics.channel_picture_dropped("refused")
            self._lines.write(
                logging.WARNING, session.account, f"dropped a picture of the channel of {session.sender}: {error}"
            )

        if self._threads.put(session, SIGNAL, partial(self._decode, sequence, blob, session.durable), refuse):
            self._metrics.channel_picture_dropped("replaced")

    def session_ended(self, session: Session) -> None:
        """Forgets a session's earlier pictures, and logs what it had."""
        sequence = self._sequences.pop(session.session_id, None)
        if sequence is not None and sequence.pictures:
            logger.info("%s sent %s", session.sender, _summary(sequence))

    async def finish(self) -> None:
        """Waits until what has arrived is written."""
        await self._threads.finish()

    async def close(self) -> None:
        """Writes what has arrived, and ends the thread."""
        await self.finish()
        self._executor.shutdown()

    def _decode(self, sequence: _Sequence, blob: Blob, durable: bool) -> None:
        """Decodes and writes a picture; runs in the thread."""
        signal = SignalBlob.decode(blob.data)
        with self._metrics.stage("channel"):
            if sequence.receiver is None:
                sequence.receiver = SequenceReceiver(*_networks())
            picture = sequence.receiver.decode(signal)
        self._write(sequence.number, signal, picture, durable)
        snr_db = signal.channel.snr_db
        self._metrics.channel_picture_decoded(picture.uses, picture.bandwidth_ratio, snr_db, picture.measured_snr_db)
        sequence.pictures += 1
        sequence.ratios += picture.bandwidth_ratio
        sequence.channel = f"{signal.channel.kind}:{round(snr_db, 1):g}dB"
        if picture.measured_snr_db is not None:
            sequence.noise[0] += 10 ** (-picture.measured_snr_db / 10)
            sequence.noise[1] += 1

    def _write(self, number: int, signal: SignalBlob, picture: SequencePicture, durable: bool) -> None:
        folder, mode = self._config.out / "channel", self._config.file_mode
        content, comments = io.BytesIO(), PngInfo()
        comments.add_text("Comment", INVENTED)
        Pictures.fromarray(picture.image).save(content, "PNG", pnginfo=comments)
        name = f"s{number}-{signal.sequence:06d}.png"
        line = json.dumps(_facts(name, signal, picture)) + "\n"
        with opened_folder(folder, self._config.folder_mode) as opened:
            publish_file(folder / name, content.getvalue(), synced=durable, mode=mode, folder=opened)
            with LineFile(folder / f"s{number}.jsonl", mode=mode, folder=opened) as lines:
                lines.append(line.encode(), synced=durable)


def _facts(name: str, signal: SignalBlob, picture: SequencePicture) -> dict[str, object]:
    """The line of a picture."""
    window, measured = signal.window, picture.measured_snr_db
    return {
        "picture": name,
        "sequence": signal.sequence,
        "captured_at": signal.captured_at,
        "window": [window.left, window.top, window.width, window.height],
        "channel": signal.channel.kind,
        "snr_db": round(signal.channel.snr_db, 3),
        "measured_snr_db": None if measured is None else round(measured, 3),
        "seed": signal.seed,
        "symbols": len(signal.signal.symbols),
        "channel_uses": picture.uses,
        "bandwidth_ratio": round(picture.bandwidth_ratio, 6),
        "earlier_share": round(picture.earlier_share, 4),
    }


def _summary(sequence: _Sequence) -> str:
    noise, count = sequence.noise
    ratio = sequence.pictures / sequence.ratios
    text = f"{sequence.pictures} pictures over {sequence.channel}, bandwidth ratio 1/{ratio:.1f}"
    if not count or noise <= 0:
        return text
    return f"{text}, measured SNR {-10 * math.log10(noise / count):.2f} dB"
