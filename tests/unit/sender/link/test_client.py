import asyncio

import pytest

from common.blobs import TEXTURE, Blob
from common.errors import PeerError
from common.wire.convert import (
    MAX_BLOB_BYTES,
    NO_SEQUENCE,
    AckStatus,
    Chunk,
    Drain,
    FrameMessage,
    Welcome,
    encode_server,
)
from common.wire.frame_messages import SenderReport
from sender.config import LinkConfig
from sender.link.session import Fate
from tests.support.link.counting_codec import MODEL, label_frame, settle
from tests.support.link.path import End
from tests.support.link.scripted_receiver import (
    FULL,
    WELCOME,
    ClientFixture,
    Connected,
    ScriptedReceiver,
    ack,
    receive,
    receive_frame,
    reply,
)

BLOBS = (Blob(TEXTURE, 3, b"three"), Blob(TEXTURE, 4, b"four"))
REPORT = SenderReport(1_000_000, 5.0, {"perception": 20.0})


async def test_live_send_when_window_is_full_supersedes_the_older_waiting_frame(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=True)
    await link.send(*range(5))
    assert [await receive_frame(end), await receive_frame(end)] == [0, 1]
    assert link.observer.fates == [(2, Fate.SUPERSEDED), (3, Fate.SUPERSEDED)]
    assert link.codec.encoded == [(0, -1), (1, 0)]
    await reply(end, ack(0))
    assert await receive_frame(end) == 4
    assert link.codec.encoded[-1] == (4, 1), "predicted from the frame sent before"


async def test_live_frames_behind_a_rejected_one_are_lost_with_it_and_the_next_follows_the_acknowledged_one(
    connected: Connected,
) -> None:
    link, end = await connected(WELCOME, live=True)
    await link.send(0)
    await reply(end, ack(0))
    for sequence in (1, 2):
        await link.send(sequence)
    assert link.codec.encoded[-1] == (2, 1)
    # The receiver has not decoded frame 1.
    await reply(end, ack(2, AckStatus.REJECTED))
    await link.send(3)
    assert link.codec.encoded[-1] == (3, 0)
    await reply(end, ack(3))
    await link.send(4)
    await reply(end, ack(1))
    await link.send(5)
    assert link.codec.encoded[-2:] == [(4, 3), (5, 3)], "losses are frequent now"
    assert (2, Fate.LOST) in link.observer.fates


