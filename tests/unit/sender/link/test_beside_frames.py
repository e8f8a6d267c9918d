"""What the link sends beside frames: blobs ahead of them, and reports behind them."""

from dataclasses import replace

import pytest

from common.blobs import COLOURS, Blob
from common.wire.convert import MAX_BLOB_BYTES, Chunk, FrameMessage
from common.wire.report import SenderReport
from tests.support.fake_link import FakeEnd, label_frame
from tests.support.scripted_receiver import WELCOME, Connected, ack, receive, reply

BLOBS = (Blob(COLOURS, 3, b"three"), Blob(COLOURS, 4, b"four"))
REPORT = SenderReport(1_000_000, 5.0, {"perception": 20.0})


async def keys_before_frame(end: FakeEnd) -> tuple[list[int], int]:
    """Keys of the blobs that arrive before the next frame, and its number."""
    keys = []
    while isinstance(message := await receive(end), Chunk):
        keys.append(message.key)
    assert isinstance(message, FrameMessage)
    return keys, message.sequence


async def test_blobs_arrive_ahead_of_their_frame_and_again_with_it(connected: Connected) -> None:
    link, end = await connected(WELCOME, WELCOME, live=False)
    await link.client.send(label_frame(0), BLOBS)
    assert await keys_before_frame(end) == ([3, 4], 0)
    end.break_off()
    end = await link.receiver.stream()
    assert await keys_before_frame(end) == ([3, 4], 0)
    await reply(end, ack(0))
    await link.client.send(label_frame(1))
    assert await keys_before_frame(end) == ([], 1)


async def test_blob_that_is_too_large_is_refused(connected: Connected) -> None:
    link, _ = await connected(WELCOME, live=False)
    with pytest.raises(ValueError, match="a blob has 1 to"):
        await link.client.send(label_frame(0), [Blob(COLOURS, 0, bytes(MAX_BLOB_BYTES + 1))])
    assert link.client.outstanding == 0


@pytest.mark.parametrize("takes_reports", [True, False])
async def test_report_follows_a_frame_to_receivers_that_know_it(connected: Connected, takes_reports: bool) -> None:
    due = [REPORT]
    welcome = replace(WELCOME, takes_reports=takes_reports)
    link, end = await connected(welcome, live=False, report=lambda: due.pop() if due else None)
    await link.send(*range(2))
    assert isinstance(await receive(end), FrameMessage)
    if takes_reports:
        assert await receive(end) == REPORT
    assert isinstance(await receive(end), FrameMessage)
    assert due == ([] if takes_reports else [REPORT])
