import asyncio
import itertools
import math

import pytest

from common.blobs import WEARS, Blob
from common.errors import PeerError
from common.wire.convert import MAX_WINDOW, Acknowledgement, AckStatus, Welcome
from sender.link.delivery import DelayedAcknowledgement, Losses
from sender.link.frame_queue import InFlight
from sender.link.session import Fate
from tests.support.link.clocked_delivery import ClockedDelivery
from tests.support.link.counting_codec import MODEL, label_frame, settle
from tests.support.link.link_samples import ConstantPacer
from tests.support.link.scripted_receiver import WELCOME, ack


def in_flight(**sent_s: float) -> list[InFlight]:
    """Frames in flight, by `f` and their number."""
    return [InFlight((label_frame(int(name[1:])),), at_s, 30, None, False) for name, at_s in sent_s.items()]


def numbers(lost: list[InFlight]) -> list[int]:
    return [item.sequence for item in lost]


def test_answer_gives_up_the_frames_before_it_but_not_those_behind() -> None:
    flying = in_flight(f0=0.0, f1=0.03, f2=0.06, f3=0.09)
    assert numbers(Losses().answered({2}, flying, 0.15)) == [0, 1]
    assert numbers(Losses().answered({0, 1}, flying, 0.15)) == []
    assert numbers(Losses().answered({7}, flying, 0.15)) == [], "answered before"


def test_losses_are_frequent_for_ten_seconds_after_one() -> None:
    losses = Losses()
    losses.answered({0}, in_flight(f0=0.0, f1=0.03), 0.1)
    assert not losses.frequent(0.1)
    losses.answered({1}, in_flight(f0=0.0, f1=0.03), 0.1)
    assert losses.frequent(10.0)
    assert not losses.frequent(10.2)


def test_oldest_frame_is_given_up_after_what_answers_took() -> None:
    losses = Losses()
    for index in range(40):
        losses.answered({index}, in_flight(**{f"f{index}": float(index)}), index + 0.1)
    flying = in_flight(f50=60.0, f51=60.03)
    assert losses.overdue(flying, 60.2) is None
    overdue = losses.overdue(flying, 60.3)
    assert overdue is flying[0]
    assert losses.overdue(flying[1:], 60.32) is None, "one at a time"
    assert losses.overdue([], 99.0) is None


def test_time_doubles_without_any_answer_up_to_half_a_second() -> None:
    losses = Losses()
    losses.answered({0}, in_flight(f0=0.0), 0.02)
    gave_up_s: list[float] = []
    now_s, flying = 1.0, in_flight(f1=1.0)
    while len(gave_up_s) < 8:
        now_s += 0.001
        if losses.overdue(flying, now_s) is not None:
            gave_up_s.append(now_s)
            flying = in_flight(f1=now_s)
    waits_s = [later - earlier for earlier, later in itertools.pairwise(gave_up_s)]
    assert waits_s == sorted(waits_s)
    assert max(waits_s) < 0.52
    losses.answered({1}, in_flight(f1=now_s), now_s + 0.02)
    assert losses.overdue(in_flight(f2=now_s + 0.1), now_s + 0.35) is not None


def test_frames_of_a_link_that_answered_nothing_yet_wait_half_a_second() -> None:
    losses = Losses()
    assert losses.overdue(in_flight(f0=0.0), 0.45) is None
    assert losses.overdue(in_flight(f0=0.0), 0.55) is not None


def answer(sequence: int, status: AckStatus = AckStatus.DECODED) -> Acknowledgement:
    return Acknowledgement(sequence, status, 0, 0, 0)


def test_answer_to_a_frame_that_was_given_up_shows_how_slow_the_link_has_become() -> None:
    losses = Losses()
    for index in range(40):
        losses.answered({index}, in_flight(**{f"f{index}": index / 30}), index / 30 + 0.05)
    flying = in_flight(f50=2.0, f51=2.03)
    assert losses.overdue(flying, 2.3) is flying[0]
    assert losses.is_late(answer(50)) and not losses.is_late(answer(51))
    assert not losses.is_late(answer(50, AckStatus.REJECTED))
    assert losses.late(50, 3.0) is flying[0]
    assert losses.late(50, 3.0) is None, "answered before"
    assert losses.overdue(in_flight(f60=3.0), 3.9) is None, "the next one has more time"


def test_what_is_remembered_of_frames_that_were_given_up_is_bounded() -> None:
    losses = Losses()
    for index in range(200):
        losses.overdue(in_flight(**{f"f{index}": float(index)}), index + 0.9)
    late = [index for index in range(200) if losses.is_late(answer(index))]
    assert late == list(range(200 - MAX_WINDOW, 200))


def test_what_left_in_an_outage_is_given_up_at_its_end() -> None:
    losses = Losses()
    losses.answered({0}, in_flight(f0=0.0), 2.0)
    before, after = in_flight(f1=10.0), in_flight(f2=14.0)
    losses.silence_ended(13.0)
    assert losses.overdue(before, 14.1) is before[0]
    assert losses.overdue(after, 14.2) is None


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
