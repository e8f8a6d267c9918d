"""What nobody sees, by one frame and over time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, REGIONS
from common.frames import Camera
from common.labels import LIMBS, MAY_BE_UNSEEN
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.semantics.visibility import LEAST_CONFIDENCE, RegionColours, SteadyConfidence, limb_log_odds

FPS = 30
CONFIDENCE = dict.fromkeys(("torso", *MAY_BE_UNSEEN), 0.4)


def odds(**limbs: float) -> FloatArray:
    return np.array([limbs.get(limb, 3.0) for limb in LIMBS], np.float32)


def unseen_after(*stretches: tuple[float, FloatArray]) -> list[set[str]]:
    """What is unseen at the end of each stretch (seconds, log odds) of a stream."""
    steady, found, number = SteadyConfidence(), [], 0
    for seconds, log_odds in stretches:
        for _ in range(round(seconds * FPS)):
            stated = steady.steady(number / FPS, CONFIDENCE, log_odds)
            number += 1
        found.append({group for group, value in stated.items() if value == 0})
    return found


def test_limb_that_leaves_is_unseen_after_a_while_and_seen_again_soon() -> None:
    gone, shown = odds(left_leg=-3.0), odds(left_leg=1.5)
    assert unseen_after((1, shown), (0.1, gone), (0.2, shown), (1.0, gone), (0.2, shown)) == [
        *(set(), set(), set()),
        {"left_leg"},
        set(),
    ]


def test_single_frames_change_nothing() -> None:
    gone, shown = odds(left_leg=-3.0), odds(left_leg=2.0)
    frame = 1 / FPS
    assert unseen_after((1, gone), (frame, shown), (1, gone)) == [{"left_leg"}] * 3
    assert unseen_after((1, shown), (frame, gone), (1, shown)) == [set()] * 3


def test_doubtful_limb_stays_what_it_was() -> None:
    doubtful = odds(head=-0.6)
    assert unseen_after((1, doubtful)) == [set()]
    assert unseen_after((1, odds(head=-2)), (5, doubtful)) == [{"head"}] * 2


def test_hands_go_with_both_arms() -> None:
    assert unseen_after((1, odds(left_arm=-3))) == [{"left_arm"}]
    assert unseen_after((1, odds(left_arm=-3, right_arm=-3))) == [{"left_arm", "right_arm", "hands"}]


def test_confidences_are_steady_and_not_zero() -> None:
    steady, found = SteadyConfidence(), []
    for number in range(60):
        stated = {**CONFIDENCE, "head": 0.5 + 0.2 * (-1) ** number, "left_leg": 0.0}
        found.append(steady.steady(number / FPS, stated, odds()))
    assert np.ptp([each["head"] for each in found[30:]]) < 0.05
    assert found[-1]["left_leg"] == LEAST_CONFIDENCE and found[-1]["torso"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("hidden", "places_y", "fitted_y", "expected"),
    [
        ([0, 1, 2, 3, 4, 9], {13: 0.7, 15: 0.7, 14: 0.59}, {16: 1.2}, [-2, 2, 2, -3, 2]),
        ([], {11: 0.7, 12: 0.7}, {12: 0.5}, [2, 2, 2, -3, 2]),
    ],
    ids=["outer keypoints", "hips below the picture, of which the fitted body has the right one in it"],
)
def test_limb_is_seen_by_keypoints_in_the_picture(
    hidden: list[int], places_y: dict[int, float], fitted_y: dict[int, float], expected: list[float]
) -> None:
    camera, crop = Camera(100, 60, 100.0), CropBox(0, 0, 100)
    places, logits = torch.full((1, 17, 2), 0.4), torch.full((1, 17), 2.0)
    logits[0, hidden] = -2.0
    places[0, list(places_y), 1] = torch.tensor(list(places_y.values()))
    fitted = places[0].numpy().copy()
    fitted[list(fitted_y), 1] = list(fitted_y.values())
    nothing = {name: torch.zeros(1) for name in PerceptionOutput.__slots__}
    output = replace(PerceptionOutput(**nothing), keypoints_2d=places, visible_logit=logits)
    np.testing.assert_allclose(limb_log_odds(output, crop.to_pixels(fitted), crop, camera), expected)


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
