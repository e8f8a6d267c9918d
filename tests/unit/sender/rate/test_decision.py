"""One decision: messages a second, frames a message and f, for what link and budget carry."""

import math
from typing import Any

import pytest

from common.frames import MAX_AHEAD_STEPS
from common.wire.traffic import MessageCost
from sender.rate.controller import MAX_F, Decision, Means, decide, label_bytes

FAST = Means(math.inf, math.inf, 30.0)


def within(budget_kbit: float, **more: Any) -> Decision:
    return decide(Means(math.inf, 1e3 * budget_kbit, 30.0, **more))


def behind(capacity_kbit: float) -> Decision:
    return decide(Means(1e3 * capacity_kbit, math.inf, 30.0))


def test_without_limits_single_frames_are_as_fine_as_can_be() -> None:
    found = decide(FAST)
    assert (found.f, found.frames) == (0.0, 1)


def test_the_error_falls_and_labels_get_finer_with_the_budget() -> None:
    found = [within(kbit) for kbit in (3, 5, 10, 20, 40, 60, 100)]
    errors = [one.error_mm for one in found]
    assert errors == sorted(errors, reverse=True)
    assert [one.f for one in found] == sorted((one.f for one in found), reverse=True)
    assert all(0 < one.f < MAX_F for one in found[:4])


def test_a_thin_link_is_not_charged_for_the_way_back() -> None:
    assert behind(20).error_mm < within(20).error_mm
    assert behind(10).f > behind(30).f


def test_bundles_make_up_for_few_messages() -> None:
    assert within(60).frames == 1 and within(10).frames == 2 and within(5).frames == within(1.2).frames == 1
    assert within(5, cost=MessageCost(80.0, 130.0, 0.0)).frames == 4
    assert decide(Means(math.inf, 20e3, frame_rate_hz=5.0)).frames == 1


def test_rare_labels_are_ahead_of_their_capture_the_rarer_the_farther() -> None:
    steps = [within(kbit).ahead_steps for kbit in (50, 10, 2.4, 1.2)]
    assert steps[:2] == [0, 0] and 0 < steps[2] < steps[3] <= MAX_AHEAD_STEPS
    assert decide(Means(math.inf, 1e3, frame_rate_hz=30.0, size_ratio=32.0)).ahead_steps == MAX_AHEAD_STEPS


def test_label_bytes_fall_with_f() -> None:
    sizes = [label_bytes(step / 10) for step in range(21)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == pytest.approx(4.0, abs=0.5)
