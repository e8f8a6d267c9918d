"""Estimation, budget, probes and window together, over a simulated link."""

import numpy as np
import pytest

from tests.network.pipe import Shape
from tests.network.simulation import Shown, Simulation
from tests.network.traces import Trace

LONG_QUEUE = 10**9


def _sent_bps(shown: list[Shown], begin_s: float, end_s: float) -> float:
    return sum(each.payload_bytes * 8 for each in shown if begin_s < each.shown_s < end_s) / (end_s - begin_s)


@pytest.mark.parametrize("rtt_s", [0.01, 0.06, 0.2, 0.3])
def test_frames_filled_to_their_budget_outlive_a_fall_to_an_eighth(rtt_s: float) -> None:
    link = Shape(Trace.steps((8.0, 8000.0), (60.0, 1000.0)), rtt_s / 2, queue_bytes=LONG_QUEUE)
    simulation = Simulation(link, payload_bytes=34_000)
    simulation.run(16.0)
    oldest_s = max(each.shown_s - each.captured_s for each in simulation.shown if each.shown_s > 8.5)
    assert oldest_s < rtt_s + 0.25
    # Bulk was there before, and comes back.
    assert _sent_bps(simulation.shown, 4.0, 8.0) > 500e3
    assert 50e3 < _sent_bps(simulation.shown, 12.0, 16.0) < 1e6
    assert simulation.rate.state.capacity.bps == pytest.approx(1e6, rel=0.15)


@pytest.mark.parametrize("mbps", [0.1, 0.5, 5.0, 20.0])
def test_labels_alone_know_the_capacity(mbps: float) -> None:
    link = Shape(Trace.constant(mbps * 1e3), 0.03, queue_bytes=LONG_QUEUE)
    simulation = Simulation(link, fps=15.0 if mbps < 0.2 else 30.0)
    simulation.run(6.0)
    capacity = simulation.rate.state.capacity
    assert capacity.measured
    assert capacity.bps == pytest.approx(mbps * 1e6, rel=0.15)
    # Probing makes hardly any frame wait.
    ages_s = [each.shown_s - each.captured_s for each in simulation.shown if each.shown_s > 3.0]
    assert np.percentile(ages_s, 95) < 0.032 + 0.06 * (mbps < 0.2) + 0.012


def test_bulk_on_a_link_that_swings_leaves_labels_young() -> None:
    rng = np.random.default_rng(1)
    swings = [(0.1, float(kbps)) for kbps in np.exp(rng.uniform(np.log(300.0), np.log(8000.0), 300))]
    simulation = Simulation(Shape(Trace.steps(*swings), 0.03, queue_bytes=LONG_QUEUE), payload_bytes=20_000)
    simulation.run(20.0)
    ages_s = [each.shown_s - each.captured_s for each in simulation.shown if each.shown_s > 2.0]
    assert np.percentile(ages_s, 95) < 0.2
    assert _sent_bps(simulation.shown, 2.0, 20.0) > 200e3
