"""Sessions of a state machine: the link keeps its promises, and one that breaks them would be noticed."""

import pytest

from receiver.link.session import Session
from sender.link.delivery import FrameDelivery
from sender.link.frame_queue import FrameQueue, InFlight, Resumption
from sender.link.observer import Fate
from tests.bench.campaigns.campaign import NumberedPart
from tests.bench.campaigns.sessions import SESSIONS, run


def test_link_keeps_its_promises() -> None:
    line = run(NumberedPart(1, 0, 6))
    assert not line["failure"] and line["steps"] > 60
    assert line["seen"]["acknowledged"] > 0 and line["seen"]["quic"] >= 6


def test_frame_that_is_taken_for_delivered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = FrameQueue.resume

    async def resume(queue: FrameQueue, next_sequence: int) -> Resumption:
        return await right(queue, next_sequence + 1)

    monkeypatch.setattr(FrameQueue, "resume", resume)
    assert "were acknowledged, but never handled" in run(NumberedPart(1, 0, 30))["failure"]


@pytest.mark.slow
def test_rejected_frame_that_is_taken_for_delivered_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = FrameDelivery._finish_all

    def finish_all(delivery: FrameDelivery, message: InFlight, fate: Fate) -> None:
        right(delivery, message, Fate.ACKNOWLEDGED if fate is Fate.REJECTED else fate)

    monkeypatch.setattr(FrameDelivery, "_finish_all", finish_all)
    failures = [run(NumberedPart(1, number, 30))["failure"] for number in range(4)]
    assert any("were acknowledged, but never handled" in failure for failure in failures)


@pytest.mark.slow
def test_frame_that_is_handled_behind_later_ones_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "has_handled", lambda *_: False)
    failures = [run(NumberedPart(1, number, SESSIONS))["failure"] for number in range(4)]
    assert any("is not in order, or twice" in failure for failure in failures)
