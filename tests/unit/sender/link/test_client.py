import asyncio
from collections.abc import AsyncIterator

import pytest

from common.errors import ModelMismatch, PeerError, VersionMismatch
from common.wire.convert import (
    NO_SEQUENCE,
    AckStatus,
    Drain,
    Heartbeat,
    Welcome,
    decode_client,
    encode_server,
)
from sender.link import Fate, LinkClient
from tests.support.fake_link import MODEL, label_frame, settle
from tests.support.scripted_receiver import WELCOME, Link, Receiver, ack, hear, hear_frame, say


@pytest.fixture
async def closing() -> AsyncIterator[list[LinkClient]]:
    clients: list[LinkClient] = []
    yield clients
    for client in clients:
        await client.close()


async def test_live_send_when_window_is_full_supersedes_the_older_waiting_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(5):
        await link.client.send(label_frame(sequence))
        await settle()
    assert [await hear_frame(end), await hear_frame(end)] == [0, 1]
    assert link.seen.fates == [(2, Fate.SUPERSEDED), (3, Fate.SUPERSEDED)]
    assert link.codec.encoded == [(0, -1), (1, -1)]
    await say(end, ack(0))
    assert await hear_frame(end) == 4
    # Encoded only now, so predicted from the frame that was acknowledged in the meantime.
    assert link.codec.encoded[-1] == (4, 0)


async def test_send_of_a_file_waits_for_room_and_loses_nothing(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(3):
        await link.client.send(label_frame(sequence))
        await settle()
    blocked = asyncio.create_task(link.client.send(label_frame(3)))
    await settle()
    assert not blocked.done()
    await say(end, ack(0))
    await blocked
    for sequence in (1, 2, 3):
        await say(end, ack(sequence))
    assert [await hear_frame(end) for _ in range(4)] == [0, 1, 2, 3]
    assert link.seen.fates == [(sequence, Fate.ACKNOWLEDGED) for sequence in range(4)]


async def test_window_is_the_smaller_of_both_sides(closing: list[LinkClient]) -> None:
    link = Link(Receiver(Welcome(True, MODEL, window=1)), live=True)
    closing.append(link.client)
    await link.client.connect()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
    assert link.codec.encoded == [(0, -1)]


async def test_sample_takes_the_receivers_time_out_of_the_round_trip(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    await hear_frame(end)
    await say(end, ack(0))
    (sample,) = link.seen.samples
    assert (sample.hold_ms, sample.arrival_spacing_ms, sample.message_bytes) == (3.0, 33.0, 350)
    assert sample.round_trip_time_ms >= 0
    assert sample.sent_spacing_ms is None


async def test_rejected_frame_of_a_file_is_sent_again_as_a_key_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    assert await hear_frame(end) == 0
    await say(end, ack(0))
    await link.client.send(label_frame(1))
    assert await hear_frame(end) == 1
    await say(end, ack(1, AckStatus.REJECTED, want_key=True))
    assert await hear_frame(end) == 1
    assert link.codec.encoded == [(0, -1), (1, 0), (1, -1)]
    assert link.seen.sent_again == [(0, False), (1, False), (1, True)]


async def test_rejected_live_frame_is_given_up_and_the_next_is_a_key_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
        await say(end, ack(sequence, AckStatus.REJECTED if sequence else AckStatus.DECODED, want_key=sequence == 1))
    await link.client.send(label_frame(2))
    await settle()
    assert link.seen.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.REJECTED)]
    assert link.codec.encoded == [(0, -1), (1, 0), (2, -1)]


