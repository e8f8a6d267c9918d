import asyncio
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.arrays import FloatArray
from common.clock import Clock
from common.codec.frame_codec import FrameCodec
from common.errors import PeerError
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUPS
from common.wire.traffic import LABELS, Traffic
from sender.capture.source import FrameSource
from sender.composition import Sender
from sender.config import LinkConfig, PlaybackConfig, RecordConfig, SenderConfig, SmoothingConfig
from sender.importance import Importance
from sender.link.quic_transport import AutoTransport
from sender.link.session import Fate
from sender.link.transport import Transport
from sender.link_account import LinkAccount
from sender.metrics import DropReason, SenderMetrics
from sender.openings import OpenCamera, facts_of, hello_of, transport_of
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from sender.rate.rated_encoder import LabelsAhead, RatedEncoder

CAMERA = Camera(8, 8, 10.0)


def test_recording_without_a_link_needs_no_transport() -> None:
    link = LinkConfig(transport="quic")
    assert isinstance(transport_of(SenderConfig(link=link, recording=RecordConfig(Path("talk.bw")))), Transport)


def test_quic_is_tried_on_the_loopback_too() -> None:
    assert isinstance(transport_of(SenderConfig()), AutoTransport)


@pytest.mark.parametrize(
    ("changes", "config", "timely"),
    [
        ({}, {}, True),
        ({"stills": True}, {}, True),
        ({"live": True, "ends": False}, {}, False),
        ({}, {"playback": PlaybackConfig(realtime=True)}, False),
        ({}, {"playback": PlaybackConfig(realtime=True), "smoothing": SmoothingConfig(0.0)}, True),
    ],
    ids=["file", "pictures", "camera", "realtime", "unsmoothed"],
)
def test_hello_and_recording_say_whether_labels_are_timely(
    changes: dict[str, bool], config: dict[str, Any], timely: bool
) -> None:
    source = FrameSource()
    for name, value in changes.items():
        setattr(source, name, value)
    hello = hello_of(OpenCamera("", SenderConfig(**config), SenderMetrics(), source, None), b"networks")
    assert (hello.timely, facts_of(hello).timely) == (timely, timely)


class FakeSpool:
    def __init__(self, pending: int) -> None:
        self.pending, self.ended, self.directory = pending, False, Path("spool")

    def finish(self) -> None:
        self.ended = True


class FakeDelivery:
    """Pipeline and delivery in one."""

    def __init__(self, finished: bool = True) -> None:
        self.finished = finished
        self.calls: list[str] = []

    async def connect(self) -> None:
        self.calls.append("connect")

    async def run(self, stop: asyncio.Event) -> None:
        self.calls.append("run")

    async def close(self) -> None:
        self.calls.append("close")


def sender_of(delivery: FakeDelivery, spool: FakeSpool | None = None) -> Sender:
    account = LinkAccount(RateController(RateConfig()), SenderMetrics())
    camera = OpenCamera("", SenderConfig(), SenderMetrics(), FrameSource(), spool)  # type: ignore[arg-type]
    return Sender(camera, delivery, delivery, account, Traffic(), account)  # type: ignore[arg-type]


def frame_of(*people: PersonLabels) -> LabelFrame:
    return LabelFrame(0, "clip.mp4", 1000.0, CAMERA, people)


def test_uncertainty_of_each_person_changes_the_bytes() -> None:
    sigma = {group.name: np.full(group.size, 0.001, np.float32) for group in GROUPS}
    unsure = {**sigma, "left_arm": np.full(9, 2.0, np.float32)}

    def bytes_of(first: dict[str, FloatArray], second: dict[str, FloatArray]) -> float:
        rate = RateController(RateConfig())
        encoder = RatedEncoder(FrameCodec(bytes(8)), Importance.load(), rate, SenderMetrics(), LabelsAhead(Future))
        rng, total = np.random.default_rng(4), 0.0
        for number in range(20):
            people = (
                PersonLabels(identity, 0.9, {g.name: rng.normal(size=g.size).astype(np.float32) for g in GROUPS}, s)
                for identity, s in enumerate((first, second))
            )
            encoded = encoder.encode(replace(frame_of(*people), sequence=number))
            encoder.acknowledge(number)
            total += encoded.bytes_by_group["left_arm"]
        return total

    sure, one, both = (bytes_of(*people) for people in ((sigma, sigma), (sigma, unsure), (unsure, unsure)))
    assert both < 0.95 * one < 0.95 * 0.98 * sure


