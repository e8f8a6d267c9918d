from dataclasses import fields, replace
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import COCO_KEYPOINTS
from common.body.model import BodyModel
from common.frames import Camera
from sender.perception.crop import OTHER, CropBox, View, ViewMean, ViewTurns, ray_rotation, to_frame
from sender.perception.heads import Refinement, cell_centres, peak_positions
from sender.perception.perception_network import (
    TASKS,
    PerceptionConfig,
    PerceptionNet,
    PerceptionOutput,
    TaskMask,
    mask_moments,
)
from sender.perception.predictor import Perception, in_crops, mean, mirrored
from sender.perception.read import CameraRoll
from sender.train.crops import CropBatch, mirror
from tests.support.pictures.preview_samples import MASK, observed
from tests.unit.sender.train.test_crops import perfect, random_crops

CAMERA = Camera(width=1280, height=720, focal_px=1500.0)
CENTRED = CropBox(left=540, top=260, side=200)


def project(points: Float64Array | FloatArray) -> Float64Array:
    """Pixels of points in the frame's camera."""
    centre = np.array([CAMERA.width / 2, CAMERA.height / 2])
    return np.asarray(points[..., :2] / points[..., 2:] * CAMERA.focal_px + centre, np.float64)


def focal_in_crop(crop: CropBox) -> float:
    """Focal length of the crop's camera in crop widths.

    Off the axis, an image plane is stretched by 1/cos θ tangentially and by 1/cos² θ radially; the geometric mean of
    both is taken.
    """
    return float(CAMERA.focal_px / crop.side / ray_rotation(crop, CAMERA)[2, 2] ** 1.5)


def crop_around(pixel: tuple[float, float], side: int) -> CropBox:
    return CropBox(round(pixel[0] - side / 2), round(pixel[1] - side / 2), side)


@pytest.mark.parametrize("roll", [0.0, -0.4, 0.7])
@pytest.mark.parametrize(("pixel", "tolerance"), [((640, 360), 1e-5), ((900, 360), 0.01), ((1150, 600), 0.02)])
def test_keypoints_in_crop_match_projection_in_frame(pixel: tuple[int, int], tolerance: float, roll: float) -> None:
    crop = replace(crop_around(pixel, 200), roll=roll)
    in_crop = np.random.default_rng(0).uniform(-0.2, 0.2, (17, 3)) + np.array([0.0, 0.0, 5.0])
    seen = in_crop[:, :2] / in_crop[:, 2:] * focal_in_crop(crop) + 0.5
    in_frame = project(in_crop @ ray_rotation(crop, CAMERA).T)
    error = np.abs(in_frame - crop.to_pixels(seen.astype(np.float32))).max() / crop.side
    assert error < tolerance


def test_body_far_off_the_axis_has_the_size_that_the_crop_shows() -> None:
    crop = crop_around((1250, 700), 200)
    extent = 2.0
    in_crop = np.array([0.0, 0.0, extent * CAMERA.focal_px / crop.side], np.float32)
    orientation, translation = to_frame(np.eye(3, dtype=np.float32), in_crop, ray_rotation(crop, CAMERA))
    one, other = (
        np.diff(project(np.stack([translation, translation + 0.1 * side])), axis=0)[0] for side in orientation.T[:2]
    )
    area_px = abs(one[0] * other[1] - one[1] * other[0])
    assert np.sqrt(area_px) / crop.side == pytest.approx(0.1 / extent, rel=0.02)


def test_cut_is_black_beyond_border() -> None:
    image = np.full((100, 100, 3), 200, dtype=np.uint8)
    cut = CropBox(left=-32, top=0, side=64).cut(image, 64)
    assert (cut[:, :32] == 0).all() and (cut[:, 32:] == 200).all()
    assert (CropBox(left=300, top=0, side=64).cut(image, 32) == 0).all()


