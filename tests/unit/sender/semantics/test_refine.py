import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, KeypointKinematics, axis_angle_to_matrix
from common.frames import Camera
from common.labels import group_slices
from common.synthetic.motion.poses import PoseSampler
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from sender.config import SmoothingConfig
from sender.perception.crop import CropBox
from sender.perception.perception_network import FEATURE_SIZE, PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import ENTRIES, body_in_crop, crop_entries, pose_entries
from sender.semantics.refine import FitterOnGpu, FitterOnHost, FittingNetwork, PoseHead, Refiner, Targets
from sender.semantics.semantics_stage import SemanticsStage
from tests.support.processes.demo_clip import demo_picture

PEOPLE = 6
FOCAL = torch.full((PEOPLE,), 2.0)
_HIPS = torch.tensor([11, 12])


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
def observed(truth: BodyParameters, kinematics: KeypointKinematics) -> PerceptionOutput:
    """The output of a perfect keypoints head for the true bodies; other fields are an untrained network's."""
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


def refine(entries: Tensor, sigma: Tensor, output: PerceptionOutput, correction: Tensor | None = None) -> Tensor:
    known = None if correction is None else correction.numpy()
    targets = Targets.from_output(output, FOCAL.numpy())
    return torch.from_numpy(Refiner.load().refine(entries.numpy(), sigma.numpy(), targets, known))


def error_m(entries: Tensor, truth: BodyParameters, space: LabelSpace, kinematics: KeypointKinematics) -> float:
    found, true = kinematics(body_in_crop(space, entries, FOCAL))[0], kinematics(truth)[0]
    return float((found - true).norm(dim=-1).mean())


def test_refinement_reduces_error_of_disturbed_labels(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, observed: PerceptionOutput
) -> None:
    torch.manual_seed(0)
    exact = crop_entries(space, truth, FOCAL)
    disturbed = exact + 0.4 * torch.randn_like(exact)
    refined = refine(disturbed, torch.full_like(exact, 0.4), observed)
    before, after = (error_m(entries, truth, space, kinematics) for entries in (disturbed, refined))
    assert after < 0.4 * before


def test_invisible_keypoints_leave_labels_and_certain_labels_move_less(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, observed: PerceptionOutput
) -> None:
    invisible = replace(
        observed,
        visible_logit=torch.full((PEOPLE, 17), -30.0),
        joints_log_variance=torch.full((PEOPLE, 17), 20.0),
    )
    entries = crop_entries(space, truth, FOCAL) + 0.3

    def refined(sigma: float, output: PerceptionOutput) -> Tensor:
        return refine(entries, torch.full_like(entries, sigma), output)

    only_hips_visible = replace(invisible, visible_logit=invisible.visible_logit.index_fill(1, _HIPS, 30.0))
    only_hips_visible = replace(only_hips_visible, keypoints_sigma=torch.full((PEOPLE, 17), 1e6))
    torch.testing.assert_close(refined(0.4, only_hips_visible), entries, atol=1e-3, rtol=0)
    certain, uncertain = (refined(sigma, observed) - entries for sigma in (0.005, 0.5))
    assert certain.abs().mean() < 0.2 * uncertain.abs().mean()


def test_trunk_whose_hips_nobody_sees_stands_up(
    space: LabelSpace, kinematics: KeypointKinematics, truth: BodyParameters, observed: PerceptionOutput
) -> None:
    exact = crop_entries(space, truth, FOCAL)
    uncertain = replace(observed, joints_log_variance=torch.full((PEOPLE, 17), 20.0))
    cut = replace(uncertain, visible_logit=torch.where(torch.arange(17) < 7, 6.0, -30.0).expand(PEOPLE, 17))

    def lean_m(output: PerceptionOutput) -> Tensor:
        found = kinematics(body_in_crop(space, refine(exact, torch.full_like(exact, 0.4), output), FOCAL))[0]
        lean: Tensor = found[:, 5:7, 2].mean(1) - found[:, _HIPS, 2].mean(1)
        return lean.abs()

    assert lean_m(cut).mean() < 0.9 * lean_m(uncertain).mean()


