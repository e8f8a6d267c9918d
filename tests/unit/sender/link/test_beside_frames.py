"""What the link sends beside frames: blobs ahead of them, and reports behind them."""

from dataclasses import replace

import pytest

from common.blobs import COLOURS, Blob
from common.wire.convert import MAX_BLOB_BYTES, Chunk, FrameMessage
from common.wire.report import SenderReport
from sender.link.client import LinkClient
from tests.support.fake_link import FakeEnd, label_frame, settle
from tests.support.scripted_receiver import WELCOME, ClientFixture, ScriptedReceiver, ack, receive, reply

BLOBS = (Blob(COLOURS, 3, b"three"), Blob(COLOURS, 4, b"four"))
REPORT = SenderReport(1_000_000, 5.0, {"perception": 20.0})


@pytest.fixture
async def closing():  # type: ignore[no-untyped-def]
    clients: list[LinkClient] = []
    yield clients
    for client in clients:
        await client.close()


async def keys_before_frame(end: FakeEnd) -> tuple[list[int], int]:
    """Keys of the blobs that arrive before the next frame, and its number."""
    keys = []
    while isinstance(message := await receive(end), Chunk):
        keys.append(message.key)
    assert isinstance(message, FrameMessage)
    return keys, message.sequence


async def test_blobs_arrive_ahead_of_their_frame_and_again_with_it(closing: list[LinkClient]) -> None:
    link = ClientFixture(ScriptedReceiver(WELCOME, WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0), BLOBS)
    assert await keys_before_frame(end) == ([3, 4], 0)
    end.break_off()
    end = await link.receiver.stream()
    assert await keys_before_frame(end) == ([3, 4], 0)
    await reply(end, ack(0))
    await link.client.send(label_frame(1))
    assert await keys_before_frame(end) == ([], 1)


async def test_blob_that_is_too_large_is_refused(closing: list[LinkClient]) -> None:
    link = ClientFixture(ScriptedReceiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    with pytest.raises(ValueError, match="a blob has 1 to"):
        await link.client.send(label_frame(0), [Blob(COLOURS, 0, bytes(MAX_BLOB_BYTES + 1))])
    assert link.client.outstanding == 0


@pytest.mark.parametrize("takes_reports", [True, False])
async def test_report_follows_a_frame_to_receivers_that_know_it(closing: list[LinkClient], takes_reports: bool) -> None:
    due = [REPORT]
    welcome = replace(WELCOME, takes_reports=takes_reports)
    link = ClientFixture(ScriptedReceiver(welcome), live=False, report=lambda: due.pop() if due else None)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
    assert isinstance(await receive(end), FrameMessage)
    if takes_reports:
        assert await receive(end) == REPORT
    assert isinstance(await receive(end), FrameMessage)
    assert due == ([] if takes_reports else [REPORT])
