"""Answers leave at once, with the next one, or after a while, and in order."""

import asyncio

import pytest

from common.clock import Clock
from common.wire.convert import (
    NO_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    FrameMessage,
    ServerMessages,
)
from common.wire.datagrams import Datagrams
from receiver.link import connection
from receiver.link.connection import Acknowledger, ReceivedMessage, ReceiveQueue
from receiver.link.session import Arrival
from tests.support.link.counting_codec import settle
from tests.support.link.path import stream_pair


def frame(sequence: int) -> FrameMessage:
    return FrameMessage(sequence, b"packet")


async def test_messages_leave_in_order_with_their_times() -> None:
    now_s, wall_s = iter((5.0, 5.5, 5.5, 6.0)), iter((2.0, 2.5003, 2.4997, 9.0))
    queue = ReceiveQueue(8, Clock(lambda: next(now_s), lambda: next(wall_s)))
    for sequence in range(4):
        queue.put(frame(sequence))
    queue.finish()
    taken = [await queue.take() for _ in range(5)]
    assert taken.pop() is None
    # The wall clock counts on from the first arrival, unless it was stepped.
    assert [a and (a.arrival.at_s, a.received_us, a.spacing_us) for a in taken] == [
        (5.0, 2_000_000, 0),
        (5.5, 2_500_000, 500_000),
        (5.5, 2_500_001, 1),
        (6.0, 9_000_000, 500_000),
    ]


async def test_frame_is_superseded_by_frames_only_and_not_after_they_are_discarded() -> None:
    queue = ReceiveQueue(8, Clock(lambda: 0.0, lambda: 0.0))
    queue.put(frame(0))
    first = await queue.take()
    assert first is not None
    superseded = first.arrival.superseded
    queue.put(None, "not readable")
    assert not superseded.is_set()
    queue.put(frame(1))
    queue.put(frame(2))
    assert superseded.is_set()
    queue.discard()
    assert not superseded.is_set()
    assert await queue.take() is None


async def test_frame_that_gave_way_supersedes_none() -> None:
    queue = ReceiveQueue(2, Clock(lambda: 0.0, lambda: 0.0), lossy=True)
    for sequence in range(3):
        queue.put(frame(sequence))
    taken = [await queue.take() for _ in range(2)]
    assert [each and each.frame for each in taken] == [frame(1), frame(2)]
    assert taken[1] is not None and not taken[1].arrival.superseded.is_set()


class Fixture:
    """An acknowledger whose clock the test sets, and what the sender reads."""

    def __init__(self, *, lossy: bool = False) -> None:
        self.now_s = 100.0
        self.end, server = stream_pair()
        datagrams = Datagrams() if lossy else None
        if datagrams is not None:
            datagrams.encode(frame(50))
        self.acknowledger = Acknowledger(server, Clock(lambda: self.now_s, lambda: 0.0), datagrams)
        self._received = ServerMessages(datagrams)

    async def answer(
        self,
        sequence: int,
        *,
        may_wait: bool = False,
        status: AckStatus = AckStatus.DECODED,
        reason: str = "",
        spacing_us: int | None = None,
    ) -> None:
        spacing_us = sequence if spacing_us is None else spacing_us
        message = ReceivedMessage(
            FrameMessage(sequence, b"p", may_wait), "", Arrival(100.0), 10**15 + sequence, spacing_us
        )
        await self.acknowledger.answer(message, status, reason)

    async def read(self) -> tuple[Acknowledgement, ...]:
        message = self._received.decode(await self.end.read() or b"")
        assert isinstance(message, Acknowledgements)
        return message.frames

    @property
    def silent(self) -> bool:
        return self.end._inbox.empty()


async def test_answer_leaves_at_once_with_the_time_that_the_frame_was_held() -> None:
    fixture = Fixture()
    fixture.now_s = 100.02
    await fixture.answer(7)
    assert await fixture.read() == (Acknowledgement(7, AckStatus.DECODED, 10**15 + 7, 7, 19_999),)


async def test_answer_that_may_wait_leaves_with_the_next_one() -> None:
    fixture = Fixture()
    await fixture.answer(7, may_wait=True)
    assert fixture.silent
    fixture.now_s = 100.033
    await fixture.answer(9)
    first, second = await fixture.read()
    assert (first.sequence, second.sequence, first.spacing_us) == (7, 9, 7)
    # The wait is part of the time held, so that round trips leave it out.
    assert first.hold_us == pytest.approx(33_000, abs=1)


async def test_message_that_is_no_frame_is_answered_at_once() -> None:
    fixture = Fixture()
    await fixture.answer(7, may_wait=True)
    message = ReceivedMessage(None, "", Arrival(100.0), 10**15, 1)
    await fixture.acknowledger.answer(message, AckStatus.REJECTED, "x" * 9999)
    assert [ack.sequence for ack in await fixture.read()] == [7, NO_SEQUENCE]


async def test_answers_that_may_be_lost_are_repeated() -> None:
    fixture = Fixture(lossy=True)
    for sequence in range(8):
        await fixture.answer(sequence, may_wait=sequence not in (4, 5, 7))
    numbers = [[ack.sequence for ack in await fixture.read()] for _ in range(3)]
    assert numbers == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [5, 6, 7]]


async def test_sender_that_lets_every_answer_wait_gets_them_all() -> None:
    fixture = Fixture()
    for sequence in range(150):
        await fixture.answer(sequence, may_wait=True)
    await fixture.acknowledger.flush()
    assert [len(await fixture.read()) for _ in range(3)] == [64, 64, 22]


async def test_answer_waits_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LONGEST_WAIT_S", 0.001)
    fixture = Fixture()
    running = asyncio.create_task(fixture.acknowledger.run())
    await fixture.answer(7, may_wait=True)
    await settle()
    assert fixture.silent
    fixture.now_s += 0.002
    async with asyncio.timeout(10):
        assert [ack.sequence for ack in await fixture.read()] == [7]
    running.cancel()


async def test_answer_waits_no_longer_because_messages_are_spread_under_way() -> None:
    fixture = Fixture()
    waits_s = []
    for spacing_us in [200_000] * 8 + [600_000] * 8:
        await fixture.answer(7, may_wait=True, spacing_us=spacing_us)
        waits_s.append(fixture.acknowledger._wait_until_s - fixture.now_s)
    assert waits_s == pytest.approx([0.5] * 12 + [1.5] * 4), "they come so from now on"
