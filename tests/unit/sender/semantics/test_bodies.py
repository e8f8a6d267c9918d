"""Windows of what was seen of people in the last second."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from common.arrays import FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyParameters, KeypointKinematics, axis_angle_to_matrix
from common.frames import Camera
from common.labels import LABEL_SIZE, group_slices
from common.synthetic.motion.poses import PoseSampler
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from sender.config import SmoothingConfig
from sender.face.head import FRONT, HeadPoseReader
from sender.perception.crop import CropBox, ray_rotation, to_frame
from sender.perception.heads import KEYPOINTS
from sender.perception.perception_network import FEATURE_SIZE, PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import (
    CROSS,
    ENTRIES,
    PELVIS,
    KeypointJacobian,
    body_in_crop,
    crop_entries,
    entries_in_crops,
    entries_in_frame,
    orientation,
    pelvis_in_crop,
    pose_entries,
)
from sender.semantics.lifter import FRAMES, Lifter, OneFrame, RecentFrames, Window
from sender.semantics.lifting_network import (
    FITTED,
    KEYPOINT_SCALE,
    MOVED,
    SEEN,
    TOKEN,
    LiftingConfig,
    LiftingNetwork,
    Observations,
    WindowCamera,
    attention_mask,
    crop_in_focal_lengths,
    lags_of,
    mean_crop,
    smoothed_entries,
)
from sender.semantics.lifting_network import tokens as tokens_in
from sender.semantics.refine import (
    FitterOnGpu,
    FitterOnHost,
    FittingNetwork,
    PoseHead,
    Refiner,
    Targets,
    head_in_crop,
    with_heads,
)
from sender.semantics.semantics_stage import SemanticsStage
from tests.support.pictures import preview_samples
from tests.support.pictures.shown_heads import shown_head
from tests.support.processes.demo_clip import demo_picture


def test_keypoints_and_derivatives_are_those_of_the_posed_body(
    space: LabelSpace, kinematics: KeypointKinematics
) -> None:
    entries = 0.7 * torch.randn(PEOPLE, ENTRIES, generator=torch.Generator().manual_seed(1))
    # A bone that does not turn.
    entries[0, 19:] = 0
    focal = torch.linspace(1.1, 2.4, PEOPLE)

    def posed(entries: Tensor) -> tuple[Tensor, Tensor]:
        keypoints, joints = kinematics(body_in_crop(space, entries, focal))
        return keypoints, joints[:, 0]

    keypoints, pelvis = posed(entries)
    by_entries, _ = torch.autograd.functional.jacobian(posed, entries)
    own = torch.arange(PEOPLE)
    jacobian = KeypointJacobian.of_body(space, kinematics)
    from_pelvis, found_pelvis, found = map(
        torch.from_numpy, jacobian.derivatives(entries.numpy(), focal[:, None].numpy())
    )
    torch.testing.assert_close(found_pelvis, pelvis, atol=2e-6, rtol=0)
    torch.testing.assert_close(from_pelvis, keypoints - pelvis[:, None], atol=4e-6, rtol=0)
    torch.testing.assert_close(found, by_entries[own, :, :, own], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(torch.from_numpy(jacobian.keypoints(entries.numpy())), from_pelvis, atol=4e-6, rtol=0)


def test_bodies_go_from_crops_to_the_frame_and_back() -> None:
    camera = Camera(640, 480, 700.0)
    crops = [CropBox(300, 120, 260), CropBox(20, -40, 300, 0.3), CropBox(330, 100, 240, -0.2)]
    entries = np.random.default_rng(0).normal(0, 0.3, (3, ENTRIES)).astype(np.float32)
    entries[:, :6] = np.array([1, 0, 0, 0, 1, 0])
    in_frame = entries_in_frame(entries, crops, camera)
    npt.assert_allclose(in_frame[:, 9:], entries[:, 9:])
    scaled = entries_in_crops(in_frame, crops, camera)
    npt.assert_allclose(scaled[:, 6:], entries[:, 6:], atol=1e-5)
    npt.assert_allclose(scaled[:, :6] / np.linalg.norm(scaled[:, :3], axis=1, keepdims=True), entries[:, :6], atol=1e-5)


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


CAMERA = Camera(512, 512, 614.0)
CROP = CropBox(-40, -64, 640)
WITHOUT = preview_samples.observed(CROP, np.ones((preview_samples.MASK,) * 2, np.bool_))
CLOSE = replace(WITHOUT, head=HeadPoseReader.load()(shown_head(CAMERA, (0.02, -0.03, 0.35))))


def test_only_bodies_with_heads_move_and_to_where_these_are_seen(
    space: LabelSpace, kinematics: KeypointKinematics
) -> None:
    assert CLOSE.head is not None
    entries = np.random.default_rng(0).normal(0, 0.5, (2, ENTRIES)).astype(np.float32)
    entries[:, 0:6] = [1, 0, 0, 0, 1, 0]
    placed = with_heads(entries, [WITHOUT, CLOSE], CAMERA)
    np.testing.assert_array_equal(placed[0], entries[0])
    labels = torch.zeros(1, LABEL_SIZE)
    labels[0, :ENTRIES] = torch.from_numpy(placed[1])
    keypoints = kinematics(space.decode(labels))[0][0, :FRONT].numpy()
    seen = CAMERA.project(keypoints)
    np.testing.assert_allclose(seen.mean(axis=0), CLOSE.head.keypoints[:FRONT].mean(axis=0), atol=8)
    assert abs(keypoints[:, 2].mean() - 0.35) < 0.03
    assert not np.allclose(placed[1, 6:9], entries[1, 6:9])


def test_head_in_a_crop_is_where_the_crop_shows_it() -> None:
    assert CLOSE.head is not None and head_in_crop(WITHOUT, CAMERA) is None
    places = head_in_crop(CLOSE, CAMERA)
    assert places is not None
    focal = CAMERA.focal_px / CROP.side
    units = focal * places[:FRONT, :2] / places[:FRONT, 2:] + 0.5
    np.testing.assert_allclose(CROP.to_pixels(units), CLOSE.head.keypoints[:FRONT], atol=6)


_PLACES = slice(0, 34)
_CAMERA = Camera(640, 480, 700.0)
_CROPS = (CropBox(300, 120, 260), CropBox(20, -40, 300, 0.3), CropBox(330, 100, 240, -0.2))


def observations() -> Observations:
    """One person in the three crops, with the predicted entries of each."""
    frames, rng = len(_CROPS), np.random.default_rng(3)
    entries = rng.normal(0, 0.4, (1, frames, ENTRIES)).astype(np.float32) + np.eye(ENTRIES, dtype=np.float32)[0]
    boxes = [crop_in_focal_lengths(crop, _CAMERA) for crop in _CROPS]
    per_keypoint = rng.uniform(0.1, 0.9, (1, frames, 17)).astype(np.float32)
    return Observations(
        time_s=np.arange(frames)[None] / 30,
        centre=np.stack([centre for centre, _ in boxes])[None],
        side=np.array([[side for _, side in boxes]], np.float32),
        roll=np.array([[crop.roll for crop in _CROPS]], np.float32),
        seen=np.ones((1, frames), bool),
        view=np.array([[0, 1, 0.5]], np.float32),
        keypoints=rng.uniform(0, 1, (1, frames, 17, 2)).astype(np.float32),
        sigma=per_keypoint,
        visible=per_keypoint,
        entries=entries,
        log_sigma=np.zeros((1, frames, ENTRIES), np.float32),
        smoothed=entries + rng.normal(0, 0.1, entries.shape).astype(np.float32),
        joints_3d=rng.normal(0, 0.5, (1, frames, 17, 3)).astype(np.float32),
        joints_log_variance=per_keypoint,
        joint_depth=per_keypoint,
        depth_log_variance=np.zeros((1, frames), np.float32),
    )


def tokens(window: Observations, counted: Sequence[bool] = (True, True, True)) -> tuple[FloatArray, WindowCamera]:
    """In the camera of the mean crop of some frames."""
    centre, side = mean_crop(window, np.array([counted]))
    camera = WindowCamera.through(centre, side)
    return tokens_in(window, camera, side), camera


def test_keypoints_of_any_crop_are_where_their_pixels_are() -> None:
    """The same pixels, read in other crops, give the same token, and the window camera projects to them."""
    window = observations()
    pixels = np.random.default_rng(0).uniform(100, 400, (17, 2)).astype(np.float32)
    keypoints = np.stack([crop.to_units(pixels) for crop in _CROPS])[None]
    found, camera = tokens(replace(window, keypoints=keypoints), (False, True, False))
    places = found[0, :, _PLACES].reshape(3, 17, 2) / KEYPOINT_SCALE + 0.5
    npt.assert_allclose(places, np.broadcast_to(places[:1], places.shape), atol=1e-4)
    depth = np.linspace(2, 5, 17)[:, None]
    points = np.concatenate([(pixels - [320, 240]) / 700 * depth, depth], 1) @ camera.rotation[0]
    npt.assert_allclose(places[0], 0.5 + camera.focal[0] * points[:, :2] / points[:, 2:], atol=1e-4)


@pytest.mark.parametrize("name", ["entries", "smoothed"])
def test_predicted_bodies_are_where_each_crop_has_them(name: str) -> None:
    """The entries of a token, taken from the window camera to the frame, are those taken there from the crop."""
    window = observations()
    found, camera = tokens(window)
    entries = found[0, :, FITTED] + (found[0, :, MOVED] if name == "smoothed" else 0)
    every = WindowCamera(np.repeat(camera.rotation, 3, 0), np.repeat(camera.focal, 3))
    turns, pelvises = every.in_frame(entries)
    npt.assert_allclose(every.entries_of(turns, pelvises), entries[:, :9], atol=1e-4)
    for row, crop in enumerate(_CROPS):
        own = getattr(window, name)[0, row : row + 1]
        pelvis = pelvis_in_crop(own, np.full((1, 1), _CAMERA.focal_px / crop.side, np.float32))
        turn, place = to_frame(orientation(own, CROSS)[0], pelvis[0], ray_rotation(crop, _CAMERA))
        npt.assert_allclose(turns[row], turn, atol=1e-4)
        npt.assert_allclose(pelvises[row], place, atol=2e-3)


_LAGS = lags_of(torch.arange(6).expand(2, -1) / 30)


def _network() -> LiftingNetwork:
    torch.manual_seed(0)
    return LiftingNetwork(LiftingConfig(width=24, layers=2, heads=2, latent=4, hidden=16)).eval()


def _tokens(network: LiftingNetwork) -> torch.Tensor:
    tokens = torch.randn(2, 6, network.config.tokens, generator=torch.Generator().manual_seed(1))
    tokens[..., SEEN] = 1
    return tokens


@torch.no_grad()
def test_a_causal_frame_sees_none_after_it() -> None:
    network = _network()
    for parameter in network.decoder.leave.parameters():
        torch.nn.init.normal_(parameter)
    tokens, present = _tokens(network), torch.ones(2, 6, dtype=torch.bool)
    later = tokens.clone()
    later[:, 4:, SEEN + 1 :] += 1
    for causal in (True, False):
        mask = attention_mask(present, causal=causal)
        before, after = network(tokens, _LAGS, mask), network(later, _LAGS, mask)
        equal = [torch.equal(one[:, :4], other[:, :4]) for one, other in zip(before, after, strict=True)]
        assert all(equal) if causal else not any(equal)


@torch.no_grad()
def test_frames_that_are_not_there_change_nothing() -> None:
    """A window that is filled up gives what the shorter one gives, and is finite."""
    network = _network()
    tokens, present = _tokens(network), torch.ones(2, 6, dtype=torch.bool)
    present[:, :4] = False
    whole = network(tokens, _LAGS, attention_mask(present))
    short = network(tokens[:, 4:], _LAGS[:, 4:, 4:], attention_mask(present[:, 4:]))
    for one, other in zip(whole, short, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one[:, 4:], other)
    assert (whole.sigma > 0).all()


PERSON = TrackedPerson(3)


def frame(time_s: float) -> Observations:
    window = observations()
    return Observations(**{name: getattr(window, name)[0, 0] for name in window.__slots__} | {"time_s": time_s})


def filmed(fps: float, seconds: float, lost: range = range(0)) -> tuple[RecentFrames, float]:
    """A person in all frames but those of `lost`; and the time of the newest frame."""
    frames, count = RecentFrames(), round(fps * seconds)
    for number in range(count):
        time_s = number / fps
        frames.add({} if number in lost else {PERSON: frame(time_s)}, time_s)
    return frames, (count - 1) / fps


def times(window: Window) -> list[float]:
    """Of its frames, from the one that is estimated."""
    return [round(float(each.time_s - window.frames[window.anchor].time_s), 3) for each in window.frames]


@pytest.mark.parametrize(
    ("fps", "step_s", "count"), [(30, 1 / 30, 16), (60, 3 / 60, 16), (300, 0.03, 16), (5, 0.2, 6), (0.5, 0, 1)]
)
def test_window_covers_half_a_second_to_one_at_any_rate(fps: float, step_s: float, count: int) -> None:
    frames, now_s = filmed(fps, 4)
    expected = [round(-step_s * number, 3) for number in reversed(range(count))]
    assert times(frames.window(PERSON, now_s, 16)) == expected


def test_window_within_a_clip_has_frames_on_both_sides() -> None:
    frames, _ = filmed(30, 2)
    for later, before in ((20, 7), (8, 7), (3, 12), (0, 15)):
        window = frames.window(PERSON, (59 - later) / 30, 16)
        assert times(window) == [round(number / 30, 3) for number in range(-before, min(later, 8) + 1)]


def test_frames_without_the_person_are_remembered_where_they_were() -> None:
    frames, now_s = filmed(30, 1, lost=range(20, 25))
    window = frames.window(PERSON, now_s, 16)
    assert [bool(each.seen) for each in window.frames] == [True] * 6 + [False] * 5 + [True] * 5
    np.testing.assert_array_equal(window.frames[7].centre, window.frames[5].centre)


@pytest.mark.parametrize("time_s", [0.0, 0.4])
def test_time_that_does_not_advance_begins_anew(time_s: float) -> None:
    frames, _ = filmed(10, 0.5)
    frames.add({PERSON: frame(time_s)}, time_s)
    assert len(frames.window(PERSON, time_s, 16).frames) == 1


@pytest.fixture(scope="module")
def network() -> LiftingNetwork:
    torch.manual_seed(0)
    network = LiftingNetwork(LiftingConfig()).eval()
    for parameter in network.decoder.leave.parameters():
        nn.init.normal_(parameter, std=0.01)
    return network


@pytest.fixture(scope="module")
def lifter(network: LiftingNetwork) -> Lifter:
    return Lifter(NetworkInUse(OneFrame(network), "float32", CPU), KeypointJacobian.load())


@torch.inference_mode()
def test_one_frame_is_what_the_network_says_of_it(network: LiftingNetwork) -> None:
    tokens, lags, sees, anchor = OneFrame.example()
    tokens, lags = torch.randn(tokens.shape), lags_of(torch.arange(FRAMES)[None] / 30)
    sees[..., :2], anchor[:] = 0, 0
    anchor[:, 5] = 1
    whole = network(tokens[:, 2:], lags[:, 2:, 2:], attention_mask(torch.ones(1, FRAMES - 2, dtype=torch.bool)))
    (entries,) = OneFrame(network)(tokens, lags, sees, anchor)
    moved, corrected = (each - smoothed_entries(tokens)[:, 5] for each in (entries, whole.entries[:, 3]))
    torch.testing.assert_close(moved, corrected, atol=1e-4, rtol=1e-4)
    still = corrected[0] == 0
    assert still[PELVIS].all() and still[group_slices()["shape"]].all() and not still[PELVIS.stop + 10 :].any()


@pytest.mark.parametrize(("lifted", "carries"), [("exact", True), ("near", False), ("wrong", False)])
def test_bodies_that_explain_the_keypoints_are_carried(lifter: Lifter, lifted: str, *, carries: bool) -> None:
    """Of somebody who was smoothed into another pose; one who is nearly right stays."""
    rng = np.random.default_rng(0)
    true, turn = rng.normal(0, 0.3, (1, ENTRIES)).astype(np.float32), np.zeros((1, ENTRIES), np.float32)
    true[:, PELVIS] = 0
    turn[:, PELVIS.stop + 10 :] = rng.normal(0, 0.8, ENTRIES - PELVIS.stop - 10)
    camera = WindowCamera.through(np.zeros((1, 2), np.float32), np.ones(1, np.float32))
    smoothed = true + {"exact": 1.0, "near": 0.1, "wrong": 0.0}[lifted] * turn
    seen = np.zeros((1, TOKEN), np.float32)
    places = lifter._refiner.projected(true, camera.focal[:, None, None])
    seen[:, : 2 * KEYPOINTS] = KEYPOINT_SCALE * (places.reshape(1, -1) - 0.5)
    seen[:, 2 * KEYPOINTS : 3 * KEYPOINTS], seen[:, 3 * KEYPOINTS : 4 * KEYPOINTS] = np.log(0.01) + 3, 1
    seen[:, FITTED] = smoothed
    said = smoothed + turn if lifted == "wrong" else true
    share = (lifter._carried(said, seen, camera) - smoothed) / (said - smoothed + 1e-9)
    assert np.median(share[:, PELVIS.stop + 10 :]) > 0.95 if carries else np.abs(share).max() < 0.05


def windows() -> list[Window]:
    frames, now_s = filmed(30, 1, lost=range(20, 25))
    few, few_s = filmed(30, 0.2)
    return [frames.window(PERSON, now_s, FRAMES), few.window(PERSON, few_s, FRAMES)]


def test_people_are_estimated_together_as_alone(lifter: Lifter) -> None:
    both = lifter.lifted(windows(), _CAMERA)
    alone = [lifter.lifted([window], _CAMERA) for window in windows()]
    for found, expected in zip(both, map(np.concatenate, zip(*alone, strict=True)), strict=True):
        np.testing.assert_allclose(found, expected, atol=3e-3, rtol=1e-3)


def test_keypoints_are_those_of_the_labels(lifter: Lifter, space: LabelSpace, kinematics: KeypointKinematics) -> None:
    entries, keypoints = lifter.lifted(windows(), _CAMERA)
    labels = np.zeros((2, LABEL_SIZE), np.float32)
    labels[:, :ENTRIES] = entries
    decoded, _ = kinematics(space.decode(torch.from_numpy(labels)))
    pixels = np.stack([_CAMERA.project(each) for each in decoded.numpy()])
    np.testing.assert_allclose(keypoints, pixels, atol=0.1)
