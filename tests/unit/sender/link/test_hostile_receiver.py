"""A hostile receiver: the sender ends with a clear error, or goes on; it neither crashes nor loses a frame."""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from common.clock import Clock
from common.errors import MalformedPacket, PeerError
from common.wire.convert import (
    MAX_TIME_NS,
    MAX_WINDOW,
    NO_SEQUENCE,
    Acknowledgement,
    AckStatus,
    Heartbeat,
    decode_client,
    encode_client,
)
from common.wire.stream import StreamBroken
from sender.link import delivery as delivery_module
from sender.link.keepalive import ClockComparison
from sender.link.session import Fate
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from tests.netlab.hostile.hostile_packets import hostile_answers
from tests.support.link.clocked_delivery import ClockedDelivery
from tests.support.link.counting_codec import label_frame, settle
from tests.support.link.scripted_receiver import (
    WELCOME,
    ClientFixture,
    Connected,
    ScriptedReceiver,
    ack,
    receive_frame,
    reply,
)

TIMES_NS = (0, 1, 10**9, 1_800_000_000 * 10**9, MAX_TIME_NS - 1, MAX_TIME_NS)
# Clocks may be set; an interval of a message that lasts as long is possible.
INTERVALS_US = (0, 1, 1000, 10**6, 50 * 10**6)


async def test_absurd_measurements_reach_the_estimators_within_bounds() -> None:
    rate, rng = RateController(RateConfig(), 30.0), random.Random(1)
    fixture = ClockedDelivery(live=True, rate=rate)
    for sequence in range(400):
        await fixture.send(sequence)
        fixture.now_s += 0.03
        sample = fixture.delivery.on_acknowledgement(
            replace(
                ack(sequence),
                received_us=rng.choice(TIMES_NS) // 1000,
                spacing_us=rng.choice(INTERVALS_US),
                hold_us=rng.choice(INTERVALS_US),
            )
        )
        assert sample is not None
        assert 0 <= sample.hold_ms <= 1030.1 and 0 <= sample.round_trip_time_ms <= 30.1
        assert sample.arrival_spacing_ms is None or 0 < sample.arrival_spacing_ms <= 1060.1
        assert all(0 <= rho <= 1 for rho in rate.rho({"root": 1.0, "head": 0.5}).values())
        state = rate.state
        assert np.isfinite([state.f, state.bandwidth_bps or 0, state.delay_ms or 0, state.capacity.bps or 0]).all()
    assert fixture.observer.fates == [(sequence, Fate.ACKNOWLEDGED) for sequence in range(400)]


async def answered(fixture: ClockedDelivery, *acks: Acknowledgement) -> None:
    """Answers arrive in one message."""
    for each in fixture.delivery.new(acks):
        fixture.delivery.on_acknowledgement(each)


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize(
    "hostile",
    [
        ack(3),
        ack(2**53 - 2),
        ack(3, AckStatus.REJECTED),
        ack(1, AckStatus.DUPLICATE),
        replace(ack(0), sequence=NO_SEQUENCE),
        replace(ack(2), hold_us=3600 * 10**6),
        replace(ack(2), spacing_us=MAX_TIME_NS // 1000),
    ],
)
async def test_answer_that_no_receiver_can_give_ends_the_link(lossy: bool, hostile: Acknowledgement) -> None:
    fixture = ClockedDelivery(live=True)
    fixture.delivery.restart(WELCOME, lossy=lossy)
    await fixture.send(0)
    await fixture.delivery.send(label_frame(1))
    await fixture.send(2)
    if hostile.sequence == 1 and lossy:
        # It may be one from long ago, whose number was taken for this one.
        for _ in range(MAX_WINDOW - 1):
            await answered(fixture, hostile)
    with pytest.raises(PeerError, match="see --peer"):
        await answered(fixture, ack(0), hostile)


@pytest.mark.parametrize("lossy", [False, True])
async def test_stream_without_frames_has_no_answers(lossy: bool) -> None:
    fixture = ClockedDelivery(live=True)
    await fixture.send(0)
    fixture.delivery.restart(WELCOME, lossy=lossy)
    with pytest.raises(PeerError, match="frame 0, which was never sent"):
        await answered(fixture, ack(0))
    fixture.delivery.on_acknowledgement(replace(ack(0, AckStatus.REJECTED), sequence=NO_SEQUENCE))


async def test_flood_of_repeated_acknowledgements_ends_the_stream() -> None:
    fixture = ClockedDelivery(live=True)
    await fixture.send(0)
    await fixture.send(1)
    assert fixture.delivery.on_acknowledgement(ack(0)) is not None
    for _ in range(MAX_WINDOW - 1):
        fixture.delivery.on_acknowledgement(ack(0))
    assert fixture.delivery.on_acknowledgement(ack(1)) is not None
    for _ in range(MAX_WINDOW - 1):
        fixture.delivery.on_acknowledgement(ack(0))
    with pytest.raises(PeerError, match="64 frames that were not in flight"):
        fixture.delivery.on_acknowledgement(ack(1))


async def test_message_that_was_given_up_may_be_answered_late_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "_LOSS_POLL_S", 0.0)
    fixture = ClockedDelivery(live=True)
    fixture.delivery.restart(WELCOME, lossy=True)
    await fixture.send(0)
    fixture.now_s += 5.0
    watching = asyncio.create_task(fixture.delivery.watch_losses())
    while fixture.queue.in_flight:
        await asyncio.sleep(0)
    watching.cancel()
    await fixture.send(1)
    for _ in range(2 * MAX_WINDOW):
        await answered(fixture, ack(0))
    await answered(fixture, ack(1))
    assert fixture.observer.fates == [(0, Fate.LOST), (1, Fate.ACKNOWLEDGED)]


