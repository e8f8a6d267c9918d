import pytest

from common.clock import SYSTEM_CLOCK, Clock


def test_clock_reads_what_was_handed_in() -> None:
    clock = Clock(monotonic=lambda: 2.5, wall=lambda: 1.7e9)
    assert clock.monotonic_ms() == pytest.approx(2500.0)
    assert clock.wall_ms() == pytest.approx(1.7e12)


def test_system_clock_goes_forward_and_knows_the_epoch() -> None:
    first = SYSTEM_CLOCK.monotonic()
    assert SYSTEM_CLOCK.monotonic() >= first
    assert SYSTEM_CLOCK.wall() > 1.7e9
