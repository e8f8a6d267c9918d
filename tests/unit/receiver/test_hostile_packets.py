"""Hostile packets through the receiver's pipeline: refused, or published as valid strict JSON."""

import importlib.resources
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import jsonschema
import numpy as np
import pytest

from common.blobs import TEXTURE, Blob
from common.codec.frame_codec import FrameCodec
from common.errors import WireError
from common.wire.convert import (
    MAX_TIME_NS,
    FrameMessage,
    Heartbeat,
    Welcome,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)
from receiver.link.session import SenderClock, Session
from receiver.publish.frame_record import age_and_error_ms
from tests.netlab.hostile.hostile_packets import HostilePacket, hostile_blobs, hostile_frames
from tests.support.link.counting_codec import new_session
from tests.support.motion.label_motion import MODEL_HASH
from tests.support.receiver.running_receiver import RunningReceiver

NOW_S = 1_800_000_000.5
SCHEMA = json.loads((importlib.resources.files("receiver.publish") / "frames.schema.json").read_text(encoding="utf-8"))
VALID = jsonschema.Draft202012Validator(SCHEMA)


async def receive(receiver: RunningReceiver, session: Session, packet: HostilePacket) -> None:
    """What the link does with a frame; the directory ignores what it has already."""
    await receiver.handle(session, FrameMessage(packet.sequence, packet.payload, earlier=packet.earlier))
    session.handled(packet.sequence)


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    receiver = RunningReceiver(tmp_path, mesh_every=10**9, new_decoder=lambda: FrameCodec(MODEL_HASH))
    receiver.wall_s = NOW_S
    async with receiver:
        yield receiver


def refuse_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


async def test_hostile_frames_are_refused_or_published_as_strict_json(receiver: RunningReceiver) -> None:
    published, session = 0, await receiver.begin(new_session())
    for packet in itertools.islice(hostile_frames(np.random.default_rng(61), FrameCodec(MODEL_HASH)), 300):
        with suppress(WireError):
            await receive(receiver, session, packet)
            published += len(packet.sequences)
    lines = [
        json.loads(line, parse_constant=refuse_constant)
        for line in (receiver.out / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert 30 < len(lines) <= published
    for line in lines:
        VALID.validate(line)
        assert line["age_ms"] is None or abs(line["age_ms"]) <= 31 * 86_400e3
    total = receiver.metrics.registry.get_sample_value
    assert 0 <= (total("bodywire_receiver_frame_age_seconds_sum") or 0.0) <= len(lines) * 31 * 86_400
    assert decode_server(encode_server(Welcome(True, b"m", next_sequence=session.next_sequence)))


async def test_hostile_blobs_are_refused_or_complete(receiver: RunningReceiver) -> None:
    session = await receiver.begin()
    for data in itertools.islice(hostile_blobs(np.random.default_rng(62)), 40):
        with suppress(WireError):
            receiver.pipeline.on_blob(session, Blob(TEXTURE, len(data) % 300, data))


@pytest.mark.parametrize("offset_ns", [0, MAX_TIME_NS, -MAX_TIME_NS])
@pytest.mark.parametrize("captured_at", [0.0, NOW_S, 4_102_444_800.0])
def test_age_with_an_absurd_clock_is_unknown(offset_ns: int, captured_at: float) -> None:
    heartbeat = Heartbeat(0, 0, offset_ns, MAX_TIME_NS)
    assert decode_client(encode_client(heartbeat)) == heartbeat
    clock = SenderClock(heartbeat.clock_offset_ns / 1e9, heartbeat.clock_error_ns / 1e9)
    age_ms, error_ms = age_and_error_ms(NOW_S, captured_at, clock)
    assert age_ms == (0.0 if captured_at == NOW_S and not offset_ns else None)
    assert error_ms is None


def test_age_of_a_frame_from_the_spool_is_known() -> None:
    week_s = 7 * 86_400.0
    assert age_and_error_ms(NOW_S, NOW_S - week_s, SenderClock(0.0, 0.003)) == (week_s * 1e3, 3.0)
