import asyncio
import math

import pytest

from common.blobs import WEARS, Blob
from common.errors import PeerError
from common.wire.convert import AckStatus, Welcome
from sender.link.delivery import DelayedAcknowledgement
from sender.link.session import Fate
from tests.support.link.clocked_delivery import ClockedDelivery
from tests.support.link.counting_codec import MODEL, label_frame, settle
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.scripted_receiver import WELCOME, ack


class Fixture(ClockedDelivery):
    """With blobs of three bytes behind a frame."""

    def __init__(self, *, live: bool, budget_bps: float = math.inf, gathers: bool = False) -> None:
        super().__init__(live=live, budget_bps=budget_bps, gathers=gathers, pacer=ConstantPacer(3))


async def test_within_a_budget_the_newest_frame_leaves_when_it_may() -> None:
    fixture = Fixture(live=True, budget_bps=8e6)
    fixture.meter.spend(92_000, fixture.clock.monotonic_ms())  # 20 ms more than the first credit
    await fixture.delivery.send(label_frame(0))
    waiting = asyncio.create_task(fixture.delivery.next_message())
    await settle()
    assert not waiting.done()
    await fixture.delivery.send(label_frame(1))
    await asyncio.sleep(0.03)
    assert not waiting.done()  # the fixture's clock stands
    fixture.now_s += 0.03
    await fixture.delivery.send(label_frame(2))
    assert (await waiting).sequence == 2
    assert fixture.observer.fates == [(0, Fate.SUPERSEDED), (1, Fate.SUPERSEDED)]


def test_within_a_budget_blobs_take_their_share() -> None:
    fixture = Fixture(live=True, budget_bps=8000.0)
    fixture.delivery.background.post(Blob("colours", 0, bytes(2)))
    fixture.meter.blob_sent(300, fixture.clock.monotonic_ms())
    assert not list(fixture.delivery.chunks())
    fixture.now_s += 2.0
    assert [chunk.data for chunk in fixture.delivery.chunks()] == [bytes(2)]


async def test_within_a_budget_blobs_ahead_leave_in_small_parts_and_before_the_frame_is_encoded() -> None:
    fixture = Fixture(live=False, budget_bps=16_000.0)
    await fixture.delivery.send(label_frame(0), [Blob("colours", 0, bytes(2000))])
    parts: list[int] = []
    async for chunk in fixture.delivery.chunks_ahead():
        parts.append(len(chunk.data))
        assert not fixture.codec.encoded
        fixture.meter.spend(len(chunk.data), fixture.clock.monotonic_ms())
        fixture.now_s += 0.5
    assert sum(parts) == 2000 and max(parts) <= 0.5 * 16_000 / 8
    assert (await fixture.delivery.next_message()).sequence == 0


async def test_what_people_wear_comes_with_the_frame_that_replaces_theirs() -> None:
    fixture = Fixture(live=True)
    await fixture.delivery.send(label_frame(0), [Blob(WEARS, 1, b"old"), Blob(WEARS, 2, b"old")])
    await fixture.delivery.send(label_frame(1), [Blob(WEARS, 1, b"new")])
    chunks = [chunk async for chunk in fixture.delivery.chunks_ahead()]
    assert [(chunk.key, chunk.data) for chunk in chunks] == [(1, b"new"), (2, b"old")]
    assert (await fixture.delivery.next_message()).sequence == 1
    await fixture.delivery.send(label_frame(2))
    assert [chunk async for chunk in fixture.delivery.chunks_ahead()] == []


async def test_where_nobody_waits_frames_wait_for_others() -> None:
    fixture = Fixture(live=False, gathers=True)
    message = asyncio.create_task(fixture.delivery.next_message())
    for sequence in range(3):
        await fixture.delivery.send(label_frame(sequence))
        await settle()
    assert not message.done()
    fixture.now_s += 0.2
    assert (await message).earlier == (0, 1)
    # No more than eight share a message, and behind the last one none follows.
    for sequence in range(3, 11):
        await fixture.delivery.send(label_frame(sequence))
    assert len((await fixture.delivery.next_message()).earlier) == 7
    fixture.delivery.on_acknowledgement(ack(2))
    await fixture.delivery.send(label_frame(11))
    message = asyncio.create_task(fixture.delivery.next_message())
    await settle()
    assert not message.done()
    fixture.delivery.finish()
    assert (await message).sequence == 11


async def test_acknowledgement_measures_the_frame() -> None:
    fixture = Fixture(live=False)
    await fixture.send(0)
    fixture.now_s += 0.033
    await fixture.send(1)
    fixture.now_s += 0.010
    assert fixture.queue.outstanding
    first = fixture.delivery.on_acknowledgement(ack(0))
    second = fixture.delivery.on_acknowledgement(ack(1))
    assert first is not None and second is not None
    # The receiver held each frame for 3 ms.
    assert first.round_trip_time_ms == pytest.approx(40.0)
    assert first.sent_spacing_ms is None
    assert second.sent_spacing_ms == pytest.approx(33.0)
    assert fixture.observer.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.ACKNOWLEDGED)]
    assert not fixture.queue.outstanding


