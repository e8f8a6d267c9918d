"""Builds by silhouettes: bodies at rest before masks of known width."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.body.anatomy import COCO_KEYPOINTS, REGION_INDEX, REGIONS
from common.body.label_space import TRANSLATION_SCALE, LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix, matrix_to_rotation_6d
from common.frames import Camera
from common.labels import LABEL_SIZE, LIMBS, MAY_BE_UNSEEN, ROTATION_SCALE, group_slices
from sender.config import SmoothingConfig
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import ENTRIES
from sender.semantics.confidence import (
    EVIDENCE,
    LEAST_CONFIDENCE,
    SteadyConfidence,
    evidence,
    limb_log_odds,
)
from sender.semantics.confidence import LIMBS as KEYPOINTS_OF
from sender.semantics.semantics_stage import Build, RegionColours, TrunkWidths
from sender.semantics.smoothing import (
    LATER_S,
    Facing,
    Filtered,
    FixedLagSmoother,
    LabelSmoother,
    turn_between,
)
from tests.support.pictures.preview_samples import MASK, observed

CAMERA = Camera(1000, 1000, 1000.0)
HIPS, WAIST = 0, 2
_CROP_PX = 320
CLOTHES_M = np.array([0.05, 0.035, 0.035])


BODY = BodyModel.load()
WIDTHS = TrunkWidths.of_body(BODY)


@dataclass
class Person:
    """Label entries, keypoints (17, 2) in pixels, and metres of a pixel."""

    entries: FloatArray
    keypoints: FloatArray
    m_per_px: float


def stands(turned: float = 0.0) -> Person:
    parameters = BodyParameters.rest()
    parameters.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, turned, 0.0]]))
    keypoints = BODY.coco_keypoints(BODY(parameters).vertices)[0].numpy()
    entries = LabelSpace.load().encode(parameters)[0].numpy()
    return Person(entries, CAMERA.project(keypoints), 3.0 / CAMERA.focal_px)


def seen(person: Person, width_m: float) -> ObservedPerson:
    """With a mask that is as wide at all heights, around the hips' middle."""
    x, y = person.keypoints[[11, 12]].mean(axis=0) - _CROP_PX / 2
    columns = (np.arange(MASK) + 0.5) / MASK - 0.5
    mask = np.abs(columns) * _CROP_PX * person.m_per_px < width_m / 2
    return observed(CropBox(round(x), round(y), _CROP_PX), np.broadcast_to(mask, (MASK, MASK)))


def test_widths_of_other_shapes_are_linear() -> None:
    shape = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 10)).astype(np.float32))
    rest = BODY.rest(shape)[0]
    for row, vertices in enumerate(rest.numpy()):
        keypoints = BODY.coco_keypoints(rest[row : row + 1])[0].numpy()
        waist = keypoints[[11, 12], 1].mean() * 0.6 + keypoints[[5, 6], 1].mean() * 0.4
        near = np.abs(vertices[:, 1] - waist) < 0.01
        across = vertices[near & (np.abs(vertices[:, 0]) < 0.26), 0]
        assert WIDTHS.mean[WAIST] + shape[row].numpy() @ WIDTHS.by_shape[:, WAIST] == pytest.approx(
            np.ptp(across), rel=0.05
        )


def test_narrow_masks_make_people_narrow_and_leave_lengths() -> None:
    person = stands()
    ratios = WIDTHS.look(person.entries, seen(person, 0.30), person.keypoints, CAMERA)
    assert ratios is not None
    truth = np.log(0.30 / (WIDTHS.mean + CLOTHES_M))
    # Cells of the mask are 3 cm wide.
    np.testing.assert_allclose(ratios, truth, atol=0.1)
    build = Build()
    for time_s in np.arange(0, 3, 0.25):
        build.look(WIDTHS, np.full(3, -0.1), float(time_s))
    changed = np.log(1 + build.correction @ WIDTHS.by_shape / WIDTHS.mean)
    np.testing.assert_allclose(changed, -0.09, atol=0.03)
    slim = torch.from_numpy(build.correction)[None]
    before, after = (BODY.coco_keypoints(BODY.rest(shape)[0])[0].numpy() for shape in (torch.zeros_like(slim), slim))
    knee, ankle = (COCO_KEYPOINTS.index(f"left_{joint}") for joint in ("knee", "ankle"))
    shins = [np.linalg.norm(each[knee] - each[ankle]) for each in (before, after)]
    assert shins[1] == pytest.approx(shins[0], rel=0.05)