def test_every_frame_that_has_left_is_counted_once() -> None:
    account, frames = (
        LinkAccount(RateController(RateConfig()), SenderMetrics()),
        [replace(frame_of(), sequence=n) for n in range(4)],
    )
    account.sent(frames, FrameCodec(bytes(8)).encode(frames[0], {}))
    fates = (Fate.ACKNOWLEDGED, Fate.LOST, Fate.LATE, Fate.SUPERSEDED)
    for frame, fate in zip(frames, fates, strict=True):
        account.ended(frame, fate)
    assert (account.acknowledged_frames, account.late_frames, account.lost_frames) == (1, 1, 2)
    account.found(frames[1], Fate.ACKNOWLEDGED)
    account.ended(replace(frame_of(), sequence=4), Fate.SUPERSEDED)
    found = account.sent_frames, account.acknowledged_frames, account.lost_frames
    assert found == (4, 2, 1), "a frame that was replaced has not left"
    assert account.payload_bytes > 0


async def test_run_connects_sends_and_closes() -> None:
    delivery = FakeDelivery()
    await sender_of(delivery).run(asyncio.Event())
    assert delivery.calls == ["connect", "run", "close"]


@pytest.mark.parametrize(("pending", "finished", "ended"), [(0, True, True), (0, False, False), (3, True, False)])
async def test_spool_session_ends_when_source_ended_and_all_is_delivered(
    pending: int, finished: bool, ended: bool
) -> None:
    spool = FakeSpool(pending)
    await sender_of(FakeDelivery(finished), spool).run(asyncio.Event())
    assert spool.ended == ended


def test_summary_reports_undelivered_frames() -> None:
    sent = "sent 0 frames: nothing on the link"
    assert sender_of(FakeDelivery(), FakeSpool(0)).summary() == [sent]
    waiting = "3 frames wait in spool and will be sent when the sender is started again"
    assert sender_of(FakeDelivery(), FakeSpool(3)).summary() == [sent, waiting]


def test_summary_counts_what_a_file_has_left_out() -> None:
    late = sender_of(FakeDelivery())
    for reason in (DropReason.REPLACED, DropReason.LATE, DropReason.EMPTY):
        late.camera.metrics.frame_dropped(reason)
    late.account.ended(frame_of(), Fate.ACKNOWLEDGED)
    assert late.summary() == ["sent 1 frame: nothing on the link", "left out 2 of 3 frames as too late"]
    late.camera.source.ends = False
    assert len(late.summary()) == 1, "of a camera the newest frames count"


def test_summary_of_a_video_names_both_clocks() -> None:
    class Video(FrameSource):
        fps = 30.0

    now_s = [0.0]
    traffic = Traffic(clock=Clock(lambda: now_s[0], lambda: 0.0))
    sender = sender_of(FakeDelivery())
    sender = replace(sender, camera=replace(sender.camera, source=Video()), traffic=traffic)
    traffic.count(LABELS, 3000)
    sender.account.acknowledged_frames, now_s[0] = 300, 200.0
    (line,) = sender.summary()
    assert line.startswith("sent 300 frames in 3:20 (1.5 frames/s of 30 in a second of video, 0.1 kbit/s): ")


class UnreachableDelivery(FakeDelivery):
    async def connect(self) -> None:
        self.calls.append("connect")
        await asyncio.Event().wait()


async def test_stop_ends_the_sender_while_it_connects() -> None:
    delivery, stop = UnreachableDelivery(), asyncio.Event()
    running = asyncio.create_task(sender_of(delivery).run(stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(10):
        await running
    assert delivery.calls == ["connect", "close"]


async def test_failed_connection_is_raised() -> None:
    class RefusedDelivery(FakeDelivery):
        async def connect(self) -> None:
            raise PeerError("no receiver")

    delivery = RefusedDelivery()
    with pytest.raises(PeerError, match="no receiver"):
        await sender_of(delivery).run(asyncio.Event())
    assert delivery.calls == ["close"]
