"""The learning rate's factor over a training's time."""

import pytest

from common.training.schedule import warm_cosine


@pytest.mark.parametrize("warm_share", [0.02, 0.05])
def test_rises_then_falls(warm_share: float) -> None:
    start, half_warm, warm, middle, end = (
        warm_cosine(progress, warm_share) for progress in (0.0, warm_share / 2, warm_share, 0.5, 1.0)
    )
    assert 0 < start < half_warm < warm > middle > end
    assert [half_warm, warm, end] == pytest.approx([0.5, 1.0, 0.01])


def test_beyond_its_time_it_stays_low() -> None:
    assert warm_cosine(1.7) == pytest.approx(0.01)