async def test_send_when_every_frame_is_rejected_gives_up(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    for _ in range(8):
        await hear_frame(end)
        await say(end, ack(0, AckStatus.REJECTED, want_key=True))
    with pytest.raises(PeerError, match="rejected 8 frames in a row: a reason"):
        await link.client.send(label_frame(1))


async def test_duplicate_is_delivered_but_nothing_is_predicted_from_it(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    await settle()
    await say(end, ack(0, AckStatus.DUPLICATE))
    await link.client.send(label_frame(1))
    await settle()
    assert link.seen.fates == [(0, Fate.ACKNOWLEDGED)]
    assert link.codec.encoded == [(0, -1), (1, -1)]


async def test_resume_when_receiver_kept_the_session_goes_on_from_its_state(closing: list[LinkClient]) -> None:
    kept = Welcome(True, MODEL, next_sequence=2, resumed=True, decodable_from=1)
    link = Link(Receiver(WELCOME, kept), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
    await say(end, ack(0))
    end.break_off()
    end = await link.receiver.stream()
    assert (link.receiver.hellos[1].resume, link.receiver.hellos[1].resume_from) == (True, 1)
    await link.client.send(label_frame(2))
    assert await hear_frame(end) == 2
    assert link.seen.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.ACKNOWLEDGED)]
    assert link.codec.encoded == [(0, -1), (1, -1), (2, 1)]
    assert link.seen.lost == ["connection reset (UNAVAILABLE)"]


async def test_resume_when_receiver_is_new_sends_again_from_a_key_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, None, WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(3):
        await link.client.send(label_frame(sequence))
        await settle()
        if sequence == 0:
            await say(end, ack(0))
    end.break_off()
    end = await link.receiver.stream()
    assert [await hear_frame(end), await hear_frame(end)] == [1, 2]
    assert link.codec.encoded == [(0, -1), (1, 0), (2, 0), (1, -1), (2, -1)]
    assert (1, True) in link.seen.sent_again


async def test_receiver_that_says_nothing_is_taken_for_dead(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=True, heartbeat_interval_ms=2.0)
    closing.append(link.client)
    await link.client.connect()
    await link.receiver.stream()
    link.receiver.network.clear()
    async with asyncio.timeout(10):
        while not link.seen.lost:
            await asyncio.sleep(0.001)
    link.receiver.network.set()
    await link.receiver.stream()
    assert link.seen.lost == ["no message from the receiver (DEADLINE_EXCEEDED)"]


async def test_another_connection_that_stands_is_taken_for_a_silent_one(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=True, heartbeat_interval_ms=2.0)
    closing.append(link.client)
    await link.client.connect()
    await link.receiver.stream()
    await link.receiver.stream()
    assert link.seen.lost == ["no message from the receiver (DEADLINE_EXCEEDED)"]
    assert link.seen.connections == 2


async def test_receiver_that_was_silent_because_nothing_got_through_is_not_given_up(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True, heartbeat_interval_ms=2.0)
    closing.append(link.client)
    await link.client.connect()
    link.receiver.network.clear()
    end = await link.receiver.stream()
    while not link.seen.lost:
        await settle()
    # What stood in the queue arrives, and the other connection behind it.
    await say(end, Heartbeat(1, 2))
    link.receiver.network.set()
    while link.seen.connections < 2:
        await settle()
    await link.client.send(label_frame(0))
    assert await hear_frame(end) == 0


async def test_receiver_that_echoes_heartbeats_lives_on(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True, heartbeat_interval_ms=2.0)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for _ in range(20):
        data = await end.read()
        assert data is not None
        beat = decode_client(data)
        assert isinstance(beat, Heartbeat)
        await say(end, beat)
    assert link.seen.lost == []


async def test_receiver_that_drains_gets_no_further_frames(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    first = await link.receiver.stream()
    await say(first, Drain())
    await link.client.send(label_frame(0))
    await settle()
    assert link.codec.encoded == []
    await first.finish()
    second = await link.receiver.stream()
    assert await hear_frame(second) == 0


async def test_drain_waits_for_every_acknowledgement_then_says_goodbye() -> None:
    link = Link(Receiver(WELCOME), live=False)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    draining = asyncio.create_task(link.client.drain())
    assert await hear_frame(end) == 0
    await settle()
    assert not draining.done()
    await say(end, ack(0))
    assert isinstance(await hear(end), Drain)
    await end.write(encode_server(Drain()))
    await end.finish()
    await draining
    with pytest.raises(PeerError, match="not connected"):
        await link.client.send(label_frame(1))


async def test_drain_when_receiver_is_gone_for_good_says_so() -> None:
    link = Link(Receiver(WELCOME), live=False)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    end.break_off()
    with pytest.raises(PeerError, match=r"no receiver at 127\.0\.0\.1:50051 within 1 s \(connection refused\)"):
        await link.client.drain()


async def test_stream_that_the_receiver_refuses_to_go_on_with_is_not_tried_again() -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=False)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    end.break_off("INVALID_ARGUMENT", "8 frames in a row rejected")
    with pytest.raises(PeerError, match="refuses to go on: 8 frames in a row rejected"):
        await link.client.drain()
    assert link.seen.lost == []


async def test_connect_when_models_differ_names_both() -> None:
    link = Link(Receiver(Welcome(False, b"\xee" * 8, "another model")), live=True)
    with pytest.raises(ModelMismatch, match=r"0101010101010101 here, eeeeeeeeeeeeeeee at 127\.0\.0\.1:50051"):
        await link.client.connect()


async def test_connect_when_refused_says_why() -> None:
    link = Link(Receiver(Welcome(False, MODEL, "it speaks protocol version 7")), live=True)
    with pytest.raises(VersionMismatch, match="it speaks protocol version 7"):
        await link.client.connect()


async def test_connect_when_nothing_answers() -> None:
    link = Link(Receiver(), live=True, connect_timeout=0.1)
    with pytest.raises(PeerError, match="no receiver at"):
        await link.client.connect()


async def test_connect_when_something_else_answers_names_it() -> None:
    link = Link(Receiver(foreign="it is an SSH server"), live=True)
    with pytest.raises(PeerError, match="it is an SSH server"):
        await link.client.connect()


async def test_connect_tries_again_while_the_receiver_starts(closing: list[LinkClient]) -> None:
    link = Link(Receiver(None, None, WELCOME), live=True)
    closing.append(link.client)
    assert (await link.client.connect()).decodable_from == NO_SEQUENCE
