"""The receiver measures a channel that fades, and the sender's symbols follow: both ends over gRPC on loopback."""

import asyncio
from pathlib import Path

import numpy as np
from scipy import stats

from common.blobs import Blob
from common.channel.signal_blob import SignalBlob
from common.frames import Camera
from common.wire.convert import ChannelReport
from receiver.link.session import Session
from receiver.metrics import ReceiverMetrics
from receiver.pictures.channel_pictures import ChannelPictures
from receiver.publish.config import PublishConfig
from sender.capture.source import CapturedFrame
from sender.jscc.config import JsccConfig
from sender.jscc.stage import JsccStage
from sender.metrics import SenderMetrics
from tests.support.fake_link import label_frame
from tests.support.link_fixture import LinkFixture, RecordingPipeline
from tests.support.link_samples import ConstantPacer

_PICTURES = 12
_SIDE_PX = 64
CONFIG = JsccConfig(
    channel="fading:7dB",
    channel_view="frame",
    channel_side=_SIDE_PX,
    channel_rate="1/3",
    channel_quality=27.0,
    channel_seed=7,
)


class _Stage(JsccStage):
    """Counts what the receiver has measured."""

    reports = 0

    def channel_measured(self, report: ChannelReport) -> None:
        super().channel_measured(report)
        self.reports += 1


class _Pipeline(RecordingPipeline):
    """Takes pictures of the channel too."""

    def __init__(self, pictures: ChannelPictures) -> None:
        super().__init__()
        self._pictures = pictures

    def on_blob(self, session: Session, blob: Blob) -> None:
        super().on_blob(session, blob)
        self._pictures.take(session, 1, blob)
        self._changed.set()


def captured(number: int) -> CapturedFrame:
    """The same picture each time: symbols follow the channel alone."""
    rows, columns = np.mgrid[:_SIDE_PX, :_SIDE_PX]
    waves = np.sin(rows / 3) + np.sin((rows + 2 * columns) / 5) * (columns > 30)
    image = np.stack([128 + 40 * waves, 110 + 30 * waves, 90 + columns], axis=-1).clip(0, 255).astype(np.uint8)
    return CapturedFrame(number, "clip.mp4", number / 5, number / 5, image, Camera(_SIDE_PX, _SIDE_PX, 80.0))


async def encoded(stage: JsccStage, frame: CapturedFrame) -> Blob:
    """The picture of a frame, made in the stage's thread."""
    found = stage.update(frame, (), ())
    async with asyncio.timeout(30):
        while not found:
            await asyncio.sleep(0.005)
            found = stage.update(CapturedFrame(0, "", 0.0, -1.0, frame.image, frame.camera), (), ())
    return found[0]


async def test_symbols_follow_the_channel_that_the_receiver_measures(link: LinkFixture, tmp_path: Path) -> None:
    assert CONFIG.state is not None and CONFIG.fading is not None
    stage = _Stage(CONFIG, CONFIG.state, SenderMetrics())
    pictures = ChannelPictures(PublishConfig(out=tmp_path), ReceiverMetrics())
    pipeline = _Pipeline(pictures)
    _, address = await link.server(pipeline)
    client, _ = link.client(address, pacer=ConstantPacer(10**6), notified=stage)
    await client.connect()
    symbols: list[int] = []
    for number in range(_PICTURES):
        blob = await encoded(stage, captured(2 * number))
        client.post(blob)
        await client.send(label_frame(2 * number))
        await pipeline.until(lambda: len(pipeline.blobs) > len(symbols))
        # The measurement comes back with the answer to the next frame.
        await client.send(label_frame(2 * number + 1))
        async with asyncio.timeout(10):
            while stage.reports <= number:
                await asyncio.sleep(0.005)
        symbols.append(len(SignalBlob.decode(blob.data).signal.symbols))
    stage.close()
    await client.drain()
    await pictures.close()
    true_db = [CONFIG.fading.snr_db(2 * number / 5) for number in range(_PICTURES)]
    assert max(true_db) - min(true_db) > 6.0
    assert stats.spearmanr(symbols[1:], true_db[:-1]).statistic < -0.8, "each picture follows the measurement before"
