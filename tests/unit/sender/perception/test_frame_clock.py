import pytest

from sender.perception.crop import USUAL_STEP_S, FrameClock


def test_time_is_that_of_the_frames() -> None:
    clock = FrameClock()
    steps = [clock.tick(time_s) for time_s in (7.0, 7.25, 7.5, 9.5)]
    assert steps == [USUAL_STEP_S, 0.25, 0.25, 2.0] and clock.now_s == 2.5


@pytest.mark.parametrize("times_s", [(None, None, None), (3.0, 3.0, 3.0), (5.0, 4.0, 3.0), (5.0, None, 5.0)])
def test_clock_goes_on_where_the_source_has_none_or_it_does_not_advance(times_s: tuple[float | None, ...]) -> None:
    clock = FrameClock()
    assert [clock.tick(time_s) for time_s in times_s] == [USUAL_STEP_S] * 3
    assert clock.now_s == pytest.approx(2 * USUAL_STEP_S)