def test_arms_beside_the_trunk_hide_it() -> None:
    person = stands()
    hips = person.keypoints[[11, 12]]
    for side in (0, 1):
        person.keypoints[7 + side] = hips[side] + np.array([30 * (1 - 2 * side), -80])
        person.keypoints[9 + side] = hips[side] + np.array([30 * (1 - 2 * side), 10])
    assert WIDTHS.look(person.entries, seen(person, 0.36), person.keypoints, CAMERA) is None


def test_people_who_turn_away_are_not_measured() -> None:
    person = stands(turned=0.8)
    assert WIDTHS.look(person.entries, seen(person, 0.36), person.keypoints, CAMERA) is None


def test_hips_of_people_who_sit_are_not_measured() -> None:
    person = stands()
    person.keypoints[[13, 14], 1] = person.keypoints[[11, 12], 1] + 20
    ratios = WIDTHS.look(person.entries, seen(person, 0.36), person.keypoints, CAMERA)
    assert ratios is not None
    assert np.isnan(ratios[HIPS]) and np.isfinite(ratios[WAIST])


def test_looks_are_a_fifth_of_a_second_apart_and_small_changes_wait() -> None:
    build = Build()
    assert build.is_due(0.0)
    build.look(WIDTHS, np.full(3, -0.1), 0.0)
    assert not build.is_due(0.1) and build.is_due(0.25)
    first = build.correction
    build.look(WIDTHS, np.array([-0.11, np.nan, np.nan]), 0.25)
    assert build.correction is first


TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.fixture(scope="module")
def output() -> PerceptionOutput:
    torch.manual_seed(0)
    with torch.no_grad():
        result: PerceptionOutput = PerceptionNet(TINY).eval()(torch.rand(2, 3, 32, 32))
    return result


def evidence_of(output: PerceptionOutput, **changes: torch.Tensor) -> FloatArray:
    crop, known = CropBox(0, 0, 32), {"keypoints": output.keypoints_2d, "sigma": torch.full((2, ENTRIES), 0.4)}
    keypoints, sigma = (value.numpy() for value in (known | changes).values())
    people = [ObservedPerson(TrackedPerson(row), 0.8, crop, each) for row, each in enumerate(output.split())]
    return evidence(people, crop.to_pixels(keypoints), sigma)


def test_evidence_of_a_limb_depends_on_that_limb_only(output: PerceptionOutput) -> None:
    before = evidence_of(output)
    assert before.shape == (2, len(LIMBS), EVIDENCE)
    arm = list(LIMBS).index("right_arm")
    moved = output.keypoints_2d.clone()
    moved[0, list(KEYPOINTS_OF["right_arm"])] += 0.2
    sigma = torch.full((2, ENTRIES), 0.4)
    sigma[0, group_slices()["right_arm"]] = 0.9
    visible = output.visible_logit.clone()
    visible[0, KEYPOINTS_OF["right_arm"][2]] += 3
    wider = torch.where(visible == output.visible_logit, output.keypoints_sigma, 0.5)
    for after in (
        evidence_of(output, keypoints=moved),
        evidence_of(output, sigma=sigma),
        evidence_of(replace(output, visible_logit=visible)),
        evidence_of(replace(output, keypoints_sigma=wider)),
    ):
        changed = (after != before).any(axis=-1)
        assert np.argwhere(changed).tolist() == [[0, arm]]


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


