"""Capacity estimation, rate control, packet trains and congestion window together, on a simulated link."""

import numpy as np
import pytest

from tests.netlab.pipe import Shape
from tests.netlab.simulation import Simulation
from tests.netlab.traces import Trace

LONG_QUEUE = 10**9


def _background_bps(simulation: Simulation, begin_s: float, end_s: float) -> float:
    return sum(size * 8 for at_s, size in simulation.background if begin_s < at_s < end_s) / (end_s - begin_s)


def test_frames_beside_blobs_when_the_capacity_falls_to_an_eighth() -> None:
    for rtt_s in (0.01, 0.06, 0.2, 0.3):
        link = Shape(Trace.steps((8.0, 8000.0), (60.0, 1000.0)), rtt_s / 2, queue_bytes=LONG_QUEUE)
        simulation = Simulation(link, background_bytes=20_000)
        simulation.run(16.0)
        oldest_s = max(frame.age_s for frame in simulation.shown if frame.shown_s > 8.0)
        assert oldest_s < rtt_s + 0.25
        # Blobs were sent before and after: about 200 bytes per round trip or frame.
        expected_bps = 8 * 200 / max(rtt_s, 1 / 30)
        assert _background_bps(simulation, 4.0, 8.0) > 0.5 * expected_bps
        assert _background_bps(simulation, 12.0, 16.0) > 0.5 * expected_bps
        assert simulation.rate.state.capacity.bps == pytest.approx(1e6, rel=0.15)


def test_blobs_hardly_delay_frames_when_the_link_falls_to_a_packet_a_second() -> None:
    link = Shape(Trace.steps((8.0, 8000.0), (60.0, 12.0)), 0.03, queue_bytes=LONG_QUEUE)
    alone, loaded = Simulation(link), Simulation(link, background_bytes=20_000)
    for simulation in (alone, loaded):
        simulation.run(14.0)
    oldest_s = [max(frame.age_s for frame in simulation.shown) for simulation in (alone, loaded)]
    assert oldest_s[1] < oldest_s[0] + 0.5


def test_capacity_is_measured_beside_labels_alone() -> None:
    for mbps in (0.1, 0.5, 5.0, 20.0):
        link = Shape(Trace.constant(mbps * 1e3), 0.03, queue_bytes=LONG_QUEUE)
        simulation = Simulation(link, fps=15.0 if mbps < 0.2 else 30.0)
        simulation.run(6.0)
        capacity = simulation.rate.state.capacity
        assert capacity.measured
        assert capacity.bps == pytest.approx(mbps * 1e6, rel=0.15)
        # Packet trains delay hardly any frame.
        ages_s = [frame.age_s for frame in simulation.shown if frame.shown_s > 3.0]
        assert np.percentile(ages_s, 95) < 0.032 + 0.06 * (mbps < 0.2) + 0.012


def test_blobs_on_a_fluctuating_link_leave_frames_fresh() -> None:
    rng = np.random.default_rng(1)
    steps = [(0.1, float(kbps)) for kbps in np.exp(rng.uniform(np.log(300.0), np.log(8000.0), 300))]
    simulation = Simulation(Shape(Trace.steps(*steps), 0.03, queue_bytes=LONG_QUEUE), background_bytes=20_000)
    simulation.run(20.0)
    ages_s = [frame.age_s for frame in simulation.shown if frame.shown_s > 2.0]
    assert np.percentile(ages_s, 95) < 0.2
    assert _background_bps(simulation, 2.0, 20.0) > 10e3
