import pytest

from common.clock import Clock
from common.wire.convert import FrameMessage
from common.wire.stream import StreamBroken
from receiver.link.arrivals import Arrivals


def frame(sequence: int) -> FrameMessage:
    return FrameMessage(sequence, b"packet", 0, 0, True)


async def test_arrivals_leave_in_order_with_their_times() -> None:
    now_s = iter((5.0, 5.5, 5.5))
    arrivals = Arrivals(8, Clock(lambda: next(now_s), lambda: 2.0))
    for sequence in range(3):
        arrivals.put(frame(sequence), "", 100 + sequence)
    arrivals.finish()
    taken = [await arrivals.take() for _ in range(4)]
    assert taken.pop() is None
    assert [a and (a.arrived_s, a.received_ns, a.spacing_ns, a.message_bytes) for a in taken] == [
        (5.0, 2_000_000_000, 0, 100),
        (5.5, 2_000_000_000, 500_000_000, 101),
        (5.5, 2_000_000_000, 1, 102),
    ]


async def test_window_counts_messages_until_they_are_acknowledged() -> None:
    arrivals = Arrivals(2, Clock(lambda: 0.0, lambda: 0.0))
    arrivals.put(frame(0), "", 10)
    arrivals.put(None, "not readable", 10)
    await arrivals.take()
    with pytest.raises(StreamBroken, match="more than 2 unacknowledged frames"):
        arrivals.put(frame(1), "", 10)
    arrivals.settled()
    arrivals.put(frame(1), "", 10)


async def test_newer_waits_for_frames_only_and_not_after_they_are_discarded() -> None:
    arrivals = Arrivals(8, Clock(lambda: 0.0, lambda: 0.0))
    arrivals.put(frame(0), "", 10)
    await arrivals.take()
    arrivals.put(None, "not readable", 10)
    assert not arrivals.newer_waits.is_set()
    arrivals.put(frame(1), "", 10)
    arrivals.put(frame(2), "", 10)
    assert arrivals.newer_waits.is_set()
    arrivals.discard()
    assert not arrivals.newer_waits.is_set()
    assert await arrivals.take() is None