@pytest.mark.parametrize("roll", [0.0, 0.5, -0.8])
def test_units_and_pixels_are_inverse(roll: float) -> None:
    crop = CropBox(left=40, top=90, side=64, roll=roll)
    positions = np.random.default_rng(0).random((9, 2), np.float32)
    assert crop.to_units(crop.to_pixels(positions)) == pytest.approx(positions, abs=1e-5)
    assert crop.to_pixels(np.array([0.5, 0.5], np.float32)) == pytest.approx(np.array(crop.centre))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_rolled_crop_shows_what_is_upright_along_its_axis(size: int) -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    # A person's head to the upper right of their feet: 30° clockwise.
    head, feet = np.array([120.0, 65.4]), np.array([80.0, 134.6])
    for x, y in np.round([head, feet]).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    crop = CropBox(left=50, top=50, side=100, roll=np.radians(30))
    shown = crop.cut(image, size)[..., 0].astype(float)
    for place, rows in ((head, slice(0, size // 2)), (feet, slice(size // 2, size))):
        weight = np.zeros_like(shown)
        weight[rows] = shown[rows]
        row, column = ((np.indices(shown.shape) + 0.5) * weight).sum(axis=(1, 2)) / weight.sum() / size
        assert [column, row] == pytest.approx(crop.to_units(place), abs=0.01)
        assert column == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("wanted", "side"), [(45, 45), (319, 319), (441, 440), (899, 900), (1501, 1504)])
def test_side_of_large_crop_can_be_halved(wanted: int, side: int) -> None:
    assert CropBox.around([0, 0, wanted, wanted], 1.0).side == side


@pytest.mark.parametrize("side", [440, 900, 1504])
def test_large_crop_is_halved_and_shows_what_one_step_would(side: int) -> None:
    crop = CropBox(0, 0, side)
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([255 * x, 255 * y, 127 + 127 * np.sin(40 * x) * np.cos(30 * y)], axis=-1).astype(np.uint8)
    seen, expected = crop.cut(image, 192), cv2.resize(image, (192, 192), interpolation=cv2.INTER_AREA)
    difference = np.abs(seen.astype(int) - expected)[2:-2, 2:-2]
    assert difference.mean() < 1
    assert difference.max() < 6


BIAS = np.array([0.5, -0.25, 0.0], np.float32)
SIGNS = {"both": 0, "plain": 1, "mirrored": -1}


def seen(truth: FloatArray, view: View) -> FloatArray:
    return np.asarray(truth + SIGNS[view] * BIAS, np.float32)


def means(velocity: float, frames: int = 6) -> list[FloatArray]:
    """Of somebody who moves steadily; both views in the first frame."""
    person = ViewMean()
    view: View = "both"
    found = []
    for number in range(frames):
        found.append(person.add(view, seen(np.full(3, velocity * number, np.float32), view), number / 30))
        view = "plain" if view == "both" else OTHER[view]
    return found


@pytest.mark.parametrize(("velocity", "known_after"), [(0.0, 0), (0.2, 3)])
def test_person_at_rest_or_in_steady_motion_is_where_both_views_show_them(velocity: float, known_after: int) -> None:
    truth = velocity * np.arange(6)[:, None] * np.ones(3)
    np.testing.assert_allclose(means(velocity)[known_after:], truth[known_after:], atol=1e-6)


def test_each_view_twice_does_not_move_somebody_who_rests_or_moves_steadily() -> None:
    for velocity in (0.0, 0.2):
        person, found = ViewMean(), []
        two: list[View] = ["plain", "plain", "mirrored", "mirrored"]
        views: list[View] = ["both", *two, *two, *two]
        for number, view in enumerate(views):
            truth = np.full(3, velocity * number, np.float32)
            found.append(person.add(view, seen(truth, view), number / 30) - truth)
        assert float(np.abs(found[5:]).max()) < 1e-5


def test_other_view_of_long_ago_says_nothing() -> None:
    person = ViewMean()
    person.add("plain", BIAS, 0.0)
    assert person.add("mirrored", -BIAS, 0.3).tolist() == (-BIAS).tolist()


@pytest.mark.parametrize(("live", "views"), [(False, ["both", "both"]), (True, ["both", "plain"])])
def test_pauses_of_a_camera_are_the_machines(live: bool, views: list[View]) -> None:
    turns, person = ViewTurns(live=live), ViewMean()
    found: list[View] = []
    for time_s in (0.0, 0.2):
        found.append(turns.next_view([person], time_s))
        person.add(found[-1], BIAS, time_s)
    assert found == views


TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.fixture(scope="module")
def net() -> PerceptionNet:
    torch.manual_seed(0)
    return PerceptionNet(TINY).eval()


@pytest.fixture(scope="module")
def crops() -> CropBatch:
    return random_crops(BodyModel.load())


def true_output(net: PerceptionNet, truth: CropBatch) -> PerceptionOutput:
    """A perfect network's output, for the fields that the truth has; the others are an untrained network's."""
    with torch.no_grad():
        output = perfect(net(truth.image), truth)
    return replace(
        output,
        part_logits=torch.nn.functional.one_hot(truth.part, output.part_logits.shape[1]).movedim(-1, 1).float(),
        mask_moments=mask_moments(truth.mask, cell_centres(truth.mask)),
    )


def test_mirrored_truth_is_truth_of_mirrored_crop(net: PerceptionNet, crops: CropBatch) -> None:
    flipped, expected = mirrored(true_output(net, crops)), true_output(net, mirror(crops))
    names = ("keypoints_2d", "joints_3d", "rotations_6d", "shape", "curl", "camera", "depth", "mask_logits")
    for name in (*names, "part_logits", "mask_moments"):
        torch.testing.assert_close(getattr(flipped, name), getattr(expected, name), atol=1e-5, rtol=0, msg=name)


def test_mean_adds_variance_between_predictions(net: PerceptionNet, crops: CropBatch) -> None:
    with torch.no_grad():
        output = net(crops.image)
    same = mean([output, output])
    for item in fields(output):
        torch.testing.assert_close(getattr(same, item.name), getattr(output, item.name), atol=1e-5, rtol=1e-5)
    moved = replace(output, joints_3d=output.joints_3d + 0.4, keypoints_2d=output.keypoints_2d + 0.1)
    between = mean([output, moved])
    torch.testing.assert_close(between.joints_3d, output.joints_3d + 0.2)
    torch.testing.assert_close(between.joints_log_variance.exp(), output.joints_log_variance.exp() + 0.04)
    assert (between.keypoints_sigma > output.keypoints_sigma).all()
    torch.testing.assert_close(between.rotations_log_variance, output.rotations_log_variance)


def test_keypoints_are_read_at_the_higher_of_two_peaks(net: PerceptionNet) -> None:
    attention = torch.full((1, 2, 16, 24), 1e-6)
    attention[0, 0, 4, 6], attention[0, 0, 12, 20] = 0.6, 0.4
    attention[0, 1, 9, 3:5] = 0.5
    attention = attention / attention.sum(dim=(-2, -1), keepdim=True)
    found = peak_positions(attention)
    expected = torch.tensor([[[6.5 / 24, 4.5 / 16], [4.0 / 24, 9.5 / 16]]])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


CROP = CropBox(100, 50, 200)


@pytest.fixture(scope="module")
def perception() -> Perception:
    torch.manual_seed(0)
    return Perception(PerceptionNet(TINY))


@pytest.fixture(scope="module")
def output(perception: Perception) -> PerceptionOutput:
    with torch.no_grad():
        result: PerceptionOutput = perception.net(random_crops(BodyModel.load()).image[:1])
    return result


@pytest.mark.parametrize("seen", [CropBox(110, 60, 160), CropBox(70, 40, 260)])
def test_keypoints_and_pelvis_stay_at_their_pixels(output: PerceptionOutput, seen: CropBox) -> None:
    moved = in_crops(output, [seen], [CROP], output)
    for before, after in ((output.keypoints_2d[0], moved.keypoints_2d[0]), (output.camera[:, :2], moved.camera[:, :2])):
        np.testing.assert_allclose(CROP.to_pixels(after.numpy()), seen.to_pixels(before.numpy()), atol=1e-3)
    metres_per_pixel = (output.camera[0, 2].exp() / seen.side).item()
    assert (moved.camera[0, 2].exp() / CROP.side).item() == pytest.approx(metres_per_pixel)
    torch.testing.assert_close(moved.keypoints_sigma * CROP.side, output.keypoints_sigma * seen.side)


def test_maps_move_with_the_crop_and_keep_what_it_does_not_show(output: PerceptionOutput) -> None:
    cells = output.mask_logits.shape[-1]
    mask = torch.full((1, cells, cells), -5.0)
    # A pixel of the frame at 200, 150: the middle of CROP, the lower right quarter of the crop that was seen.
    seen = CropBox(80, 30, 160)
    mask[:, round(cells * 120 / 160) - 1 : round(cells * 120 / 160) + 1, round(cells * 120 / 160) - 1 :] = 5.0
    own = replace(output, mask_logits=mask)
    otherwise = replace(output, mask_logits=torch.full_like(mask, 1.0))
    moved = in_crops(own, [seen], [CROP], otherwise).mask_logits[0]
    assert moved[cells // 2, cells // 2] > 0
    assert moved[0, 0] < 0
    assert moved[-1, -1] == 1.0


_ALL = np.ones(17, np.bool_)
_FULL = np.ones((MASK, MASK), np.bool_)


def standing(lean_deg: float) -> FloatArray:
    """(17, 2) in crop units: somebody whose feet, hips and shoulders are on a line that leans clockwise."""
    heights = {"shoulder": 0.3, "hip": 0.0, "ankle": -0.4}
    lean = np.radians(lean_deg)
    places = np.full((17, 2), 0.5, np.float32)
    for row, name in enumerate(COCO_KEYPOINTS):
        side = {"left": 0.06, "right": -0.06}.get(name.split("_")[0], 0.0)
        height = heights.get(name.split("_")[-1], 0.3)
        places[row] += [height * np.sin(lean) + side * np.cos(lean), -height * np.cos(lean) + side * np.sin(lean)]
    return places


def see(roll: CameraRoll, lean_deg: float, crop: CropBox = CROP, step_s: float = 1 / 30) -> None:
    person = observed(crop, _FULL, keypoints_2d=standing(lean_deg), visible=_ALL)
    roll.observe(person.output, person.crop, step_s)


@pytest.mark.parametrize(
    ("leans_deg", "rolled_deg"),
    [((26, 22), 25), ((0,), 0), ((8,), 0), ((80,), 0), ((180,), 0), ((50, -10), 0)],
    ids=["all lean", "level", "hardly rolled", "lying", "upside down", "all directions"],
)
def test_roll_is_that_of_people_who_lean_alike(leans_deg: tuple[float, ...], rolled_deg: float) -> None:
    roll = CameraRoll()
    for frame in range(60):
        see(roll, leans_deg[frame % len(leans_deg)])
    assert np.degrees(roll.radians) == pytest.approx(rolled_deg, abs=4)


@pytest.mark.parametrize("fps", [5, 240])
def test_roll_follows_as_fast_at_any_frame_rate(fps: int) -> None:
    roll, frames = CameraRoll(), 0
    for _ in range(10 * fps):
        see(roll, 25.0, step_s=1 / fps)
    while roll.radians:
        see(roll, 0.0, step_s=1 / fps)
        frames += 1
    assert frames / fps == pytest.approx(4.7, abs=0.3)


@pytest.fixture
def fresh() -> PerceptionNet:
    torch.manual_seed(0)
    return PerceptionNet(replace(TINY, size=64)).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def differing(first: PerceptionOutput, second: PerceptionOutput) -> set[str]:
    """Names of the fields that differ."""
    names = [item.name for item in fields(PerceptionOutput)]
    return {name for name in names if not torch.allclose(getattr(first, name), getattr(second, name), atol=1e-7)}


def test_every_weight_gets_a_gradient(fresh: PerceptionNet, images: Tensor) -> None:
    for module in fresh.modules():
        if isinstance(module, Refinement):  # at first the identity, without gradients inside its branch
            torch.nn.init.ones_(cast(torch.nn.BatchNorm2d, module.branch[2]).weight)
    output = fresh.train()(images)
    sum(getattr(output, item.name).square().sum() for item in fields(output)).backward()
    idle = [name for name, weight in fresh.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0]
    # Biases of scores under a softmax (and of keys) cancel; every other weight must have a gradient.
    assert {name for name in idle if not name.endswith("bias")} == set()


@pytest.mark.parametrize(
    ("task", "reached"),
    [
        ("depth", {"depth", "depth_log_variance", "joint_depth"}),
        ("mask", {"mask_logits", "part_logits", "mask_moments", "region_colours", "region_area"}),
        ("pose", set()),
    ],
)
def test_task_token_changes_only_its_own_head(
    fresh: PerceptionNet, images: Tensor, task: str, reached: set[str]
) -> None:
    torch.manual_seed(3)
    for fusion in (fresh.keypoints.fusion, fresh.mask.fusion):
        torch.nn.init.normal_(fusion.gain.weight)
    with torch.no_grad():
        before = fresh(images)
        fresh.task_tokens[:, TASKS.index(task)] += torch.randn(24)
        changed = differing(before, fresh(images))
    pose = {name for name in changed if name.startswith(("rotations", "shape", "curl", "camera"))}
    assert reached <= changed
    assert changed - reached == pose
    assert bool(pose) == (task in {"pose", "depth"})


def test_task_mask_structure() -> None:
    mask = TaskMask(blocks=2, heads=3, head_size=8, grid=2, tasks=4)
    torch.nn.init.normal_(mask.patch_bias)
    m_task = mask((2, 2))
    assert m_task.shape == (2, 3, 8, 8)
    assert (m_task[..., :4, :4] == 0).all()
    assert (m_task[..., :4, 4:] == -torch.inf).all()
    assert torch.isfinite(m_task[..., 4:, :4]).all()
    assert torch.equal(torch.isfinite(m_task[0, 0, 4:, 4:]), torch.eye(4, dtype=torch.bool))


def test_config_and_refinement() -> None:
    for wrong, reason in (({"size": 100}, "multiple of 16"), ({"parts": 3}, "body parts")):
        with pytest.raises(ValueError, match=reason):
            PerceptionConfig(**wrong)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(Refinement(8).eval()(x), x), "a refinement is the identity at first"


def test_positions_keep_full_precision_under_autocast(fresh: PerceptionNet, images: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = fresh(images)
    assert all(getattr(output, item.name).dtype == torch.float32 for item in fields(output))
    positions = output.keypoints_2d
    assert not torch.equal(positions, positions.bfloat16().float())
