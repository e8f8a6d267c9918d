import pytest

from common.clock import Clock
from common.wire.convert import FrameMessage
from common.wire.stream import StreamBroken
from receiver.link.receive_queue import ReceiveQueue


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


async def test_window_counts_messages_until_they_are_acknowledged() -> None:
    queue = ReceiveQueue(2, Clock(lambda: 0.0, lambda: 0.0))
    queue.put(frame(0))
    queue.put(None, "not readable")
    await queue.take()
    with pytest.raises(StreamBroken, match="more than 2 unacknowledged frames"):
        queue.put(frame(1))
    queue.acknowledged()
    queue.put(frame(1))


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