GONE, SHOWN, DOUBTFUL = odds(left_leg=-3.0), odds(left_leg=1.5), odds(head=-0.6)


@pytest.mark.parametrize(
    ("stretches", "unseen"),
    [
        (((1, SHOWN), (0.1, GONE), (0.2, SHOWN), (1.0, GONE), (0.2, SHOWN)), ["", "", "", "left_leg", ""]),
        (((1, GONE), (1 / FPS, SHOWN), (1, GONE)), ["left_leg"] * 3),
        (((1, SHOWN), (1 / FPS, GONE), (1, SHOWN)), [""] * 3),
        (((1, DOUBTFUL),), [""]),
        (((1, odds(head=-2)), (5, DOUBTFUL)), ["head"] * 2),
        (((1, odds(left_arm=-3)),), ["left_arm"]),
        (((1, odds(left_arm=-3, right_arm=-3)),), ["left_arm right_arm hands"]),
    ],
    ids=["leaves and returns", "one frame shown", "one frame hidden", "doubtful", "doubtful later", "arm", "arms"],
)
def test_limb_is_unseen_a_while_after_it_has_left(
    stretches: Sequence[tuple[float, FloatArray]], unseen: list[str]
) -> None:
    assert unseen_after(*stretches) == [set(each.split()) for each in unseen]


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


ROOT, ARM, SHAPE, APPEARANCE = (group_slices()[name] for name in ("root", "left_arm", "shape", "appearance"))


def person(heading: float, arm: float = 0.0) -> FloatArray:
    """Labels (104,) of a person who faces `heading`, degrees from the camera; `arm` is the pose of the left arm."""
    turn = axis_angle_to_matrix(torch.tensor([[0.0, np.radians(heading), 0.0]], dtype=torch.float32))
    labels = np.zeros(LABEL_SIZE, np.float32)
    labels[ROOT.start : ROOT.start + 6] = matrix_to_rotation_6d(turn)[0].numpy() / ROTATION_SCALE
    labels[ARM] = arm
    return labels


def judged(headings: Sequence[float]) -> str:
    """What each frame says, as its initial, when what is shown follows at once."""
    known, out = Filtered(value=person(headings[0])), ""
    for index, heading in enumerate(headings):
        known.time_s = (index - 1) / 32
        facing = known.judge(person(heading), index / 32)
        known.value = known.value if facing is Facing.WAITS else person(heading)
        out += facing.name[0]
    return out


def published(headings: Sequence[float], fps: float = FPS) -> list[float]:
    """By how much what the smoother shows is turned from each heading, degrees."""
    smoother, filtered = LabelSmoother(), Filtered()
    rows = [smoother.smooth(filtered, index / fps, person(heading)) for index, heading in enumerate(headings)]
    return [float(np.degrees(turn_between(row, person(heading)))) for row, heading in zip(rows, headings, strict=True)]


def test_frames_from_behind_in_between_are_not_believed() -> None:
    assert judged([0] * 5 + [180] * 4 + [0] * 3 + [180, 0, 180, 180, 0]) == "FFFFFWWWWFFFWFWWF"


def test_frames_that_agree_long_enough_are_believed() -> None:
    assert judged([0] * 5 + [180] * 10) == "FFFFF" + "WWWWWWWTFF"
    # A third pose is another one.
    assert judged([0] * 5 + [180] * 4 + [100] * 10) == "FFFFF" + "WWWW" + "WWWWWWWTFF"


@pytest.mark.parametrize(("speed", "fps"), [(360, 10), (720, 10), (720, 60)])
def test_person_who_spins_is_followed(speed: float, fps: int) -> None:
    headings = [0.0] * fps + [speed * step / fps for step in range(2 * fps)]
    assert max(published(headings, fps)) < 20


