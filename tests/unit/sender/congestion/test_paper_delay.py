import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.congestion.paper_delay import PaperDelay, WindowedExtreme
from tests.support.link_samples import sample


def test_update_by_hand() -> None:
    delay = PaperDelay(half_life_ms=100.0)
    assert delay.update(sample(rtt_ms=10.0), 0.0) == pytest.approx(10.0)
    # One half-life later: (0.5 * 10 + 1 * 40) / 1.5.
    assert delay.update(sample(rtt_ms=40.0), 100.0) == pytest.approx(30.0)


def test_update_when_idle_for_long_knows_only_the_new_round_trip() -> None:
    delay = PaperDelay(half_life_ms=100.0, window_ms=1000.0)
    delay.update(sample(rtt_ms=10.0), 0.0)
    assert delay.update(sample(rtt_ms=500.0), 60_000.0) == pytest.approx(500.0)


def test_delay_before_the_first_sample_is_unknown() -> None:
    assert PaperDelay().delay_ms is None


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(-1e3, 1e3)), min_size=1, max_size=60), st.booleans())
def test_extreme_is_that_of_the_values_in_the_window(steps: list[tuple[float, float]], largest: bool) -> None:
    extreme, seen, now_ms = WindowedExtreme(100.0, largest=largest), [], 0.0
    for step_ms, value in steps:
        now_ms += step_ms
        seen.append((now_ms, value))
        recent = [each for at_ms, each in seen if at_ms >= now_ms - 100.0]
        assert extreme.update(value, now_ms) == (max(recent) if largest else min(recent))


def test_extreme_forgets_with_time_alone() -> None:
    extreme = WindowedExtreme(100.0)
    extreme.update(1.0, 0.0)
    assert extreme.at(100.0) == 1.0
    assert extreme.at(100.1) is None