def test_legs_that_look_straight_are_straightened(
    space: LabelSpace, kinematics: KeypointKinematics, observed: PerceptionOutput
) -> None:
    standing = replace(BodyParameters.rest(PEOPLE), translation=torch.tensor([[0.0, 0.0, 4.0]]).expand(PEOPLE, 3))
    sitting = replace(standing, rotations=standing.rotations.clone())
    thighs = [JOINT_INDEX[f"upperleg01.{side}"] for side in "LR"]
    sitting.rotations[:, thighs] = axis_angle_to_matrix(torch.tensor([-1.4, 0.0, 0.0]))

    def seen(body: BodyParameters) -> PerceptionOutput:
        keypoints, joints = kinematics(body)
        places = 2.0 * keypoints[..., :2] / keypoints[..., 2:] + 0.5
        return replace(observed, keypoints_2d=places, joints_3d=keypoints - joints[:, :1])

    stands, sits = (Targets.from_output(seen(body), FOCAL.numpy()) for body in (standing, sitting))
    assert stands.weight_straight.min() > 10 * sits.weight_straight.max() > 0
    hidden = replace(seen(standing), visible_logit=torch.full((PEOPLE, 17), -6.0))
    assert Targets.from_output(hidden, FOCAL.numpy()).weight_straight.max() < 0.1 * stands.weight_straight.min()

    bent = replace(standing, rotations=standing.rotations.clone())
    shanks = [JOINT_INDEX[f"lowerleg01.{side}"] for side in "LR"]
    bent.rotations[:, thighs] = axis_angle_to_matrix(torch.tensor([-0.2, 0.0, 0.0]))
    bent.rotations[:, shanks] = axis_angle_to_matrix(torch.tensor([0.4, 0.0, 0.0]))
    predicted = crop_entries(space, bent, FOCAL)
    sigma = torch.full_like(predicted, 0.4).numpy()

    def bend_m(targets: Targets) -> float:
        refined = torch.from_numpy(Refiner.load().refine(predicted.numpy(), sigma, targets))
        depth = kinematics(body_in_crop(space, refined, FOCAL))[0][..., 2]
        return float((depth[:, 13:15] - (depth[:, 11:13] + depth[:, 15:17]) / 2).abs().mean())

    without = replace(stands, weight_straight=np.zeros_like(stands.weight_straight))
    assert bend_m(stands) < 0.5 * bend_m(without)


FITTING_PEOPLE = 3


@pytest.mark.slow
@pytest.mark.parametrize("follows", [False, True])
def test_one_graph_fits_as_the_host_does(follows: bool) -> None:
    generator = np.random.default_rng(0)

    def random(*shape: int, least: float = -1.0) -> np.ndarray:
        return generator.uniform(least, 1, (FITTING_PEOPLE, *shape)).astype(np.float32)

    features, refiner = torch.from_numpy(random(FEATURE_SIZE)), Refiner.load()
    targets = Targets(
        random(17, 2, least=0),
        random(17, 1, least=0.1),
        random(17, 3),
        random(17, 1, least=0.1),
        5 + random(1, 1),
        5 + random(1, 1),
        np.array([0.0, -0.1, 0.9], np.float32) + 0.1 * random(5, 3),
        np.array([0, 0, 50], np.float32)[:, None, None],
        2 + random(1, 1),
    )
    predictor = PoseHead.load()
    network = FittingNetwork(predictor, refiner.keypoints, follows=follows).eval()
    rows = [torch.cat([each] * FITTING_PEOPLE) for each in FittingNetwork.example()]
    with torch.no_grad():
        graph = torch.export.export(network, tuple(rows), strict=False).module()
    correction = np.asarray(0.2 * random(ENTRIES), np.float32) if follows else None
    fitter = FitterOnGpu(*[NetworkInUse(graph, "float32", CPU)] * 2)
    on_host = FitterOnHost(NetworkInUse(predictor, "float32", CPU), refiner)
    found, expected = (fit(features, targets, correction) for fit in (fitter, on_host))
    np.testing.assert_allclose(found.sigma, expected.sigma, atol=1e-5)
    np.testing.assert_allclose(found.refined, expected.refined, atol=1e-3)
    # Crop units: what a change of the entries by 1e-3 moves a wrist.
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=3e-4)
    assert np.abs(expected.refined - expected.predicted).max() > 0.1


def person(*, legs: bool = True) -> ObservedPerson:
    """The one of the demo picture, with or without the lower half of it."""
    picture = np.asarray(Image.open(io.BytesIO(demo_picture())))
    side = picture.shape[0]
    left = (picture.shape[1] - side) // 2
    square = np.array(picture[:, left : left + side])
    if not legs:
        square[side // 2 :] = 90
    return ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, side), Perception.load().observe([square]))


@pytest.fixture(scope="module")
def seen() -> ObservedPerson:
    return person()


def test_entries_are_the_pose_heads_and_deviations_of_hidden_limbs_larger(seen: ObservedPerson) -> None:
    features, predictor = seen.output.features(), PoseHead.load()
    with torch.inference_mode():
        entries, sigma = predictor(features)
        _, without = predictor(person(legs=False).output.features())
    torch.testing.assert_close(entries, pose_entries(LabelSpace.load(), features))
    for leg in ("left_leg", "right_leg"):
        leading = slice(group_slices()[leg].start, group_slices()[leg].start + 3)
        assert without[:, leading].mean() > 1.2 * sigma[:, leading].mean()


def test_identity_that_is_given_to_another_has_their_colours(seen: ObservedPerson) -> None:
    camera, stage = Camera(seen.crop.side, seen.crop.side, 2.0 * seen.crop.side), SemanticsStage.load(SmoothingConfig())
    stranger = replace(seen, output=replace(seen.output, region_colours=1 - seen.output.region_colours))

    def colours(person: ObservedPerson) -> FloatArray:
        return stage.label([person], camera)[0].labels["appearance"]

    first, mixed = colours(seen), colours(stranger)
    assert np.array_equal(colours(replace(seen, person=TrackedPerson(0))), first) and not np.array_equal(mixed, first)


def test_a_stage_that_shares_networks_smooths_as_it_is_told() -> None:
    smooth = SemanticsStage.load(SmoothingConfig())
    assert smooth.smooths
    assert not smooth.anew(SmoothingConfig(0.0)).smooths
