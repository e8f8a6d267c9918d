import asyncio
from dataclasses import replace

import pytest

from common.codec.frame_codec import DecodedFrame
from common.errors import MalformedPacket
from common.wire.convert import FrameMessage, Hello
from receiver.link.session import Session, SessionRegistry
from tests.support.fake_link import MODEL, CountingCodec, label_frame, settle


def _hello(number: int, *, resume: bool = False) -> Hello:
    return Hello(bytes([number]) * 16, f"sender {number}", 1, MODEL, live=True, resume=resume)


def _session(registry: SessionRegistry, number: int, now_s: float = 0.0) -> Session:
    session = registry.create(_hello(number), now_s)
    assert session is not None
    return session


def test_find_only_when_the_sender_wants_to_resume() -> None:
    registry = SessionRegistry(CountingCodec)
    session = _session(registry, 1)
    assert registry.find(_hello(1, resume=True)) is session
    assert registry.find(_hello(1)) is None
    assert registry.find(_hello(2, resume=True)) is None


def test_create_when_full_gives_nothing() -> None:
    registry = SessionRegistry(CountingCodec, capacity=1)
    _session(registry, 1)
    assert registry.create(_hello(2), 0.0) is None


async def test_expired_sessions_are_taken_but_not_those_in_use() -> None:
    registry = SessionRegistry(CountingCodec, keep_s=10.0)
    gone, busy, fresh = _session(registry, 1), _session(registry, 2), _session(registry, 3, now_s=15.0)
    await busy.claim(lambda: None)
    assert registry.take_expired(20.0) == [gone]
    assert registry.take_all() == [busy, fresh]
    assert registry.count == 0


async def test_claim_waits_until_the_holder_lets_go() -> None:
    session = _session(SessionRegistry(CountingCodec), 1)
    asked: list[int] = []
    await session.claim(lambda: asked.append(1))
    second = asyncio.create_task(session.claim(lambda: asked.append(2)))
    await settle()
    assert asked == [1]
    assert not second.done()
    session.let_go()
    await second
    assert session.held


def test_rejected_frame_may_come_again_after_later_ones() -> None:
    session = _session(SessionRegistry(CountingCodec), 1)
    session.rejected(4)
    session.handled(5)
    assert [session.has_handled(sequence) for sequence in (3, 4, 5, 6)] == [True, False, True, False]
    session.handled(4)
    assert session.has_handled(4)
    assert session.next_sequence == 6


def test_memory_of_rejections_does_not_grow() -> None:
    session = _session(SessionRegistry(CountingCodec), 1)
    for sequence in range(1000):
        session.rejected(sequence)
    session.handled(1000)
    assert sum(not session.has_handled(sequence) for sequence in range(1000)) == 64


def test_decode_refuses_the_payload_of_another_frame() -> None:
    session, codec = _session(SessionRegistry(CountingCodec), 1), CountingCodec()
    payload = codec.encode(label_frame(7)).payload
    with pytest.raises(MalformedPacket, match="frame 8 holds the payload of frame 7"):
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
