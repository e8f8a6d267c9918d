"""Evaluation of the logs of the benchmark of failures."""

import random
from itertools import pairwise

import pytest

from tests.bench.failures import FAILURES, Line, episodes, evaluate

OUTAGE, STOPPED = FAILURES["outage_1s"], FAILURES["receiver_stopped"]


def _shown(seq: int, captured_at: float, at: float) -> Line:
    return {"what": "shown", "session": "s", "seq": seq, "captured_at": captured_at, "at": at}


def _sent(seq: int, at: float) -> Line:
    return {"what": "sent", "seq": seq, "at": at}


def test_recovery_ends_with_the_first_frame_captured_after_the_outage() -> None:
    source = [_sent(0, 10.1), {"what": "disconnected", "at": 11.0}, _sent(1, 11.7), _sent(2, 11.9)]
    # The first frame was in flight; the second waited for the network, which is wrong for a live sender.
    sink = [_shown(0, 10.1, 11.6), _shown(1, 11.2, 11.8), _shown(2, 11.8, 12.0)]
    figures = evaluate(source, sink, [(10.0, 11.5)], OUTAGE)
    assert (figures["detected_max_s"], figures["resumed_max_s"]) == pytest.approx((1.0, 0.5))
    assert (figures["late_frames"], figures["stale_frames"]) == (1, 1)


def test_each_repetition_ends_where_the_next_begins() -> None:
    source = [{"what": "disconnected", "at": at} for at in (11.0, 21.5)]
    sink = [_shown(number, at - 0.1, at) for number, at in enumerate((12.6, 23.0))]
    figures = evaluate(source, sink, [(10.0, 12.0), (20.0, 22.0)], STOPPED)
    assert (figures["detected_p50_s"], figures["detected_max_s"]) == pytest.approx((1.25, 1.5))
    assert (figures["resumed_p50_s"], figures["resumed_max_s"]) == pytest.approx((0.8, 1.0))


def test_undetected_failure_and_missing_recovery_are_infinite() -> None:
    figures = evaluate([], [_shown(0, 9.0, 9.1)], [(10.0, 12.0)], STOPPED)
    assert figures["detected_max_s"] == figures["resumed_max_s"] == float("inf")


def test_lost_and_duplicate_frames() -> None:
    source: list[Line] = [{"what": "captured", "seq": seq, "at": 9.0} for seq in range(3)]
    sink = [_shown(0, 9.0, 9.1), _shown(2, 9.0, 12.1), _shown(2, 9.0, 12.2)]
    figures = evaluate(source, sink, [(10.0, 12.0)], STOPPED)
    assert (figures["lost_frames"], figures["duplicate_frames"]) == (1, 1)


def test_episodes_leave_time_to_recover() -> None:
    planned = episodes(OUTAGE, 5, random.Random(1))
    assert all(end == pytest.approx(begin + 1.0) for begin, end in planned)
    assert all(later[0] - earlier[1] >= 3.0 for earlier, later in pairwise(planned))
