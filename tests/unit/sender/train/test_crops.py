"""Augmentation changes ground truth and image alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.body.model import BodyModel, BodyParameters, KeypointKinematics, axis_angle_to_matrix, matrix_to_rotation_6d
from common.synthetic.render_shards import Batch
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.train.crops import (
    CropBatch,
    PhotographCrops,
    crop_batch,
    mirror,
    procrustes,
    standard_error,
)
from sender.train.perception import empty, keypoint_terms, log_likelihood, multi_task_loss, occlude, weak_perspective


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def random_crops(body: BodyModel, count: int = 4, seed: int = 0) -> CropBatch:
    """Crops of noise, with the consistent ground truth of random bodies."""
    g = torch.Generator().manual_seed(seed)
    rotations = axis_angle_to_matrix(torch.randn(count, 22, 3, generator=g) * 0.5)
    curl, shape = torch.rand(count, 4, generator=g), torch.randn(count, 10, generator=g)
    translation = torch.tensor([0.2, -0.1, 4.0]) + 0.1 * torch.randn(count, 3, generator=g)
    with torch.no_grad():
        joints, _ = KeypointKinematics(body)(BodyParameters(rotations, curl, shape, translation))
    focal = 2.0
    return CropBatch(
        image=torch.rand(count, 3, 32, 32, generator=g),
        mask=(torch.rand(count, 16, 16, generator=g) > 0.5).float(),
        depth=torch.randn(count, 16, 16, generator=g),
        part=torch.randint(0, 17, (count, 16, 16), generator=g),
        keypoints_2d=joints[..., :2] / joints[..., 2:] * focal + 0.5,
        visible=(torch.rand(count, 17, generator=g) > 0.3).float(),
        joints_3d=joints,
        translation=translation,
        rotations=rotations,
        curl=curl,
        shape=shape,
        extent=translation[:, 2] / focal,
        person=torch.ones(count, dtype=torch.bool),
    )


def test_mirrored_crops_have_the_truth_of_mirrored_people(body: BodyModel) -> None:
    crops = random_crops(body)
    mirrored = mirror(crops)
    parameters = BodyParameters(mirrored.rotations, mirrored.curl, mirrored.shape, mirrored.translation)
    joints, _ = KeypointKinematics(body)(parameters)
    # Anny's mesh is symmetric within a fraction of a millimetre, its keypoint regressor within about two.
    assert (joints - mirrored.joints_3d).norm(dim=-1).mean() < 2e-3
    focal = mirrored.translation[:, 2] / mirrored.extent
    projected = mirrored.joints_3d[..., :2] / mirrored.joints_3d[..., 2:] * focal[:, None, None] + 0.5
    assert torch.allclose(projected, mirrored.keypoints_2d, atol=1e-5)
    assert torch.equal(mirrored.image[..., 0], crops.image[..., -1])
    assert torch.equal(mirrored.keypoints_2d[:, 5, 1], crops.keypoints_2d[:, 6, 1])
    assert torch.equal(mirrored.part == 0, (crops.part == 0).flip(-1))
    assert not torch.equal(mirrored.part, crops.part.flip(-1))


def rendered(rng: np.random.Generator, count: int, side: int = 32) -> Batch:
    """White crops that are full of people, as they are rendered."""
    half: Batch = {name: np.ones((count, side // 2, side // 2), np.uint8) for name in ("depth", "part")}
    pose = {"rotation_vectors": (22, 3), "curl": (4,), "shape": (10,), "translation": (3,), "joints_3d": (17, 3)}
    body: Batch = {name: np.ones((count, *shape), np.float32) for name, shape in pose.items()}
    image, mask = np.full((count, side, side, 3), 255, np.uint8), np.full((count, side, side), 255, np.uint8)
    places, visible = rng.uniform(0, 1, (count, 17, 2)).astype(np.float32), np.ones((count, 17), np.uint8)
    pictures: Batch = {"image": image, "mask": mask, "keypoints_2d": places, "visible": visible}
    return pictures | half | body | {"extent": np.ones(count, np.float32)}


def test_occluded_crops_have_no_ground_truth_there() -> None:
    rng = np.random.default_rng(0)
    arrays = rendered(rng, 1)
    occlude(rng, arrays, 0)
    hidden = (arrays["image"][0] < 255).any(axis=-1)
    assert 0 < hidden.mean() < 0.3 and np.array_equal(arrays["mask"][0] == 0, hidden)
    assert abs((arrays["part"][0] == 0).mean() - hidden.mean()) < 0.05
    at = (arrays["keypoints_2d"][0] * 32).astype(int)
    assert np.array_equal(arrays["visible"][0] == 0, hidden[at[:, 1], at[:, 0]])


def test_negative_crops_are_empty_also_when_they_are_mirrored() -> None:
    arrays = rendered(np.random.default_rng(0), 3)
    empty(arrays, 0, np.zeros((32, 32, 3), np.uint8))
    batch = crop_batch(arrays).ready()
    for crops in (batch, mirror(batch)):
        assert crops.person.tolist() == [False, True, True]
        for name in ("image", "mask", "depth", "part", "visible"):
            assert not getattr(crops, name)[0].any() and getattr(crops, name)[1:].any(), name
        assert ((crops.keypoints_2d[0] < 0) | (crops.keypoints_2d[0] > 1)).all()


TINY = PerceptionConfig(size=32, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)


@pytest.fixture
def truth(kinematics: KeypointKinematics) -> CropBatch:
    return random_crops(kinematics.body)


def perfect(output: PerceptionOutput, truth: CropBatch) -> PerceptionOutput:
    """An output that equals the ground truth."""
    return replace(
        output,
        keypoints_2d=truth.keypoints_2d,
        joints_3d=truth.relative_joints,
        rotations_6d=matrix_to_rotation_6d(truth.rotations),
        shape=truth.shape,
        curl=truth.curl,
        camera=truth.camera,
        depth=truth.depth,
        mask_logits=40.0 * truth.mask - 20.0,
    )


def test_loss_of_the_ground_truth_is_zero(kinematics: KeypointKinematics, truth: CropBatch) -> None:
    output = perfect(PerceptionNet(TINY)(truth.image), truth)
    _, terms = multi_task_loss(output, truth, kinematics)
    for name in ("keypoints.places", "keypoints.joints", "pose.rotations", "pose.skeleton", "pose.camera", "depth.l1"):
        assert terms[name] < 1e-4, name
    assert terms["depth.ssim"] < 1e-4
    assert terms["mask.bce"] < 1e-4


def test_negative_crops_enter_only_map_and_visibility_terms(kinematics: KeypointKinematics, truth: CropBatch) -> None:
    negative = torch.arange(len(truth)) == 1
    maps = {name: getattr(truth, name).masked_fill(negative[:, None, None], 0) for name in ("mask", "depth", "part")}
    points = truth.keypoints_2d.masked_fill(negative[:, None, None], -9.0)
    visible = truth.visible.masked_fill(negative[:, None], 0)
    batch = replace(truth, **maps, keypoints_2d=points, visible=visible, person=~negative)
    output = perfect(PerceptionNet(TINY)(batch.image), truth)
    empty = replace(
        output,
        mask_logits=torch.where(negative[:, None, None], -20.0, 40.0 * truth.mask - 20.0),
        heat_logits=torch.full_like(output.heat_logits, -20.0),
        visible_logit=torch.full_like(output.visible_logit, -20.0),
    )
    _, terms = multi_task_loss(empty, batch, kinematics)
    assert terms["mask.bce"] < 1e-4
    # Pose and depth of negative crops do not enter the loss; heat maps and visibility do.
    camera = torch.where(negative[:, None], 9.0, empty.camera)
    changed = replace(empty, camera=camera, depth=empty.depth + 5.0 * negative[:, None, None])
    _, unchanged = multi_task_loss(changed, batch, kinematics)
    assert unchanged == terms
    for name, field in (("heat", "heat_logits"), ("visible", "visible_logit")):
        logits = getattr(empty, field).clone()
        logits[negative] = 5.0
        _, higher = multi_task_loss(replace(empty, **{field: logits}), batch, kinematics)
        assert higher[f"keypoints.{name}"] > terms[f"keypoints.{name}"] + 0.1


def test_log_likelihood_is_minimal_at_the_true_variance() -> None:
    error = torch.full((100,), 0.04)
    values = torch.linspace(-6, 1, 71, requires_grad=True)
    costs = torch.stack([log_likelihood(error, value) for value in values])
    assert values[costs.argmin()].exp().item() == pytest.approx(0.04, rel=0.1)


def test_procrustes_inverts_a_similarity_transform_and_does_not_mirror() -> None:
    torch.manual_seed(0)
    true = torch.randn(3, 17, 3)
    turn, _ = torch.linalg.qr(torch.randn(3, 3))
    turn = turn * torch.linalg.det(turn).sign()
    moved = 0.7 * true @ turn + torch.tensor([1.0, -2.0, 3.0])
    assert (procrustes(moved, true) - true).norm(dim=-1).max() < 1e-5
    assert (procrustes(true * torch.tensor([-1.0, 1.0, 1.0]), true) - true).norm(dim=-1).mean(dim=-1).min() > 0.1


def output_of(count: int) -> PerceptionOutput:
    torch.manual_seed(0)
    output: PerceptionOutput = PerceptionNet(TINY).eval()(torch.rand(count, 3, 32, 32))
    return output


def crops(count: int) -> PhotographCrops:
    torch.manual_seed(1)
    ones = torch.ones(count, 17)
    return PhotographCrops(torch.rand(count, 3, 32, 32), torch.rand(count, 17, 2), ones, ones, ones)


def test_keypoints_have_no_loss_where_they_are_unlabelled_or_right(kinematics: KeypointKinematics) -> None:
    output, truth = output_of(2), crops(2)
    labelled, elsewhere = truth.labelled.clone(), truth.keypoints_2d.clone()
    labelled[:, 4], elsewhere[:, 4] = 0, 0.9
    known = replace(truth, labelled=labelled)
    before, after = (
        keypoint_terms(output, each, kinematics) for each in (known, replace(known, keypoints_2d=elsewhere))
    )
    for name, value in before.items():
        assert after[name].item() == pytest.approx(value.item()), name
    perfect = replace(truth, keypoints_2d=output.keypoints_2d.detach())
    assert keypoint_terms(output, perfect, kinematics)["places"].item() == pytest.approx(0, abs=1e-6)
    projected = weak_perspective(output.joints_3d, output.camera).detach()
    assert keypoint_terms(output, replace(truth, keypoints_2d=projected), kinematics)["joints"].item() < 1e-9


def test_reprojection_trains_joints_pose_and_camera(kinematics: KeypointKinematics) -> None:
    output = output_of(2)
    for part in (output.joints_3d, output.rotations_6d, output.shape, output.camera):
        part.retain_grad()
    terms = keypoint_terms(output, crops(2), kinematics)
    (terms["joints"] + terms["skeleton"]).backward()
    for part in (output.joints_3d, output.rotations_6d, output.shape, output.camera):
        assert part.grad is not None
        assert part.grad.abs().sum() > 0


def test_standard_error_counts_people_not_keypoints() -> None:
    counted = torch.ones(2, 8, dtype=torch.bool)
    one_of_two_people = torch.tensor([[True] * 8, [False] * 8])
    half_of_each = torch.tensor([[True] * 4 + [False] * 4] * 2)
    assert standard_error(one_of_two_people, counted) == pytest.approx(0.5)
    assert standard_error(half_of_each, counted) == 0
