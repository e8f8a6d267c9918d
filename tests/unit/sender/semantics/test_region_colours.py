import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, REGIONS
from sender.semantics.visibility import RegionColours

RED, BLUE = np.array([0.9, 0.1, 0.1], np.float32), np.array([0.1, 0.1, 0.9], np.float32)


def apart(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(one - other).max())


def frame(**regions: FloatArray) -> tuple[FloatArray, FloatArray]:
    colours, areas = np.full((len(REGIONS), 3), 0.5, np.float32), np.zeros(len(REGIONS), np.float32)
    for name, colour in regions.items():
        index = REGION_INDEX[name.replace("_L", ".L").replace("_R", ".R")]
        colours[index], areas[index] = colour, 0.3
    return colours, areas


def test_unseen_region_takes_colour_of_mirror_image_or_neighbour() -> None:
    known = RegionColours().update(*frame(shin_L=BLUE, chest=RED))
    np.testing.assert_allclose(known[REGION_INDEX["shin.R"]], BLUE, atol=1e-6)
    np.testing.assert_allclose(known[REGION_INDEX["upper_arm.R"]], RED, atol=1e-6)


def test_unseen_trousers_and_shoes_have_not_the_colour_of_the_top() -> None:
    """A person at a desk, whose shirt reaches over the hips."""
    known = RegionColours().update(*frame(chest=RED, hips=RED, upper_arm_L=RED))
    trousers, shoes = known[REGION_INDEX["thigh.L"]], known[REGION_INDEX["foot.L"]]
    assert apart(trousers, RED) > 0.4 and apart(shoes, RED) > 0.4
    np.testing.assert_allclose(known[REGION_INDEX["shin.R"]], trousers, atol=1e-6)
    white = RegionColours().update(*frame(chest=np.ones(3, np.float32)))
    assert (white[REGION_INDEX["thigh.L"]] > trousers + 0.1).all(), "with a white top people wear lighter ones"
    np.testing.assert_allclose(white[REGION_INDEX["hips"]], white[REGION_INDEX["thigh.L"]], atol=1e-6)
    legs = RegionColours().update(*frame(thigh_R=BLUE, hips=BLUE))
    assert apart(legs[REGION_INDEX["chest"]], BLUE) > 0.4, "nor has an unseen top that of the trousers"
    seen = RegionColours().update(*frame(chest=RED, thigh_L=BLUE))
    np.testing.assert_allclose(seen[REGION_INDEX["shin.R"]], BLUE, atol=1e-6)


@pytest.mark.parametrize("fps", [5, 240])
def test_other_light_is_followed_as_fast_at_any_frame_rate(fps: int) -> None:
    person = RegionColours()
    for _ in range(4 * fps):
        person.update(*frame(chest=RED), 1 / fps)
    for _ in range(2 * fps):
        known = person.update(*frame(chest=BLUE), 1 / fps)
    share = (known[REGION_INDEX["chest"]] - RED)[2] / (BLUE - RED)[2]
    assert share == pytest.approx(0.63, abs=0.03)
