"""Who may use a session, and what a receiver does that is full or fails."""

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame
from common.io.addresses import Address
from common.wire.convert import AckStatus
from receiver.config import PublishConfig, SecurityConfig
from receiver.link.auth.tokens import add_token
from receiver.link.refusals import Refusal
from receiver.link.session import LiveLoad
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_directory import SessionDirectory
from tests.support.link.counting_codec import MODEL, SECRET, label_frame
from tests.support.link.link_fixture import LinkFixture
from tests.support.link.owned_sessions import OwnedPipeline, OwnedSessions
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.link.scripted_sender import ScriptedSender
from tests.support.receiver.fake_reconstructor import FakeEngine

OTHER_SECRET = b"other".ljust(32)


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    return {name: add_token(tmp_path / "tokens.toml", name, None, datetime.now(UTC)) for name in ("studio", "camera")}


async def assert_theft_is_refused(link: LinkFixture, address: Address, token: str, secret: bytes) -> None:
    for resume in (False, True):
        async with ScriptedSender(await link.stream(address, token)) as thief:
            await thief.say_hello(secret, resume=resume, name="thief")
            assert await thief.ended() == ("PERMISSION_DENIED", "the session belongs to another sender")


async def test_live_sender_waits_for_computing_time_and_a_file_does_not(link: LinkFixture) -> None:
    refused, capacity = Counter[Refusal](), [0.0, None]
    load = LiveLoad(lambda: capacity[0])

    def on_refused(refusal: Refusal) -> None:
        refused.update([refusal])
        if refused.total() == 2:
            capacity.pop(0)

    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, on_refused=on_refused, admit_live=load.admit)
    file, _ = link.client(address)
    await file.connect()
    assert not refused
    live, _ = link.client(address, live=True)
    await live.connect()
    await live.send(label_frame(0))
    await pipeline.until_decoded(0)
    assert refused == {Refusal.BUSY: 2}


class _EmptyFrames:
    """The receiver's own codec, with frames that show nobody."""

    def __init__(self) -> None:
        self._codec = FrameCodec(MODEL)

    def encode(self, frame: LabelFrame) -> Any:
        return self._codec.encode(LabelFrame(frame.sequence, "empty", 1000.0, Camera(64, 64, 64.0), ()), {})


async def test_theft_after_a_restart_on_the_same_output_directory(
    link: LinkFixture, tmp_path: Path, tokens: dict[str, str]
) -> None:
    security, config = SecurityConfig(tokens=tmp_path / "tokens.toml"), PublishConfig(out=tmp_path / "out")
    for run in range(2):
        with SessionDirectory(config) as directory:
            pipeline = ReceiverPipeline(
                FakeEngine(), directory, ReceiverMetrics(), new_decoder=lambda: FrameCodec(MODEL)
            )
            server, address = await link.server(pipeline, security=security)
            if run:
                await assert_theft_is_refused(link, address, tokens["camera"], OTHER_SECRET)
                await assert_theft_is_refused(link, address, tokens["camera"], SECRET)
            async with ScriptedSender(await link.stream(address, tokens["studio"])) as owner:
                owner.codec = _EmptyFrames()  # type: ignore[assignment]
                assert (await owner.hello(resume=run > 0)).next_sequence == run
                assert await owner.delivers(run) is AckStatus.DECODED
            await server.stop()
            await pipeline.close()
    assert len((tmp_path / "out" / "frames.jsonl").read_text().splitlines()) == 2


async def test_fifty_senders_of_one_host_are_admitted_by_default(link: LinkFixture) -> None:
    pipeline = OwnedPipeline(OwnedSessions())
    _, address = await link.server(pipeline)
    senders = [ScriptedSender(await link.stream(address)) for _ in range(50)]
    await asyncio.gather(*(sender.hello(session=bytes([number]) * 16) for number, sender in enumerate(senders)))
    assert pipeline.peers == 50


async def test_unexpected_error_ends_the_stream_and_releases_the_session(
    link: LinkFixture, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = OwnedPipeline(OwnedSessions())
    _, address = await link.server(pipeline)
    for _ in range(3):
        pipeline.failure = None
        async with ScriptedSender(await link.stream(address)) as sender:
            await sender.hello(resume=True)
            pipeline.failure = ValueError("two\nlines")
            await sender.send([0])
            assert await sender.ended() == ("INTERNAL", "the receiver failed (ValueError); its log says where")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "ended: ValueError: two lines (recording_pipeline.py:" in errors[0].getMessage()
    assert errors[0].exc_info is None
    pipeline.failure = None
    async with ScriptedSender(await link.stream(address)) as sender:
        await sender.hello(resume=True)
        assert await sender.delivers(0) is AckStatus.DECODED
    assert pipeline.peers == 1


async def test_limit_of_sessions_per_sender(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline(), security=SecurityConfig(peer_sessions=2))
    for _ in range(2):
        await link.client(address)[0].connect()
    async with ScriptedSender(await link.stream(address)) as third:
        await third.say_hello()
        assert await third.ended() == (
            "RESOURCE_EXHAUSTED",
            "full for now: ipv4:192.0.2.7 has 2 sessions, as many as one sender may have: end one",
        )


async def test_rate_limit_slows_reading_and_loses_nothing(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline, security=SecurityConfig(peer_bytes_per_second=4000.0))
    client, _ = link.client(address)
    await client.connect()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    frames, most_in_a_message = 2400, 8
    for sequence in range(frames):
        await client.send(label_frame(sequence))
    await client.drain()
    assert pipeline.decoded == list(range(frames))
    # Each message has more than 20 bytes; the burst of one second is free.
    assert loop.time() - started_s > 20 * frames / most_in_a_message / 4000.0 - 1.0
