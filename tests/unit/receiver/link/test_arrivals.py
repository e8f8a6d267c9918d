import pytest

from common.clock import Clock
from common.wire.convert import FrameMessage
from common.wire.stream import StreamBroken
from receiver.link.arrivals import Arrivals


def frame(sequence: int) -> FrameMessage:
    return FrameMessage(sequence, b"packet")


async def test_arrivals_leave_in_order_with_their_times() -> None:
    now_s, wall_s = iter((5.0, 5.5, 5.5, 6.0)), iter((2.0, 2.5003, 2.4997, 9.0))
    arrivals = Arrivals(8, Clock(lambda: next(now_s), lambda: next(wall_s)))
    for sequence in range(4):
        arrivals.put(frame(sequence))
    arrivals.finish()
    taken = [await arrivals.take() for _ in range(5)]
    assert taken.pop() is None
    # The wall clock counts on from the first arrival, unless it was stepped.
    assert [a and (a.arrived_s, a.received_us, a.spacing_us) for a in taken] == [
        (5.0, 2_000_000, 0),
        (5.5, 2_500_000, 500_000),
        (5.5, 2_500_001, 1),
        (6.0, 9_000_000, 500_000),
    ]


async def test_window_counts_messages_until_they_are_acknowledged() -> None:
    arrivals = Arrivals(2, Clock(lambda: 0.0, lambda: 0.0))
    arrivals.put(frame(0))
    arrivals.put(None, "not readable")
    await arrivals.take()
    with pytest.raises(StreamBroken, match="more than 2 unacknowledged frames"):
        arrivals.put(frame(1))
    arrivals.settled()
    arrivals.put(frame(1))


async def test_newer_waits_for_frames_only_and_not_after_they_are_discarded() -> None:
    arrivals = Arrivals(8, Clock(lambda: 0.0, lambda: 0.0))
    arrivals.put(frame(0))
    await arrivals.take()
    arrivals.put(None, "not readable")
    assert not arrivals.newer_waits.is_set()
    arrivals.put(frame(1))
    arrivals.put(frame(2))
    assert arrivals.newer_waits.is_set()
    arrivals.discard()
    assert not arrivals.newer_waits.is_set()
    assert await arrivals.take() is None