def test_pose_waits_with_the_orientation_and_the_rest_is_new() -> None:
    smoother, filtered = LabelSmoother(), Filtered()
    for index in range(30):
        smoother.smooth(filtered, index / FPS, person(0, arm=0.5))
    seen = person(180, arm=-2.0)
    seen[ROOT.stop - 2], seen[SHAPE] = 1.5, 0.7
    kept = smoother.smooth(filtered, 1.0, seen)
    assert kept[ARM] == pytest.approx(0.5, abs=1e-5) and kept[ROOT.stop - 2] > 1 and kept[SHAPE].min() > 0.02
    assert (seen[ARM] == -2.0).all()
    # Somebody else is taken as they are seen.
    np.testing.assert_array_equal(smoother.smooth(Filtered(), 1.0, seen), seen)


def run(labels: np.ndarray, strength: float = 1.0) -> np.ndarray:
    smoother, person = LabelSmoother(strength), Filtered()
    return np.stack([smoother.smooth(person, index / FPS, row) for index, row in enumerate(labels.astype(np.float32))])


def test_jitter_at_rest_is_reduced() -> None:
    labels = np.random.default_rng(0).normal(0, 0.1, (150, LABEL_SIZE))
    labels[:, [ROOT.start, ROOT.start + 4]] += 1 / ROTATION_SCALE
    smoothed = run(labels)
    body = slice(0, APPEARANCE.start)
    assert np.diff(smoothed[30:, body], axis=0).std() < 0.5 * np.diff(labels[30:, body], axis=0).std()
    assert smoothed[30:, body].std(axis=0).mean() < 0.8 * labels[30:, body].std(axis=0).mean()
    distance, arm = (np.diff(smoothed[30:, which], axis=0).std() for which in (ROOT.stop - 1, ARM))
    assert distance < 0.9 * arm


def test_moving_arm_lags_by_one_frame_at_most() -> None:
    time_s = np.arange(300) / FPS
    labels = np.zeros((300, LABEL_SIZE))
    labels[:, ARM] = 1.5 * np.sin(2 * np.pi * time_s * 0.8)[:, None]
    smoothed = run(labels)

    def error(lag: int) -> float:
        return float(np.abs(smoothed[60:, ARM] - labels[60 - lag : len(labels) - lag, ARM]).mean())

    assert min(range(5), key=error) <= 1


def test_limb_that_jumps_in_one_frame_hardly_moves() -> None:
    labels = np.zeros((60, LABEL_SIZE))
    labels[40, ARM] = 4.0
    assert 0 < run(labels)[:, ARM].max() < 0.5
    # The place in the picture follows a camera that is moved.
    position = slice(ROOT.start + 6, ROOT.start + 8)
    labels[40:, position] = 4.0
    assert run(labels)[42, position].min() > 3.8


def test_body_stays_on_the_picture_when_the_camera_pans() -> None:
    # Half of the picture's width in a second: 0.4 of the distance at a field of view of 45°.
    labels = np.zeros((60, LABEL_SIZE))
    position, distance = slice(ROOT.start + 6, ROOT.start + 8), ROOT.stop - 1
    labels[:, position] = 1.6 * np.arange(60)[:, None] / FPS
    labels[:, distance] = labels[:, position.start]
    late = (labels - run(labels))[30:] * FPS / 1.6
    assert late[:, position].max() < 0.1
    assert late[:, distance].min() > 0.5


def test_distance_is_that_of_the_averaged_body() -> None:
    labels = np.zeros((120, LABEL_SIZE))
    labels[:, SHAPE.start] = np.where(np.arange(120) % 20 < 10, 1.0, -1.0)
    larger_m = -0.097 * labels[:, SHAPE.start] / TRANSLATION_SCALE[2]
    labels[:, ROOT.stop - 1] = larger_m
    apart = labels.copy()
    apart[:, SHAPE.start] = 0.0
    assert run(labels)[40:, ROOT.stop - 1].std() < 0.6 * run(apart)[40:, ROOT.stop - 1].std()