async def test_file_send_waits_for_room_and_loses_nothing(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.send(*range(10))
    blocked = asyncio.create_task(link.client.send(label_frame(10)))
    await settle()
    assert not blocked.done()
    await reply(end, ack(0))
    await blocked
    received = [await receive_frame(end), await receive_frame(end)]
    bundle = await receive(end)
    assert isinstance(bundle, FrameMessage) and bundle.sequences == tuple(range(2, 10))
    # The frames that waited leave together, and one answer settles them.
    await reply(end, ack(1))
    await reply(end, ack(9))
    assert [*received, await receive_frame(end)] == [0, 1, 10]
    await reply(end, ack(10))
    assert link.observer.fates == [(sequence, Fate.ACKNOWLEDGED) for sequence in range(11)]
    assert link.codec.encoded == [(0, -1), (1, -1), (9, 0), (10, 1)]


async def test_frames_of_a_bundle_that_the_receiver_has_are_not_sent_again(connected: Connected) -> None:
    link, end = await connected(WELCOME, Welcome(True, MODEL, next_sequence=4), live=False)
    await link.send(*range(6))
    await reply(end, ack(0))
    await settle()
    # Frames 2 to 5 are on their way in one message; the receiver has written 2 and 3 when it dies.
    end.break_off()
    end = await link.receiver.stream()
    message = await receive(end)
    assert isinstance(message, FrameMessage) and message.sequences == (4, 5)
    await reply(end, ack(5))
    assert link.observer.fates == [(sequence, Fate.ACKNOWLEDGED) for sequence in range(6)]


async def test_rejected_bundle_of_a_file_is_sent_again(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.send(*range(4))
    await reply(end, ack(0))
    await reply(end, ack(1))
    await reply(end, ack(3, AckStatus.REJECTED))
    messages = [await receive(end) for _ in range(4)]
    assert [isinstance(message, FrameMessage) and message.sequences for message in messages] == [
        (0,),
        (1,),
        (2, 3),
        (2, 3),
    ]
    assert link.codec.encoded[-1] == (3, -1)


async def test_window_is_the_smaller_of_both_sides(connected: Connected) -> None:
    link, _ = await connected(Welcome(True, MODEL, window=1), live=True)
    await link.send(*range(2))
    assert link.codec.encoded == [(0, -1)]


async def test_rejected_file_frame_is_sent_again_as_a_key_frame(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.client.send(label_frame(0))
    assert await receive_frame(end) == 0
    await reply(end, ack(0))
    await link.client.send(label_frame(1))
    assert await receive_frame(end) == 1
    await reply(end, ack(1, AckStatus.REJECTED))
    assert await receive_frame(end) == 1
    assert link.codec.encoded == [(0, -1), (1, 0), (1, -1)]
    assert link.observer.sent_frames == [0, 1, 1]


async def test_rejected_live_frame_is_dropped_and_the_next_is_a_key_frame(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=True)
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
        await reply(end, ack(sequence, AckStatus.REJECTED if sequence else AckStatus.DECODED))
    await link.send(2)
    assert link.observer.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.REJECTED)]
    assert link.codec.encoded == [(0, -1), (1, 0), (2, -1)]


async def test_send_fails_when_every_frame_is_rejected(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.client.send(label_frame(0))
    for _ in range(8):
        await receive_frame(end)
        await reply(end, ack(0, AckStatus.REJECTED))
    with pytest.raises(PeerError, match="rejected 8 frames in a row: a reason"):
        await link.client.send(label_frame(1))


async def test_duplicate_is_acknowledged_but_is_no_reference(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.send(0)
    await reply(end, ack(0, AckStatus.DUPLICATE))
    await link.send(1)
    assert link.observer.fates == [(0, Fate.ACKNOWLEDGED)]
    assert link.codec.encoded == [(0, -1), (1, -1)]


async def test_resume_continues_only_from_a_common_state(connected: Connected) -> None:
    for resumed, decodable_from, reference in (
        (True, 1, 1),
        (True, NO_SEQUENCE, -1),
        (False, 1, -1),
    ):
        kept = Welcome(True, MODEL, next_sequence=2, resumed=resumed, decodable_from=decodable_from)
        link, end = await connected(WELCOME, kept, live=False)
        await link.send(*range(2))
        await reply(end, ack(0))
        end.break_off()
        end = await link.receiver.stream()
        assert (link.receiver.hellos[1].resume, link.receiver.hellos[1].resume_from) == (True, 1)
        await link.client.send(label_frame(2))
        assert await receive_frame(end) == 2
        assert link.observer.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.ACKNOWLEDGED)]
        assert link.codec.encoded == [(0, -1), (1, -1), (2, reference)]
        assert link.observer.losses == ["connection reset (UNAVAILABLE)"]


async def test_resume_when_receiver_is_new_resends_from_a_key_frame(connected: Connected) -> None:
    link, end = await connected(WELCOME, None, WELCOME, live=False)
    for sequence in range(3):
        await link.client.send(label_frame(sequence))
        await settle()
        if sequence == 0:
            await reply(end, ack(0))
    end.break_off()
    end = await link.receiver.stream()
    message = await receive(end)
    assert isinstance(message, FrameMessage) and message.sequences == (1, 2)
    assert link.codec.encoded == [(0, -1), (1, 0), (2, 0), (2, -1)]
    assert link.observer.sent_frames == [0, 1, 2, 1, 2]


async def test_draining_receiver_gets_no_further_frames(connected: Connected) -> None:
    link, first = await connected(WELCOME, WELCOME, live=False)
    await reply(first, Drain())
    await link.send(0)
    assert link.codec.encoded == []
    await first.finish()
    second = await link.receiver.stream()
    assert await receive_frame(second) == 0


async def test_drain_waits_for_every_acknowledgement_then_sends_drain(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.client.send(label_frame(0))
    draining = asyncio.create_task(link.client.drain())
    assert await receive_frame(end) == 0
    await settle()
    assert not draining.done()
    await reply(end, ack(0))
    assert isinstance(await receive(end), Drain)
    await end.write(encode_server(Drain()))
    await end.finish()
    await draining
    with pytest.raises(PeerError, match="not connected"):
        await link.client.send(label_frame(1))


async def test_end_that_the_receiver_does_not_confirm_is_said(
    connected: Connected, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.link.client._DRAIN_TIMEOUT_S", 0.1)
    link, _ = await connected(WELCOME, live=False)
    with caplog.at_level("INFO"):
        await link.client.drain()
    unconfirmed = "every frame was acknowledged, but the receiver did not confirm the end: no answer in 0.1 s"
    assert caplog.messages[-1] == unconfirmed


async def test_drain_when_receiver_is_unreachable(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=False)
    await link.client.send(label_frame(0))
    end.break_off()
    with pytest.raises(PeerError, match=r"no receiver at 127\.0\.0\.1:50051 within 1 s \(connection refused\)"):
        await link.client.drain()


async def test_stream_ended_with_a_fatal_code_is_not_retried(connected: Connected) -> None:
    link, end = await connected(WELCOME, WELCOME, live=False)
    await link.client.send(label_frame(0))
    end.break_off("INVALID_ARGUMENT", "8 frames in a row rejected")
    with pytest.raises(PeerError, match="refuses the stream: 8 frames in a row rejected"):
        await link.client.drain()
    assert link.observer.losses == []


async def test_receiver_that_ends_every_stream_is_given_up_without_a_storm(caplog: pytest.LogCaptureFixture) -> None:
    link = ClientFixture(ScriptedReceiver(*[WELCOME] * 1000), live=False)
    await link.client.connect()
    await link.client.send(label_frame(0))

    async def end_every_stream() -> None:
        while True:
            (await link.receiver.stream()).break_off("INTERNAL", "the receiver cannot write its output")

    ending = asyncio.create_task(end_every_stream())
    with pytest.raises(PeerError, match="acknowledged no frame within 1 s: the receiver cannot write its output"):
        await link.client.drain()
    ending.cancel()
    assert 2 <= len(link.receiver.hellos) <= 6
    assert caplog.messages == ["lost the receiver (the receiver cannot write its output (INTERNAL)); trying to resume"]


async def test_stream_that_lasts_without_an_acknowledgement_is_no_progress() -> None:
    link = ClientFixture(ScriptedReceiver(*[WELCOME] * 8), live=False)
    await link.client.connect()
    await link.client.send(label_frame(0))

    async def end_every_stream() -> None:
        while True:
            end = await link.receiver.stream()
            await asyncio.sleep(11.0)
            end.break_off()

    ending = asyncio.create_task(end_every_stream())
    with pytest.raises(PeerError, match="acknowledged no frame within 1 s: connection reset"):
        await link.client.drain()
    ending.cancel()
    assert len(link.receiver.hellos) == 2


async def test_progress_is_logged_once_after_a_loss(connected: Connected, caplog: pytest.LogCaptureFixture) -> None:
    link, end = await connected(WELCOME, WELCOME, live=False)
    end.break_off()
    end = await link.receiver.stream()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await receive_frame(end)
        await reply(end, ack(sequence))
    assert caplog.messages == [
        "lost the receiver (connection reset (UNAVAILABLE)); trying to resume",
        "the receiver is back",
    ]


async def test_reconnect_waits_for_a_full_receiver(connected: Connected, caplog: pytest.LogCaptureFixture) -> None:
    link, end = await connected(WELCOME, FULL, WELCOME, live=False)
    await link.client.send(label_frame(0))
    await receive_frame(end)
    end.break_off("RESOURCE_EXHAUSTED", "full for now: the session was idle")
    assert await receive_frame(await link.receiver.stream()) == 0
    assert "the receiver at 127.0.0.1:50051 is full for now: 64 sessions; waiting" in caplog.messages


def test_config_out_of_range() -> None:
    with pytest.raises(ValueError, match="reconnect_timeout"):
        LinkConfig(reconnect_timeout=0.0)
    with pytest.raises(ValueError, match="budget_kbit"):
        LinkConfig(budget_kbit=0.9)


def test_a_small_budget_leaves_heartbeats_more_time() -> None:
    usual, small, smallest = (LinkConfig(budget_kbit=budget) for budget in (None, 20.0, 1.2))
    assert usual.heartbeat_interval_s == 0.2 < small.heartbeat_interval_s < smallest.heartbeat_interval_s < 1.25
    assert [each.comparison_interval_s for each in (usual, small, smallest)] == [1.0, 2.5, 30.0]
    assert usual.round_trip_s == 0.0 and LinkConfig(budget_kbit=2.4).round_trip_s == pytest.approx(8.19, abs=0.01)
    assert usual.probe_bps == 5000.0 and small.probe_bps == 1000.0
    assert LinkConfig(budget_kbit=3.0, heartbeat_interval_ms=3000.0).heartbeat_interval_s == 3.0


async def keys_before_frame(end: End) -> tuple[list[int], int]:
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
        await link.client.send(label_frame(0), [Blob(TEXTURE, 0, bytes(MAX_BLOB_BYTES + 1))])
    assert link.client.outstanding == 0


async def test_report_follows_a_frame(connected: Connected) -> None:
    due = [REPORT]
    link, end = await connected(WELCOME, live=False, report=lambda: due.pop() if due else None)
    await link.send(*range(2))
    assert isinstance(await receive(end), FrameMessage)
    assert await receive(end) == REPORT
    assert isinstance(await receive(end), FrameMessage)
