"""The loss and the scores on photographs: only what is labelled counts."""

from dataclasses import replace

import pytest
import torch

from common.body.model import BodyModel, KeypointKinematics
from sender.perception.network.network import PerceptionConfig, PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.train.keypoint_loss import keypoint_terms, weak_perspective
from sender.train.keypoint_scores import calibration_error, keypoint_scores, relative_errors, standard_error
from sender.train.photograph_crops import PhotographCrops


@pytest.fixture(scope="module")
def kinematics() -> KeypointKinematics:
    return KeypointKinematics(BodyModel.load())


def output_of(count: int) -> PerceptionOutput:
    torch.manual_seed(0)
    config = PerceptionConfig(size=32, width=24, depth=2, heads=2, quarter=8, eighth=16, keypoint_width=16)
    output: PerceptionOutput = PerceptionNet(config).eval()(torch.rand(count, 3, 32, 32))
    return output


def crops(count: int) -> PhotographCrops:
    torch.manual_seed(1)
    ones, none = torch.ones(count, 17), torch.zeros(count, 17)
    return PhotographCrops(torch.rand(count, 3, 32, 32), torch.rand(count, 17, 2), ones, ones, none)


def test_unlabelled_keypoints_have_no_loss(kinematics: KeypointKinematics) -> None:
    output, truth = output_of(2), crops(2)
    labelled = truth.labelled.clone()
    labelled[:, 4] = 0
    before = keypoint_terms(output, replace(truth, labelled=labelled), kinematics)
    elsewhere = truth.keypoints_2d.clone()
    elsewhere[:, 4] = 0.9
    after = keypoint_terms(output, replace(truth, labelled=labelled, keypoints_2d=elsewhere), kinematics)
    for name, value in before.items():
        assert after[name].item() == pytest.approx(value.item()), name


def test_perfect_keypoints_have_no_position_loss(kinematics: KeypointKinematics) -> None:
    output, truth = output_of(2), crops(2)
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


def test_pelvis_is_projected_to_the_camera_centre() -> None:
    camera = torch.tensor([[0.4, 0.6, 0.0]]) + torch.tensor([[0.0, 0.0, 2.0]]).log1p()
    joints = torch.tensor([[[0.0, 0.0, 0.5], [1.5, -0.3, 0.0]]])
    assert weak_perspective(joints, camera)[0].tolist() == [
        pytest.approx([0.4, 0.6]),
        pytest.approx([0.4 + 0.5, 0.6 - 0.1]),
    ]


def test_errors_are_relative_to_the_labelled_extent() -> None:
    truth = crops(1)
    places = torch.full((1, 17, 2), 0.5)
    places[0, 0], places[0, 1], places[0, 2] = (
        torch.tensor([0.3, 0.2]),
        torch.tensor([0.5, 0.6]),
        torch.tensor([9.0, 9]),
    )
    labelled = torch.ones(1, 17)
    labelled[0, 2] = 0
    error = relative_errors(places + torch.tensor([0.04, 0.0]), replace(truth, keypoints_2d=places, labelled=labelled))
    assert error[0, 0].item() == pytest.approx(0.1, rel=1e-4)


def test_calibration_error_of_certain_and_wrong_probabilities() -> None:
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])) == 0
    assert calibration_error(torch.tensor([0.95, 0.95]), torch.tensor([0.0, 1.0])) == pytest.approx(0.45)


def test_scores_of_a_network() -> None:
    config = PerceptionConfig(size=32, width=24, depth=2, heads=2, quarter=8, eighth=16, keypoint_width=16)
    scores = keypoint_scores(PerceptionNet(config), [crops(3), crops(2)])
    assert scores["photographs_people"] == 5
    assert 0 <= scores["photographs_pck05"] <= scores["photographs_pck10"] <= scores["photographs_pck20"] <= 1


def test_standard_error_counts_people_not_keypoints() -> None:
    counted = torch.ones(2, 8, dtype=torch.bool)
    one_of_two_people = torch.tensor([[True] * 8, [False] * 8])
    half_of_each = torch.tensor([[True] * 4 + [False] * 4] * 2)
    assert standard_error(one_of_two_people, counted) == pytest.approx(0.5)
    assert standard_error(half_of_each, counted) == 0
