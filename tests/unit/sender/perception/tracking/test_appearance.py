import numpy as np
import pytest

from sender.perception.tracking.appearance import Appearance


def appearance(colours: list[float], area: list[float]) -> Appearance:
    """Grey regions."""
    return Appearance(np.repeat(np.array([colours], np.float32), 3, axis=0).T, np.array(area, np.float32))


def test_distance_is_over_commonly_visible_regions() -> None:
    first, second = appearance([0.2, 0.9], [0.1, 0.1]), appearance([0.5, 0.0], [0.1, 0.0])
    assert first.distance(second) == pytest.approx(0.3)
    assert first.distance(first) == 0.0


def test_distance_without_common_regions_is_none() -> None:
    assert appearance([0.2, 0.9], [0.1, 0.0]).distance(appearance([0.2, 0.9], [0.0, 0.1])) is None


def test_blend_weighs_regions_by_visible_area() -> None:
    memory = appearance([0.2, 0.2, 0.2], [0.1, 0.1, 0.0])
    after = memory.blended(appearance([0.6, 0.6, 0.6], [0.1, 0.0, 0.1]), 0.25)
    assert after.colours[:, 0] == pytest.approx([0.3, 0.2, 0.6])
    assert after.area == pytest.approx([0.1, 0.075, 0.025])


def test_blend_without_visible_area_is_finite() -> None:
    nothing = appearance([0.5], [0.0])
    assert np.isfinite(nothing.blended(nothing, 0.5).colours).all()
