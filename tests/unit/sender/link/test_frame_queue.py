import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.codec.packet import MAX_BUNDLE
from common.frames import LabelFrame
from sender.link.frame_queue import FrameQueue, InFlight
from sender.spool import Spool, SpoolContent
from tests.support.link.counting_codec import MODEL, label_frame, settle, until

CONTENT = SpoolContent("clip", 1, MODEL)


async def _queue(size: int, *, live: bool, sent: int, waiting: int | None = None) -> FrameQueue:
    """A queue with frames 0, 1, … in flight, each in its own message, and one that waits."""
    queue = FrameQueue(size, live=live)
    for sequence in range(sent):
        await queue.put(label_frame(sequence))
        assert _send(queue) == [sequence]
    if waiting is not None:
        assert await queue.put(label_frame(waiting)) == ()
    return queue


def _send(queue: FrameQueue) -> list[int]:
    frames = queue.ready()
    if frames:
        queue.sent(InFlight(frames, 0.0, 30, None, queue.held_back))
    return [frame.sequence for frame in frames]


def _captured(sequence: int, per_second: float = 30.0) -> LabelFrame:
    return replace(label_frame(sequence), captured_at=sequence / per_second)


async def test_shrunk_window_blocks_until_enough_messages_are_acknowledged() -> None:
    queue = await _queue(2, live=False, sent=2, waiting=2)
    queue.size = 1
    queue.acknowledged(0)
    assert queue.ready() == ()
    queue.acknowledged(1)
    assert _send(queue) == [2]


async def test_resume_of_a_file_sends_undecoded_frames_again_in_order() -> None:
    queue = await _queue(3, live=False, sent=3, waiting=3)
    assert queue.oldest_unacknowledged == 0
    resumption = await queue.resume(1)
    assert resumption.delivered == (label_frame(0),)
    assert resumption.lost
    assert [_send(queue) for _ in range(3)] == [[1, 2], [3], []]
    decoded = await _queue(2, live=False, sent=1)
    assert not (await decoded.resume(1)).lost
    assert not decoded.outstanding


async def test_frames_of_a_file_that_wait_leave_together_and_count_as_one_message() -> None:
    queue = await _queue(2, live=False, sent=2)
    for sequence in range(2, 10):
        assert await queue.put(label_frame(sequence)) == ()
    assert not queue.has_room and queue.outstanding == 10
    queue.acknowledged(0)
    assert _send(queue) == list(range(2, 10)) and queue.room == 0
    assert queue.find(9) is not None and queue.find(2) is None
    assert queue.acknowledged(9) is not None and queue.outstanding == 1


async def test_pictures_of_different_days_do_not_share_a_message() -> None:
    queue = await _queue(1, live=False, sent=1)
    await queue.put(_captured(1))
    await queue.put(replace(label_frame(2), captured_at=1e6))
    queue.acknowledged(0)
    assert _send(queue) == [1]


async def test_live_frames_that_wait_longer_are_thinned_evenly() -> None:
    queue = await _queue(1, live=True, sent=1)
    queue.bundle = 4
    superseded = [frame.sequence for sequence in range(1, 9) for frame in await queue.put(_captured(sequence))]
    queue.acknowledged(0)
    assert _send(queue) == [2, 4, 6, 8] and sorted(superseded) == [1, 3, 5, 7]


async def test_live_frames_older_than_half_a_second_are_left_out() -> None:
    queue = await _queue(1, live=True, sent=1)
    superseded = [frame.sequence for sequence in range(1, 9) for frame in await queue.put(_captured(sequence, 10.0))]
    queue.acknowledged(0)
    assert _send(queue) == [3, 4, 5, 6, 7, 8] and superseded == [1, 2]


async def test_without_bundles_the_newest_live_frame_takes_the_place() -> None:
    queue = await _queue(1, live=True, sent=1)
    queue.bundle = 1
    superseded = [frame.sequence for sequence in (1, 2) for frame in await queue.put(_captured(sequence))]
    queue.acknowledged(0)
    assert _send(queue) == [2] and superseded == [1]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", CONTENT, 1e9)
    yield spool
    spool.close()


async def test_stream_that_breaks_while_the_spool_is_read_loses_no_frame(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, read = FrameQueue(8, live=False, spool=spool), asyncio.Event()
    for sequence in range(3):
        await queue.put(label_frame(sequence))

    async def never(work: Callable[..., object], *arguments: object) -> None:
        work(*arguments)
        await read.wait()

    with monkeypatch.context() as stalled:
        stalled.setattr(queue, "_on_disk", never)
        feeding = asyncio.create_task(queue.feed())
        await settle()
        feeding.cancel()
        await asyncio.wait([feeding])
    assert not queue.waiting
    feeding = asyncio.create_task(queue.feed())
    await until(lambda: bool(queue.waiting))
    assert _send(queue) == [0, 1, 2] and queue.outstanding == 3
    queue.acknowledged(2)
    queue.notify()
    await until(lambda: not queue.outstanding)
    feeding.cancel()
    queue.close()


async def test_spool_whose_last_frames_are_damaged_is_delivered(spool: Spool) -> None:
    spool.append(label_frame(0))
    spool._begin_file(1)
    spool.close()
    (spool.directory / "000000000000.bw").write_bytes(b"something else")
    damaged = Spool(spool.directory, CONTENT, 1e9)
    queue = FrameQueue(8, live=False, spool=damaged)
    assert queue.outstanding == 1
    feeding = asyncio.create_task(queue.feed())
    await until(lambda: not queue.outstanding)
    feeding.cancel()
    queue.close()
    damaged.close()


async def test_a_long_spool_is_read_in_parts(spool: Spool) -> None:
    for sequence in range(100):
        spool.append(label_frame(sequence))
    queue = FrameQueue(1, live=False, spool=spool)
    feeding = asyncio.create_task(queue.feed())
    await until(lambda: queue.waiting >= MAX_BUNDLE)
    await settle()
    assert queue.waiting == 64
    for first in range(0, 64, MAX_BUNDLE):
        assert _send(queue) == list(range(first, first + MAX_BUNDLE))
        queue.acknowledged(first + MAX_BUNDLE - 1)
    queue.notify()
    await until(lambda: queue.waiting > 0)
    assert queue.ready()[0].sequence == 64
    feeding.cancel()
    queue.close()
