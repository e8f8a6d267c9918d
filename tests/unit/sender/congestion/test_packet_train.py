import pytest

from common.wire.traffic import wire_bytes
from sender.congestion.capacity import measure, message_sizes, pause_ms

RATES = [20e3, 100e3, 1e6, 5e6, 20e6]


def test_wire_bytes_include_the_headers_of_every_packet() -> None:
    assert wire_bytes(300) == 300 + 18 + 52
    assert wire_bytes(10_000) == 10_000 + 18 + 7 * 52


def test_measure_uses_the_spacing_of_the_last_two_messages_or_gives_a_lower_bound() -> None:
    # The first arrived at a sleeping receiver and was time-stamped late.
    measurement = measure([9.0, 10.0, 20.0], [40, 400, 1000])
    assert measurement.resolved and measurement.precise
    assert measurement.bps == pytest.approx(wire_bytes(1000) * 8 / 0.010)
    unresolved = measure([0.0, 0.1], [40, 1000])
    assert not unresolved.resolved and unresolved.bps == pytest.approx(wire_bytes(1000) * 8 / 0.003)
    assert not measure([0.0, 5.0], [40, 1000]).precise


def test_trains_use_a_few_percent_of_any_link_and_end_before_the_next_frame() -> None:
    for bps in RATES:
        sizes = message_sizes(bps)
        times_ms = [wire_bytes(size) * 8e3 / bps for size in sizes]
        assert sum(times_ms) <= 0.04 * pause_ms(sizes, bps) * 1.001, bps
        assert bps == RATES[0] or (times_ms[-1] > 3.9 and sum(times_ms) < 23.0), bps
    assert sum(wire_bytes(size) for size in message_sizes(1e9)) < 10 * 1500, "the initial congestion window of TCP"
