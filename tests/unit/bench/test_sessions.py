"""Sessions of a state machine: the link keeps its promises, and one that breaks them would be noticed."""

import pytest

from sender.link.frame_queue import FrameQueue, Resumption
from tests.bench.campaigns.campaign import NumberedPart
from tests.bench.campaigns.sessions import run


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