async def test_late_frame_is_a_reference_and_has_a_fate_of_its_own_if_live() -> None:
    fixture = Fixture(live=True)
    await fixture.send(0)
    sample = fixture.delivery.on_acknowledgement(ack(0, AckStatus.LATE))
    assert sample is not None
    assert fixture.observer.fates == [(0, Fate.LATE)]
    assert (await fixture.send(1)).sequence == 1
    assert not fixture.codec.encode(label_frame(2)).key
    fixture = Fixture(live=False)
    await fixture.send(0)
    with pytest.raises(PeerError, match="dropped frame 0 of a session that loses none"):
        fixture.delivery.on_acknowledgement(ack(0, AckStatus.LATE))


async def test_acknowledgements_of_live_frames_may_wait_unless_blobs_are_sent() -> None:
    # The first is a key frame.
    for live, blobs, expected in ((True, 0, [1, 2, 3, 4, 6]), (True, 1, []), (False, 0, [])):
        fixture, waits = Fixture(live=live), []
        for key in range(blobs):
            fixture.delivery.background.post(Blob("colours", key, b"abcdef"))
        for sequence in range(7):
            await fixture.delivery.send(label_frame(sequence))
            waits += [sequence] if (await fixture.delivery.next_message()).may_wait else []
            fixture.delivery.on_acknowledgement(ack(sequence))
        assert waits == expected, (live, blobs)


FOUR_OF_FIVE = [True, True, True, True, False]


@pytest.mark.parametrize(("losses", "expected"), [(False, FOUR_OF_FIVE), (True, [True, False])])
def test_acknowledgements_may_wait_with_room_for_the_next_frame(losses: bool, expected: list[bool]) -> None:
    delayed = DelayedAcknowledgement(heartbeat_interval_s=1.0)

    def may_wait(room: int = 1, wanted_soon: bool = False) -> bool:
        return delayed.may_wait(0.0, held_back=False, room=room, wanted_soon=wanted_soon, losses=losses)

    assert not may_wait()  # the first
    assert [may_wait() for _ in range(10)] == expected * (10 // len(expected))
    assert not may_wait(room=0) and not may_wait(wanted_soon=True)
    assert may_wait()


@pytest.mark.parametrize(
    ("interval_s", "spacing_s", "prompt"), [(0.2, 0.16, 4), (0.2, 0.5, 2), (1.1, 0.3, 5), (1.1, 1.2, 3)]
)
def test_acknowledgements_of_rare_messages_wait_a_limited_time(
    interval_s: float, spacing_s: float, prompt: int
) -> None:
    delayed = DelayedAcknowledgement(interval_s)
    waits = [
        delayed.may_wait(number * spacing_s, held_back=False, room=3, wanted_soon=False, losses=False)
        for number in range(12)
    ]
    assert waits == [number % prompt != 0 for number in range(12)]


@pytest.mark.parametrize(("lossy", "careful"), [(True, 32), (False, 320)])
def test_none_waits_for_a_second_after_a_frame_that_waited_for_the_window(lossy: bool, careful: int) -> None:
    delayed, waits, rooms = DelayedAcknowledgement(1.0, lossy=lossy), [], []
    for number in range(careful + 10):
        waits.append(delayed.may_wait(number / 32, held_back=number == 0, room=3, wanted_soon=False, losses=False))
        rooms.append(delayed.room)
    assert not any(waits[:32]) and not any(rooms[:careful])
    assert waits[32:careful] == [True, False] * ((careful - 32) // 2)
    assert waits[careful:] == FOUR_OF_FIVE * 2


async def test_live_frames_of_which_nothing_shows_that_they_were_decoded_do_not_count_as_acknowledged() -> None:
    for live, fate in ((True, Fate.LOST), (False, Fate.ACKNOWLEDGED)):
        fixture = Fixture(live=live)
        fixture.delivery.restart(WELCOME)
        for sequence in range(2):
            await fixture.send(sequence)
        kept = Welcome(True, MODEL, next_sequence=2, resumed=True, decodable_from=1)
        fixture.delivery.restart(kept)
        await fixture.delivery.resume(kept)
        assert fixture.observer.fates == [(0, fate), (1, Fate.ACKNOWLEDGED)]


async def test_frame_that_another_one_has_overtaken_is_lost() -> None:
    for lossy, fate in ((True, Fate.LOST), (False, Fate.ACKNOWLEDGED)):
        fixture = Fixture(live=True)
        fixture.delivery.restart(WELCOME, lossy=lossy)
        await fixture.send(0)
        fixture.delivery.on_acknowledgement(ack(0, AckStatus.DUPLICATE))
        assert fixture.observer.fates == [(0, fate)]
