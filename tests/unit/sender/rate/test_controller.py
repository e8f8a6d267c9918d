"""One decision: messages a second, frames a message and f, for what link and budget carry."""

import math
from typing import Any

import pytest

from common.frames import MAX_AHEAD_STEPS
from common.wire.traffic import MessageCost
from sender.congestion.capacity import PacketTrainSample
from sender.rate.controller import (
    LEAST_FACES_BPS,
    MAX_F,
    Decision,
    Means,
    RateController,
    beside_faces,
    decide,
    label_bytes,
)
from sender.rate.policy import RateConfig
from tests.support.link.link_samples import FakeBottleneck, sample

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


def test_labels_have_all_of_a_thin_link_and_leave_more_of_a_better_one_to_faces() -> None:
    assert [beside_faces(1e3 * kbit) for kbit in (2.4, 12, 20)] == [2.4e3, 12e3, 20e3]
    left = [1e3 * kbit - beside_faces(1e3 * kbit) for kbit in (26, 32, 64, 200)]
    assert left == sorted(left) and left[0] > LEAST_FACES_BPS
    assert math.isinf(beside_faces(math.inf))


def test_faces_get_what_labels_leave_of_a_budget_and_no_more_than_they_show() -> None:
    found = []
    for kbit in (5, 16, 28, 32, 1000):
        controller = RateController(RateConfig(), 30.0, 1e3 * kbit)
        assert controller.face_bps(0.0) == 0, "the link is not known yet"
        controller.on_packet_train(PacketTrainSample(2e6, 20.0), 0.0)
        controller.show_faces(0.0)
        controller.on_acknowledged(sample(), 10.0)
        found.append(controller.face_bps(20.0))
    assert found == sorted(found)
    assert found[0] < LEAST_FACES_BPS < found[2] < found[3] < 16e3 < found[4] == 48e3


def test_label_bytes_fall_with_f() -> None:
    sizes = [label_bytes(step / 10) for step in range(21)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == pytest.approx(4.0, abs=0.5)


IMPORTANCE = {"root": 1.0, "hands": 0.2}


def _stream(rate: RateController, link: FakeBottleneck, begin_ms: float, frames: int) -> list[int]:
    """A live stream whose frames shrink with ρ; returns their sizes."""
    sizes = []
    for number in range(frames):
        now_ms = begin_ms + number * 33.0
        rate.on_offered(now_ms)
        sizes.append(int(60 + 900 * math.exp(-2.0 * sum(rate.rho(IMPORTANCE).values()))))
        rate.on_acknowledged(*link.send(now_ms, sizes[-1]))
    return sizes


def test_capacity_policy_on_a_fast_link_reaches_the_finest_rate() -> None:
    rate = RateController(RateConfig())
    _stream(rate, FakeBottleneck(50e6), 0.0, 150)
    assert rate.rho(IMPORTANCE) == {"root": 0.0, "hands": 0.0}
    assert not rate.state.capacity.measured


def test_capacity_policy_after_a_collapse_fits_the_link() -> None:
    rate, link = RateController(RateConfig()), FakeBottleneck(50e6)
    _stream(rate, link, 0.0, 150)
    link.capacity_bps = 120e3
    sizes = _stream(rate, link, 150 * 33.0, 200)
    assert rate.state.capacity.measured
    assert sum(sizes[-60:]) / 60 * 8 / 0.033 < 120e3


def test_paper_policy_takes_a_thin_stream_for_a_thin_link() -> None:
    rate = RateController(RateConfig(policy="paper"))
    _stream(rate, FakeBottleneck(50e6), 0.0, 150)
    state = rate.state
    assert state.bandwidth_bps is not None
    # The known weakness of eq. 15: 50 Mbit/s of capacity, and nearly the largest f that bandwidth alone can cause.
    assert state.bandwidth_bps < 200e3
    assert state.f > 0.4


def test_blobs_use_the_capacity_that_labels_leave() -> None:
    rate = RateController(RateConfig(), frame_rate_hz=30.0)
    assert rate.background_bytes(0, 50_000, 0.0) == 0
    for number in range(8):
        now_ms = number * 33.0
        rate.on_sent(number, 100, now_ms)
        rate.on_acknowledged(sample(sequence=number), now_ms + 20.0)
    rate.on_packet_train(PacketTrainSample(8e6, 10.0), 300.0)
    allowed = rate.background_bytes(0, 50_000, 300.0)
    assert 200 <= allowed < 300
    assert rate.background_bytes(0, 150, 300.0) == 150
    assert rate.background_bytes(allowed, 50_000, 300.0) == 0
    # The acknowledgement of this frame is overdue.
    rate.on_sent(8, 100, 310.0)
    assert rate.background_bytes(0, 50_000, 500.0) == 0
    rate.on_connected()
    assert rate.background_bytes(0, 50_000, 1100.0) > 0


def test_a_budget_leaves_the_capacity_beyond_it_to_blobs() -> None:
    free = []
    for budget_bps in (math.inf, 10e3):
        rate = RateController(RateConfig(), frame_rate_hz=30.0, budget_bps=budget_bps)
        for number in range(8):
            rate.on_sent(number, 220, number * 33.0)
            rate.on_acknowledged(sample(sequence=number, message_bytes=220), number * 33.0 + 20.0)
        rate.on_packet_train(PacketTrainSample(100e3, 10.0), 300.0)
        free.append(rate.background_bytes(0, 50_000, 300.0))
    assert free == [0, 125]


def test_other_policies_send_a_share_of_each_blob() -> None:
    rate = RateController(RateConfig(policy="fixed", fixed_f=0.25))
    assert rate.background_bytes(100_000, 20_000, 0.0) == 15_000


def test_decisions_are_made_once_a_second_and_at_once_when_the_capacity_falls() -> None:
    rate, decided = RateController(RateConfig(), frame_rate_hz=30.0), []
    for number in range(70):
        rate.on_acknowledged(sample(sequence=number), number * 33.0)
        decided.append(rate._decision)
    assert len({id(decision) for decision in decided}) == 3 and rate.state.f == 0.0
    rate.on_packet_train(PacketTrainSample(10e3, 10.0), 2300.0)
    rate.on_acknowledged(sample(sequence=70), 2310.0)
    assert rate.state.f > 0.5