async def test_receiver_that_decodes_from_what_was_never_sent_is_refused() -> None:
    link = ClientFixture(ScriptedReceiver(replace(WELCOME, resumed=True, decodable_from=0)), live=False)
    with pytest.raises(PeerError, match="claims to have frame 0 of this session, which was never sent"):
        await link.client.connect()


async def test_acknowledgement_of_what_was_never_sent_ends_the_client(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=True)
    await link.send(0)
    await reply(end, ack(7))
    with pytest.raises(PeerError, match="acknowledged frame 7, which was never sent"):
        await link.client.drain()


async def test_one_frame_that_is_always_rejected_ends_the_stream() -> None:
    # Frames between the rejections are accepted, so there are never eight rejections in a row.
    fixture = ClockedDelivery(live=False)
    await fixture.send(0)
    for sequence in range(1, 8):
        fixture.delivery.on_acknowledgement(ack(0, AckStatus.REJECTED))
        assert (await fixture.delivery.next_message()).sequence == 0
        await fixture.send(sequence)
        fixture.delivery.on_acknowledgement(ack(sequence))
    with pytest.raises(PeerError, match="rejected frame 0 8 times: a reason"):
        fixture.delivery.on_acknowledgement(ack(0, AckStatus.REJECTED))
    assert (0, Fate.ACKNOWLEDGED) not in fixture.observer.fates


async def test_receiver_that_drains_for_ever_loses_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "_MAX_DRAIN_S", 0.001)
    fixture = ClockedDelivery(live=True)
    watching = asyncio.create_task(fixture.delivery.watch_pause())
    await settle()
    assert not watching.done()
    for _ in range(3):
        fixture.delivery.pause()
    with pytest.raises(StreamBroken, match="the receiver drains for more than"):
        await watching


async def test_receiver_that_claims_frames_of_a_new_session_is_refused() -> None:
    link = ClientFixture(ScriptedReceiver(replace(WELCOME, next_sequence=7)), live=False)
    with pytest.raises(PeerError, match="claims to have frame 6 of this session, which was never sent"):
        await link.client.connect()


@pytest.mark.parametrize("next_sequence", [2, 2**53 - 1])
async def test_receiver_that_claims_frames_that_were_never_sent_is_refused(
    connected: Connected, next_sequence: int
) -> None:
    link, end = await connected(WELCOME, replace(WELCOME, next_sequence=next_sequence), live=False)
    await link.client.send(label_frame(0))
    assert await receive_frame(end) == 0
    end.break_off()
    with pytest.raises(PeerError, match=f"claims to have frame {next_sequence - 1} "):
        await link.client.drain()
    assert link.observer.fates == []


async def test_second_welcome_ends_the_stream(connected: Connected) -> None:
    link, end = await connected(WELCOME, live=True)
    await reply(end, WELCOME)
    with pytest.raises(MalformedPacket, match="Welcome in the middle"):
        await link.client.drain()


@pytest.mark.parametrize("seed", range(4))
async def test_hostile_answers_end_with_a_peer_error_and_every_frame_keeps_one_fate(
    connected: Connected, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    link, end = await connected(WELCOME, live=bool(seed % 2))
    answers = hostile_answers(rng)
    with pytest.raises(PeerError):
        for sequence in range(100):
            async with asyncio.timeout(5):
                await link.client.send(label_frame(sequence))
            await settle()
            answer = next(answers)
            await end.write(answer)
            with suppress(MalformedPacket):
                end.from_server.decode(answer)  # what the sender has decoded is what the next answer is relative to
            await reply(end, ack(sequence))
        await link.client.drain()
    assert len(dict(link.observer.fates)) == len(link.observer.fates)


def test_clock_comparison_with_absurd_echoes() -> None:
    now_s = [0.5]
    clocks, rng = ClockComparison(Clock(lambda: now_s[0], lambda: 1.8e9 + now_s[0])), random.Random(2)
    for number in range(300):
        now_s[0] += 1.0
        heartbeat = clocks.heartbeat()
        assert decode_client(encode_client(heartbeat)) == heartbeat
        assert clocks.update(Heartbeat(rng.choice(TIMES_NS), 5)) is None, "never sent"
        if number % 3:
            assert clocks.update(Heartbeat(heartbeat.sent_ns, rng.choice(TIMES_NS))) == now_s[0]
            assert clocks.update(heartbeat) is None, "answered already"
