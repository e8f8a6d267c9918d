from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from common.body.anatomy import REGION_INDEX
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.synthetic.dataset import DRESSED, WIDE
from common.synthetic.scene.scene import (
    CLOSEUP,
    CROP_FIELDS,
    WHOLE,
    Crops,
    Dresser,
    SceneMaker,
    frame_people,
    scene_maker,
)
from common.wears import possible
from tests.bench.people.crops import drawn_again


def people(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Point clouds of a person's size, 1.8 m high, and the regions of their points."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (count, 300, 3)).astype(np.float32) * np.array([0.3, 0.9, 0.15], np.float32)
    height = points[0, :, 1]
    region = np.where(height < -0.6, REGION_INDEX["face"], np.where(height < 0, REGION_INDEX["chest"], 11))
    points[:, :, 1] = height
    return points, region


def test_complete_people_fit_their_crops() -> None:
    points, region = people(200)
    framing = frame_people(np.random.default_rng(1), points, region)
    placed = points + framing.translation[:, None]
    image = framing.focal[:, None, None] * placed[..., :2] / placed[..., 2:] + 0.5
    whole = framing.kind == WHOLE
    size = (image.max(1) - image.min(1)).max(1)[whole]
    centre = ((image.max(1) + image.min(1)) / 2)[whole]
    assert whole.sum() > 80
    assert size.min() > 1 / 1.53
    assert size.max() < 1 / 1.08
    assert np.abs(centre - 0.5).max() < 0.13


def test_truncated_people_extend_beyond_their_crops() -> None:
    points, region = people(200)
    framing = frame_people(np.random.default_rng(1), points, region)
    placed = points + framing.translation[:, None]
    lowest = (framing.focal[:, None] * placed[..., 1] / placed[..., 2] + 0.5).max(1)
    assert (lowest[framing.kind == 1] > 1).all()


def test_only_dressed_people_have_closeups() -> None:
    points, region = people(400)
    framing = frame_people(np.random.default_rng(1), points, region, DRESSED)
    close = framing.kind == CLOSEUP
    assert close.sum() > 5
    placed = points + framing.translation[:, None]
    image = framing.focal[:, None] * placed[..., 1] / placed[..., 2] + 0.5
    assert np.median((image[close] < 1).mean(1)) < 0.35
    assert not (frame_people(np.random.default_rng(1), points, region, WIDE).kind == CLOSEUP).any()


def test_minimum_distance_to_the_camera() -> None:
    points, region = people(200)
    framing = frame_people(np.random.default_rng(2), points, region)
    assert (points[..., 2] + framing.translation[:, None, 2]).min() > 0.2


BODY_THICKNESS_M = 0.35


def field(crops: Crops, name: str) -> npt.NDArray[Any]:
    return np.asarray(crops[name])


def test_make_returns_every_documented_field(crops: Crops) -> None:
    assert set(crops) == set(CROP_FIELDS) - {"kinds"}, "painted clothes have no kinds"
    for name in crops:
        assert str(field(crops, name).dtype) == CROP_FIELDS[name].split()[0], name
        assert len(field(crops, name)) == 48, name


def test_projected_joints_are_the_keypoints(crops: Crops) -> None:
    joints = field(crops, "joints_3d")
    projected = field(crops, "focal")[:, None, None] * joints[..., :2] / joints[..., 2:] + 0.5
    np.testing.assert_allclose(projected, field(crops, "keypoints_2d"), atol=1e-5)


def test_body_model_reproduces_the_joints(crops: Crops) -> None:
    model = BodyModel.load()
    parameters = BodyParameters(
        axis_angle_to_matrix(torch.from_numpy(field(crops, "rotation_vectors"))),
        torch.from_numpy(field(crops, "curl")),
        torch.from_numpy(field(crops, "shape")),
        torch.from_numpy(field(crops, "translation")),
    )
    with torch.no_grad():
        keypoints = model.coco_keypoints(model(parameters[slice(0, 8)]).vertices).numpy()
    np.testing.assert_allclose(keypoints, field(crops, "joints_3d")[:8], atol=2e-4)


def test_visible_keypoints_lie_inside_the_mask(crops: Crops) -> None:
    person, joint = np.nonzero(field(crops, "visible"))
    x, y = (field(crops, "keypoints_2d")[person, joint] * 128).astype(int).T
    assert len(person) > 200
    assert (field(crops, "mask")[person, y, x] == 255).all()


def test_depth_at_visible_keypoints_is_close_to_the_joint(crops: Crops) -> None:
    person, joint = np.nonzero(field(crops, "visible"))
    x, y = (field(crops, "keypoints_2d")[person, joint] * 64).astype(int).T
    on = field(crops, "part")[person, y, x] > 0
    surface = field(crops, "depth")[person, y, x].astype(np.float32)
    root = field(crops, "translation")[person, 2]
    joint_depth = field(crops, "joints_3d")[person, joint, 2] - root - surface
    assert on.mean() > 0.97
    assert (np.abs(joint_depth[on]) < BODY_THICKNESS_M).all()
    assert np.median(joint_depth[on]) > 0, "the skin is in front of the joints"


def test_mask_part_and_depth_agree(crops: Crops) -> None:
    half = field(crops, "mask").reshape(48, 64, 2, 64, 2).astype(np.int32).sum((2, 4)) >= 2 * 255
    part, depth = field(crops, "part"), field(crops, "depth")
    assert ((part > 0) == half).all()
    assert (depth[part == 0] == 0).all()
    assert (depth[part > 0] != 0).mean() > 0.99


def test_person_covers_a_share_of_the_crop_with_the_left_side_on_the_right(crops: Crops) -> None:
    expected = field(crops, "translation")[:, 2] / field(crops, "focal")
    np.testing.assert_allclose(field(crops, "extent"), expected, rtol=1e-6, err_msg="the crop's width at the root")
    share = (field(crops, "mask") > 0).mean((1, 2))
    assert share.min() > 0.01 and 0.08 < np.median(share) < 0.5
    facing = np.abs(field(crops, "rotation_vectors")[:, 0]).max(1) < 0.6
    keypoints = field(crops, "keypoints_2d")[facing]
    assert facing.sum() >= 5
    assert (keypoints[:, 5, 0] > keypoints[:, 6, 0]).all()


def test_same_seed_gives_the_same_crops(training_scenes: SceneMaker) -> None:
    first, second = training_scenes.make(5, 4), training_scenes.make(5, 4)
    other_seed = training_scenes.make(6, 4)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert (first["image"] != other_seed["image"]).any()


def test_people_in_known_outfits_are_drawn_again_from_their_crops() -> None:
    scenes = scene_maker("train", np.random.default_rng(0), 4, DRESSED)
    crops = scenes.make(7, 6, 64)
    assert set(crops) == set(CROP_FIELDS)
    dresser = Dresser(scenes.renderer.canvas, dressed=True)
    for state, kinds in zip(crops["outfit"], crops["kinds"], strict=True):
        outfit = drawn_again(dresser, np.asarray(state, np.uint64))
        np.testing.assert_array_equal(possible(outfit.kinds), kinds)
        assert drawn_again(dresser, np.asarray(state, np.uint64)).body.noise_seed == outfit.body.noise_seed
