"""Congestion window, packet trains and rate control of a live sender, over links whose capacity changes."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from common.blobs import Blob
from receiver.link.session import Session
from sender.link_account import LinkAccount
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from tests.netlab.pipe import Shape
from tests.netlab.traces import Trace
from tests.support.link.counting_codec import label_frame
from tests.support.link.link_fixture import LinkFixture
from tests.support.link.recording_pipeline import RecordingPipeline

LONG_QUEUE = 10**9
_BLOB_BYTES = 500


class Shown(NamedTuple):
    shown_s: float
    age_s: float


class BlobTimes(RecordingPipeline):
    """Notes when blobs arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.at_s: list[float] = []

    def on_blob(self, session: Session, blob: Blob) -> None:
        self.at_s.append(asyncio.get_running_loop().time())

    def background_bps(self, begin_s: float, end_s: float) -> float:
        return 8 * _BLOB_BYTES * sum(begin_s < at_s < end_s for at_s in self.at_s) / (end_s - begin_s)


async def stream(
    link: LinkFixture, trace: Trace, rtt_s: float, seconds: float, *, blobs: int = 0, fps: float = 30.0
) -> tuple[RateController, Sequence[Shown], BlobTimes]:
    """A live sender with frames of some ten bytes, beside which blobs wait."""
    link.path.shape(Shape(trace, rtt_s / 2, queue_bytes=LONG_QUEUE), Shape(None, rtt_s / 2))
    rate, pipeline = RateController(RateConfig(), frame_rate_hz=fps), BlobTimes()
    account = LinkAccount(rate, SenderMetrics(), link.clock)
    _, client, _ = await link.connected(pipeline, live=True, pacer=rate, notified=account)
    loop, captured_s = asyncio.get_running_loop(), list[float]()
    for key in range(blobs):
        client.post(Blob("noise", key, bytes(_BLOB_BYTES)))
    began_s = loop.time()
    for sequence in range(int(seconds * fps)):
        captured_s.append(loop.time())
        rate.on_offered(loop.time() * 1e3)
        await client.send(label_frame(sequence))
        await asyncio.sleep(began_s + (sequence + 1) / fps - loop.time())
    shown = zip(pipeline.arrivals, pipeline.decoded, strict=True)
    return rate, [Shown(each.at_s, each.at_s - captured_s[sequence]) for each, sequence in shown], pipeline


@pytest.mark.parametrize("rtt_s", [0.01, 0.06, 0.2, 0.3])
async def test_frames_beside_blobs_when_the_capacity_falls_to_an_eighth(link: LinkFixture, rtt_s: float) -> None:
    trace = Trace.steps((8.0, 8000.0), (60.0, 1000.0))
    rate, shown, pipeline = await stream(link, trace, rtt_s, 16.0, blobs=2000)
    assert max(frame.age_s for frame in shown if frame.shown_s > 8.0) < rtt_s + 0.25
    # Blobs were sent before and after: about 200 bytes per round trip or frame.
    expected_bps = 8 * 200 / max(rtt_s, 1 / 30)
    assert pipeline.background_bps(4.0, 8.0) > 0.5 * expected_bps
    assert pipeline.background_bps(12.0, 16.0) > 0.5 * expected_bps
    assert rate.state.capacity.bps == pytest.approx(1e6, rel=0.15)


async def test_blobs_hardly_delay_frames_when_the_link_falls_to_a_packet_a_second(link: LinkFixture) -> None:
    trace, oldest_s = Trace.steps((8.0, 8000.0), (60.0, 12.0)), list[float]()
    for blobs in (0, 2000):
        _, shown, _ = await stream(link, trace, 0.06, 14.0, blobs=blobs)
        oldest_s.append(max(frame.age_s for frame in shown))
    assert oldest_s[1] < oldest_s[0] + 0.5


@pytest.mark.parametrize("mbps", [0.1, 0.5, 2.0, 20.0])
async def test_capacity_is_measured_beside_labels_alone(link: LinkFixture, mbps: float) -> None:
    fps = 15.0 if mbps < 0.2 else 30.0
    rate, shown, _ = await stream(link, Trace.constant(mbps * 1e3), 0.06, 6.0, fps=fps)
    capacity = rate.state.capacity
    # Above what frames could use it is known only that the link carries at least that.
    assert capacity.measured == (mbps < 2.5)
    assert capacity.bps == pytest.approx(min(mbps, 2.5) * 1e6, rel=0.15)
    # Packet trains delay hardly any frame.
    ages_s = [frame.age_s for frame in shown if frame.shown_s > 3.0]
    assert np.percentile(ages_s, 95) < 0.032 + 0.06 * (mbps < 0.2) + 0.012


async def test_blobs_on_a_fluctuating_link_leave_frames_fresh(link: LinkFixture) -> None:
    rng = np.random.default_rng(1)
    steps = [(0.1, float(kbps)) for kbps in np.exp(rng.uniform(np.log(300.0), np.log(8000.0), 300))]
    _, shown, pipeline = await stream(link, Trace.steps(*steps), 0.06, 20.0, blobs=2000)
    assert np.percentile([frame.age_s for frame in shown if frame.shown_s > 2.0], 95) < 0.2
    assert pipeline.background_bps(2.0, 20.0) > 10e3
