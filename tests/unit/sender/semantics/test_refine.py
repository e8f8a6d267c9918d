"""The fit moves labels towards what was seen, as far as what was seen is sure."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.body.rotations import axis_angle_to_matrix
from common.synthetic.motion.poses import PoseSampler
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.semantics.crop_labels import body_in_crop, crop_entries
from sender.semantics.refine import RefineConfig, Refiner

PEOPLE = 6
FOCAL = torch.full((PEOPLE,), 2.0)


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load()


@pytest.fixture(scope="module")
def kinematics() -> KeypointKinematics:
    return KeypointKinematics(BodyModel.load())


@pytest.fixture(scope="module")
def truth(space: LabelSpace, kinematics: KeypointKinematics) -> BodyParameters:
    poses = PoseSampler("test", 20_000_001).sample(PEOPLE)
    return BodyParameters(
        axis_angle_to_matrix(torch.from_numpy(poses.rotation_vectors)),
        torch.from_numpy(poses.curl),
        kinematics.body.shape_table[:PEOPLE],
        torch.tensor([[0.05, -0.1, 4.0]]).expand(PEOPLE, 3),
    )


@pytest.fixture(scope="module")
def seen(truth: BodyParameters, kinematics: KeypointKinematics) -> PerceptionOutput:
    """What a perfect keypoints head would say of the true bodies; the rest is an untrained network's."""
    with torch.no_grad():
        output: PerceptionOutput = PerceptionNet(PerceptionConfig()).eval()(torch.rand(PEOPLE, 3, 128, 128))
    keypoints, joints = kinematics(truth)
    return replace(
        output,
        keypoints_2d=2.0 * keypoints[..., :2] / keypoints[..., 2:] + 0.5,
        keypoints_sigma=torch.full((PEOPLE, 17), 0.01),
        visible_logit=torch.full((PEOPLE, 17), 6.0),
        joints_3d=keypoints - joints[:, :1],
        joints_log_variance=torch.full((PEOPLE, 17), -8.0),
    )


def error_m(entries: Tensor, truth: BodyParameters, space: LabelSpace, kinematics: KeypointKinematics) -> float:
    found, true = kinematics(body_in_crop(space, entries, FOCAL))[0], kinematics(truth)[0]
    return float((found - true).norm(dim=-1).mean())


def test_disturbed_labels_come_back(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, seen: PerceptionOutput
) -> None:
    torch.manual_seed(0)
    exact = crop_entries(space, truth, FOCAL)
    disturbed = exact + 0.4 * torch.randn_like(exact)
    refiner = Refiner(space, kinematics, RefineConfig(steps=3, pixel_floor=0.015, depth_floor_m=0.05, prior_weight=1.0))
    refined = refiner.refine(disturbed, torch.full_like(exact, 0.4), seen, FOCAL)
    before, after = (error_m(entries, truth, space, kinematics) for entries in (disturbed, refined))
    assert after < 0.4 * before


def test_nothing_seen_changes_nothing(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, seen: PerceptionOutput
) -> None:
    blind = replace(
        seen,
        visible_logit=torch.full((PEOPLE, 17), -30.0),
        joints_log_variance=torch.full((PEOPLE, 17), 20.0),
    )
    entries = crop_entries(space, truth, FOCAL) + 0.3
    refined = Refiner(space, kinematics).refine(entries, torch.full_like(entries, 0.4), blind, FOCAL)
    torch.testing.assert_close(refined, entries, atol=1e-3, rtol=0)


def test_sure_labels_hardly_move(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, seen: PerceptionOutput
) -> None:
    entries = crop_entries(space, truth, FOCAL) + 0.3
    refiner = Refiner(space, kinematics)
    sure, unsure = (refiner.refine(entries, torch.full_like(entries, s), seen, FOCAL) for s in (0.005, 0.5))
    assert (sure - entries).abs().mean() < 0.2 * (unsure - entries).abs().mean()


def test_no_steps_leave_the_labels(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, seen: PerceptionOutput
) -> None:
    entries = crop_entries(space, truth, FOCAL)
    refiner = Refiner(space, kinematics, RefineConfig(steps=0))
    assert torch.equal(refiner.refine(entries, torch.ones_like(entries), seen, FOCAL), entries)


def test_floors_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        RefineConfig(pixel_floor=0.0)
