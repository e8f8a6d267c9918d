import pytest

from common.clock import SYSTEM_CLOCK, Clock


def test_clock_converts_to_milliseconds() -> None:
    clock = Clock(monotonic=lambda: 2.5, wall=lambda: 1.7e9)
    assert clock.monotonic_ms() == pytest.approx(2500.0)


def test_system_clock_is_monotonic_and_counts_from_the_epoch() -> None:
    first = SYSTEM_CLOCK.monotonic()
    assert SYSTEM_CLOCK.monotonic() >= first
    assert SYSTEM_CLOCK.wall() > 1.7e9
