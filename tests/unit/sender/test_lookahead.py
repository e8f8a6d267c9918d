"""Frames that wait for later ones."""

import asyncio
from collections.abc import Sequence

import pytest

from common.errors import SourceError
from sender import lookahead
from sender.capture.source import CapturedFrame
from sender.lookahead import Lookahead, Perceived, with_later
from tests.unit.sender.test_pipeline import FakeLink, FakeNetworks, FakeSource, captured, pipeline_of


def popped(queue: Lookahead, *frames: Perceived) -> list[tuple[int, int]]:
    """Of the frames that each of these releases, the sequence numbers and how many later ones are known."""
    found = []
    for frame in frames:
        queue.push(frame)
        while ready := queue.pop():
            found.append((ready[0].frame.sequence, len(ready[1])))
    return found


def clip(first: int, count: int, source: str = "clip.mp4") -> list[Perceived]:
    return [Perceived(captured(first + number, source), (), number == 0) for number in range(count)]


def test_frames_wait_until_one_is_late_enough_or_none_follows() -> None:
    queue = Lookahead(0.06)
    assert popped(queue, *clip(0, 5)) == [(0, 2), (1, 2), (2, 2)]
    queue.ended = True
    assert [ready and ready[0].frame.sequence for ready in (queue.pop(), queue.pop(), queue.pop())] == [3, 4, None]


def test_frames_are_perceived_in_time_and_come_with_those_after_them() -> None:
    perceived, frames = list[int](), {frame.frame.sequence: frame for frame in clip(0, 5)}

    def perceive(frame: CapturedFrame) -> Perceived:
        perceived.append(frame.sequence)
        return frames[frame.sequence]

    ready = with_later((frame.frame for frame in frames.values()), perceive, 0.06)
    first, later = next(ready)
    assert (first.frame.sequence, len(later), perceived) == (0, 2, [0, 1, 2])
    assert [(frame.frame.sequence, len(after)) for frame, after in ready] == [(1, 2), (2, 2), (3, 1), (4, 0)]


def test_frames_of_another_source_are_not_looked_at() -> None:
    assert popped(Lookahead(1.0), *clip(0, 3), *clip(3, 1, "other.mp4")) == [(0, 2), (1, 1), (2, 0)]


def test_pictures_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookahead, "_MOST_BYTES", 2 * 8 * 8 * 3)
    assert popped(Lookahead(1.0), *clip(0, 4)) == [(0, 2), (1, 2)]


def later_frames(log: Sequence[tuple[str, float]]) -> list[int]:
    """How many frames after each one were observed when it was labelled."""
    times = [round(30 * time_s) for _, time_s in log]
    return [max(times[:row]) - times[row] for row, (step, _) in enumerate(log) if step == "labelled"]


async def test_frames_of_a_file_are_labelled_when_later_ones_are_known() -> None:
    networks, link = FakeNetworks(), FakeLink()
    networks.later_s = 0.09
    source = FakeSource([captured(index) for index in range(6)], failure=SourceError("clip.mp4 is damaged"))
    with pytest.raises(SourceError, match="damaged"):
        await pipeline_of(source, link, networks=networks).run(asyncio.Event())
    assert [frame.sequence for frame in link.sent] == list(range(6))
    assert later_frames(networks.log) == [3, 3, 3, 2, 1, 0]


async def test_frames_of_a_camera_wait_for_none() -> None:
    networks = FakeNetworks()
    networks.later_s = 0.09
    source = FakeSource([captured(index) for index in range(3)], live=True)
    await pipeline_of(source, FakeLink(), networks=networks).run(asyncio.Event())
    assert later_frames(networks.log) == [0, 0, 0]
