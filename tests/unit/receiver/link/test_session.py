import asyncio
from dataclasses import replace

import pytest

from common.codec.frame_codec import DecodedFrame
from common.errors import MalformedPacket
from common.wire.convert import FrameMessage, Hello
from receiver.link.session import Session, SessionRegistry
from tests.support.fake_link import MODEL, SECRET, CountingCodec, label_frame, settle


def _hello(number: int, *, resume: bool = False) -> Hello:
    return Hello(bytes([number]) * 16, f"sender {number}", 1, MODEL, live=True, resume=resume, session_secret=SECRET)


def _session(registry: SessionRegistry, number: int, now_s: float = 0.0) -> Session:
    session = registry.create(_hello(number), now_s)
    assert session is not None
    return session


def test_find_needs_a_request_to_resume() -> None:
    registry = SessionRegistry(CountingCodec)
    session = _session(registry, 1)
    assert registry.find(_hello(1, resume=True)) is session
    assert registry.find(_hello(1)) is None
    assert registry.find(_hello(2, resume=True)) is None


def test_create_when_full() -> None:
    registry = SessionRegistry(CountingCodec, capacity=1)
    _session(registry, 1)
    assert registry.create(_hello(2), 0.0) is None


async def test_take_expired_keeps_sessions_in_use() -> None:
    registry = SessionRegistry(CountingCodec, keep_s=10.0)
    expired, busy, fresh = _session(registry, 1), _session(registry, 2), _session(registry, 3, now_s=15.0)
    await busy.claim(lambda: None)
    assert registry.take_expired(20.0) == [expired]
    assert registry.take_all() == [busy, fresh]
    assert registry.count == 0


async def test_claim_waits_until_the_session_is_released() -> None:
    session = _session(SessionRegistry(CountingCodec), 1)
    evictions: list[int] = []
    await session.claim(lambda: evictions.append(1))
    second = asyncio.create_task(session.claim(lambda: evictions.append(2)))
    await settle()
    assert evictions == [1]
    assert not second.done()
    session.release()
    await second
    assert session.in_use


def test_rejected_frame_may_be_sent_again_after_later_ones() -> None:
    session = _session(SessionRegistry(CountingCodec), 1)
    session.rejected(4)
    session.handled(5)
    assert [session.has_handled(sequence) for sequence in (3, 4, 5, 6)] == [True, False, True, False]
    session.handled(4)
    assert session.has_handled(4)
    assert session.next_sequence == 6


def test_memory_of_rejections_is_bounded() -> None:
    session = _session(SessionRegistry(CountingCodec), 1)
    for sequence in range(1000):
        session.rejected(sequence)
    session.handled(1000)
    assert sum(not session.has_handled(sequence) for sequence in range(1000)) == 64


def test_decode_rejects_the_payload_of_another_frame() -> None:
    session, codec = _session(SessionRegistry(CountingCodec), 1), CountingCodec()
    payload = codec.encode(label_frame(7)).payload
    with pytest.raises(MalformedPacket, match="frame 8 has the payload of frame 7"):
        session.decode(FrameMessage(8, payload, 0, 0, True))
    assert session.decodable_from == -1
    assert session.decode(FrameMessage(7, payload, 0, 0, True)).frame == label_frame(7)
    assert session.decodable_from == 7


class _CuttingCodec(CountingCodec):
    def decode(self, payload: bytes) -> DecodedFrame:
        return replace(super().decode(payload), complete=False)


def test_decode_rejects_an_incomplete_packet() -> None:
    session = _session(SessionRegistry(_CuttingCodec), 1)
    payload = CountingCodec().encode(label_frame(7)).payload
    with pytest.raises(MalformedPacket, match="cut short"):
        session.decode(FrameMessage(7, payload, 0, 0, True))
    assert session.decodable_from == -1
