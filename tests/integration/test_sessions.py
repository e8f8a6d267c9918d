"""Who may use a session, and what a receiver does that is full or attacked, over gRPC."""

import asyncio
import contextlib
import logging
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame
from common.io.addresses import Address
from common.wire.convert import AckStatus, Welcome
from receiver.link.admission import LiveLoad
from receiver.link.auth.tokens import add_token
from receiver.link.config import SecurityConfig
from receiver.link.refusals import Refusal
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from tests.netlab.hostile_packets import hostile_messages
from tests.support.link.fake_link import MODEL, SECRET, label_frame
from tests.support.link.link_fixture import LOOPBACK, LinkFixture
from tests.support.link.owned_sessions import OwnedPipeline, OwnedSessions
from tests.support.link.raw_sender import RawSender
from tests.support.link.recording_pipeline import RecordingPipeline
from tests.support.receiver.fake_reconstructor import FakeEngine

OTHER_SECRET = b"other".ljust(32)


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    return {name: add_token(tmp_path / "tokens.toml", name, None, datetime.now(UTC)) for name in ("studio", "camera")}


async def assert_theft_is_refused(address: Address, token: str = "", secret: bytes = OTHER_SECRET) -> None:
    for resume in (False, True):
        async with RawSender(address, token) as thief:
            with pytest.raises(grpc.aio.AioRpcError):
                await thief.hello(secret, resume=resume, name="thief")
            assert await thief.end() == (grpc.StatusCode.PERMISSION_DENIED, "the session belongs to another sender")


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
    async with asyncio.timeout(30):
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
                await assert_theft_is_refused(address, tokens["camera"])
                await assert_theft_is_refused(address, tokens["camera"], SECRET)
            async with RawSender(address, tokens["studio"]) as owner:
                owner.codec = _EmptyFrames()  # type: ignore[assignment]
                welcome = await owner.hello(resume=run > 0)
                assert isinstance(welcome, Welcome)
                assert welcome.next_sequence == run
                assert await owner.frame(run) is AckStatus.DECODED
            await server.stop()
            await pipeline.close()
    assert len((tmp_path / "out" / "frames.jsonl").read_text().splitlines()) == 2


async def test_fifty_senders_of_one_host_are_admitted_by_default(link: LinkFixture) -> None:
    pipeline = OwnedPipeline(OwnedSessions())
    _, address = await link.server(pipeline)
    streams = [RawSender(address) for _ in range(50)]
    answers = await asyncio.gather(
        *(stream.hello(session=number.to_bytes(16, "big")) for number, stream in enumerate(streams))
    )
    assert all(isinstance(answer, Welcome) for answer in answers)
    assert pipeline.peers == 50
    for stream in streams:
        await stream.__aexit__()


async def test_unexpected_error_ends_the_stream_and_releases_the_session(
    link: LinkFixture, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = OwnedPipeline(OwnedSessions())
    _, address = await link.server(pipeline)
    for _ in range(3):
        pipeline.failure = None
        async with RawSender(address) as sender:
            await sender.hello(resume=True)
            pipeline.failure = ValueError("two\nlines")
            with pytest.raises(grpc.aio.AioRpcError):
                await sender.frame(0)
            assert await sender.end() == (
                grpc.StatusCode.INTERNAL,
                "the receiver failed (ValueError); its log says where",
            )
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "ended: ValueError: two lines (recording_pipeline.py:" in errors[0].getMessage()
    assert errors[0].exc_info is None
    pipeline.failure = None
    async with RawSender(address) as sender:
        await sender.hello(resume=True)
        assert await sender.frame(0) is AckStatus.DECODED
    assert pipeline.peers == 1


async def test_stop_ends_streams_without_hello_at_once(link: LinkFixture) -> None:
    server, address = await link.server(OwnedPipeline(OwnedSessions()))
    streams = [RawSender(address) for _ in range(20)]
    for stream in streams:
        await stream.call.wait_for_connection()
    # One of them has its session, so the others have reached the receiver too.
    assert isinstance(await streams[-1].hello(), Welcome)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await server.stop()
    assert loop.time() - began_s < 4.0, "the Hello of a stream may take 5 s"
    for stream in streams[:-1]:
        # gRPC itself cancels a stream that it has not handed over yet.
        assert (await stream.end())[0] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    for stream in streams:
        await stream.__aexit__()


async def test_silent_connection_is_closed(link: LinkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.link.server._HANDSHAKE_TIMEOUT_MS", 100)
    _, address = await link.server(OwnedPipeline(OwnedSessions()))
    reader, writer = await asyncio.open_connection(LOOPBACK, address.port)
    async with asyncio.timeout(20):
        await reader.read()
    writer.close()


_HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
_RESET = b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"SSH-2.0-x\r\n", id="another protocol"),
        pytest.param(b"\x16\x03\x01\xff\xff\x01" + bytes(20_000), id="half of TLS"),
        pytest.param(_HTTP_2 + 2000 * _PING, id="pings"),
        pytest.param(_HTTP_2 + 2000 * _RESET, id="resets"),
        pytest.param(_HTTP_2 + b"\xff\xff\xff\xff\xff" + bytes(1000), id="absurd frame"),
    ],
)
async def test_noise_below_grpc_disturbs_nobody(link: LinkFixture, data: bytes) -> None:
    _, address = await link.server(OwnedPipeline(OwnedSessions()))
    async with RawSender(address) as honest:
        assert isinstance(await honest.hello(), Welcome)
        for _ in range(5):
            _, writer = await asyncio.open_connection(LOOPBACK, address.port)
            writer.write(data)
            writer.close()
        assert await honest.frame(0) is AckStatus.DECODED
    async with RawSender(address) as later:
        assert isinstance(await later.hello(resume=True), Welcome)


async def test_absurd_messages_end_their_own_stream_alone(link: LinkFixture, caplog: pytest.LogCaptureFixture) -> None:
    _, address = await link.server(OwnedPipeline(OwnedSessions()))
    async with RawSender(address) as honest:
        assert isinstance(await honest.hello(), Welcome)
        messages = hostile_messages(np.random.default_rng(3))
        for number in range(200, 240):
            async with RawSender(address) as hostile:
                await hostile.hello(session=bytes([number]) * 16)
                # Either end may have ended it.
                broken = contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError)
                with broken:
                    for message in islice(messages, 7):
                        await hostile.call.write(message)
                    await hostile.call.done_writing()
                with broken:
                    while await hostile.call.read() is not grpc.aio.EOF:
                        pass
                assert (await hostile.end())[0] is not grpc.StatusCode.UNKNOWN, "an error that nothing handles"
        assert await honest.frame(0) is AckStatus.DECODED
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_connections_are_bounded(link: LinkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.link.config._OTHER_CONNECTIONS", 2)
    monkeypatch.setattr("receiver.link.grpc_stream._COUNT_INTERVAL_S", 60.0)
    _, address = await link.server(OwnedPipeline(OwnedSessions()), security=SecurityConfig(max_sessions=1))
    connections = [await asyncio.open_connection(LOOPBACK, address.port) for _ in range(5)]
    # The fifth is closed at once, the others when they have said nothing for too long.
    async with asyncio.timeout(4):
        await connections[4][0].read()
    assert not any(reader.at_eof() for reader, _ in connections[:4])
    for _, writer in connections:
        writer.close()
