from hypothesis import given
from hypothesis import strategies as st

from sender.congestion.capacity import WindowedExtreme


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(-1e3, 1e3)), min_size=1, max_size=60), st.booleans())
def test_extreme_of_the_values_in_the_window(steps: list[tuple[float, float]], largest: bool) -> None:
    extreme, values, now_ms = WindowedExtreme(100.0, largest=largest), [], 0.0
    for step_ms, value in steps:
        now_ms += step_ms
        values.append((now_ms, value))
        recent = [value for at_ms, value in values if at_ms >= now_ms - 100.0]
        assert extreme.update(value, now_ms) == (max(recent) if largest else min(recent))


def test_values_leave_the_window_without_updates() -> None:
    extreme = WindowedExtreme(100.0)
    extreme.update(1.0, 0.0)
    assert extreme.at(100.0) == 1.0
    assert extreme.at(100.1) is None