def test_people_are_separate_and_forgotten_after_a_gap() -> None:
    smoother, person = LabelSmoother(), Filtered()
    zeros, ones = np.zeros(LABEL_SIZE, np.float32), np.ones(LABEL_SIZE, np.float32)
    smoother.smooth(person, 0.0, zeros)
    np.testing.assert_array_equal(smoother.smooth(Filtered(), 0.0, ones), ones)
    assert smoother.smooth(person, 0.033, ones)[ARM].max() < 1
    np.testing.assert_array_equal(smoother.smooth(person, 5.0, ones), ones)


def test_smoothing_option_sets_strength() -> None:
    with pytest.raises(ValueError, match="smoothing"):
        SmoothingConfig(-1.0)
    labels = np.random.default_rng(3).normal(0, 0.1, (90, LABEL_SIZE)).astype(np.float32)
    strong, usual, weak = (np.diff(run(labels, strength)[30:, ARM], axis=0).std() for strength in (4.0, 1.0, 0.25))
    assert strong < usual < weak


@pytest.mark.parametrize("fps", [5, 240])
def test_size_that_changes_is_followed_as_fast_at_any_frame_rate(fps: int) -> None:
    smoother, person, shape = LabelSmoother(), Filtered(), group_slices()["shape"]
    labels = np.zeros(LABEL_SIZE, np.float32)
    for number in range(15 * fps):
        labels[shape] = number >= 10 * fps
        found = smoother.smooth(person, number / fps, labels)[shape]
    assert found == pytest.approx(0.63, abs=0.04)


LATER = round(LATER_S * FPS)


def upright(frames: int) -> np.ndarray:
    labels = np.zeros((frames, LABEL_SIZE), np.float32)
    labels[:, [ROOT.start, ROOT.start + 4]] = 1 / ROTATION_SCALE
    return labels


def fixed_lag_run(labels: np.ndarray, later: int) -> np.ndarray:
    smoother, person, found = FixedLagSmoother(1.0, waits=later > 0), TrackedPerson(0), []
    for index, row in enumerate(labels):
        smoother.add(person, index / FPS, row)
        if index >= later:
            found.append(smoother.next(person))
    return np.stack(found)


def test_what_nothing_follows_is_filtered_once() -> None:
    labels = upright(60) + np.random.default_rng(0).normal(0, 0.1, (60, LABEL_SIZE)).astype(np.float32)
    forwards, person = LabelSmoother(), Filtered()
    expected = [forwards.smooth(person, index / FPS, row) for index, row in enumerate(labels)]
    np.testing.assert_array_equal(fixed_lag_run(labels, later=0), np.stack(expected))


def test_later_frames_undo_the_lag_and_noise_is_filtered_twice() -> None:
    labels, noise = (
        upright(240),
        np.random.default_rng(0).normal(0, 0.03, (240, ARM.stop - ARM.start)),
    )
    moved = 1.5 * np.sin(2 * np.pi * 0.4 * np.arange(240) / FPS)[:, None]
    labels[:, ARM] = moved + noise
    live, later = (fixed_lag_run(labels, each)[60:180, ARM] for each in (0, LATER))
    live_error, error = (np.abs(each - moved[60:180]).mean() for each in (live, later))
    live_shake, shake = (np.diff(each, n=2, axis=0).std() for each in (live, later))
    assert error < 0.8 * live_error and shake < 0.7 * live_shake


def test_people_are_separate_and_frames_wait_until_they_are_asked_for() -> None:
    smoother, (zeros, ones) = FixedLagSmoother(1.0), (upright(1)[0], upright(1)[0] + 1)
    one, other = TrackedPerson(0), TrackedPerson(0)
    for index in range(3):
        smoother.add(one, index / FPS, zeros)
    smoother.add(other, 0.0, ones)
    np.testing.assert_array_equal(smoother.next(other), ones)
    for _ in range(3):
        np.testing.assert_array_equal(smoother.next(one), zeros)
    with pytest.raises(IndexError):
        smoother.next(one)
