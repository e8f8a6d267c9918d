import itertools

from common.wire.convert import MAX_WINDOW, Acknowledgement, AckStatus
from sender.link.delivery import Losses
from sender.link.frame_queue import InFlight
from tests.support.link.counting_codec import label_frame


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
