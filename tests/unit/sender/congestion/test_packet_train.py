import pytest

from common.wire.traffic import wire_bytes
from sender.congestion.packet_train import measure, message_sizes, pause_ms

RATES = [20e3, 100e3, 1e6, 5e6, 20e6]


def test_wire_bytes_include_the_headers_of_every_packet() -> None:
    assert wire_bytes(300) == 300 + 18 + 52
    assert wire_bytes(10_000) == 10_000 + 18 + 7 * 52


def test_measure_uses_the_spacing_of_the_last_two_messages() -> None:
    # The first arrived at a sleeping receiver and was time-stamped late.
    measurement = measure([9.0, 10.0, 20.0], [40, 400, 1000])
    assert measurement.resolved
    assert measurement.bps == pytest.approx(wire_bytes(1000) * 8 / 0.010)
    assert measurement.precise


def test_measure_below_the_clock_resolution_gives_a_lower_bound() -> None:
    measurement = measure([0.0, 0.1], [40, 1000])
    assert not measurement.resolved
    assert not measure([0.0, 5.0], [40, 1000]).precise
    assert measurement.bps == pytest.approx(wire_bytes(1000) * 8 / 0.003)


def test_trains_use_a_few_percent_of_any_link() -> None:
    for bps in RATES:
        sizes = message_sizes(bps)
        bits = 8 * sum(wire_bytes(size) for size in sizes)
        assert bits / (pause_ms(sizes, bps) / 1e3) <= 0.04 * bps * 1.001


def test_trains_resolve_the_capacity_and_end_before_the_next_frame() -> None:
    for bps in RATES[1:]:
        sizes = message_sizes(bps)
        times_ms = [wire_bytes(size) * 8e3 / bps for size in sizes]
        assert times_ms[-1] > 3.9
        assert sum(times_ms) < 23.0


def test_train_fits_the_initial_congestion_window_of_tcp() -> None:
    assert sum(wire_bytes(size) for size in message_sizes(1e9)) < 10 * 1500
