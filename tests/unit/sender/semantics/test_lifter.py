"""Windows of what was seen of people in the last second."""

import numpy as np
import pytest
import torch
from torch import nn

from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera
from common.labels import LABEL_SIZE, group_slices
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from sender.perception.heads import KEYPOINTS
from sender.perception.track import TrackedPerson
from sender.semantics.bodies import ENTRIES, PELVIS, KeypointJacobian
from sender.semantics.lifter import FRAMES, Lifter, OneFrame, RecentFrames, Window
from sender.semantics.lifting_network import (
    FITTED,
    KEYPOINT_SCALE,
    TOKEN,
    LiftingConfig,
    LiftingNetwork,
    Observations,
    WindowCamera,
    attention_mask,
    lags_of,
    smoothed_entries,
)
from tests.unit.sender.semantics.test_lifting_network import observations

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


def test_the_frame_that_is_estimated_is_smoothed_anew() -> None:
    window = Window([frame(number / 30) for number in range(3)], 1)
    entries = np.full_like(window.frames[1].smoothed, 2.0)
    changed = window.where_smoothed(entries)
    assert [bool((each.smoothed == entries).all()) for each in changed.frames] == [False, True, False]


CAMERA = Camera(640, 480, 700.0)


@pytest.fixture(scope="module")
def network() -> LiftingNetwork:
    torch.manual_seed(0)
    network = LiftingNetwork(LiftingConfig()).eval()
    for parameter in network.decoder.leave.parameters():
        nn.init.normal_(parameter, std=0.01)
    return network


@pytest.fixture(scope="module")
def kinematics() -> KeypointJacobian:
    return KeypointJacobian.load()


@pytest.fixture(scope="module")
def lifter(network: LiftingNetwork, kinematics: KeypointJacobian) -> Lifter:
    return Lifter(NetworkInUse(OneFrame(network), "float32", CPU), kinematics)


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
    both = lifter.lifted(windows(), CAMERA)
    alone = [lifter.lifted([window], CAMERA) for window in windows()]
    for found, expected in zip(both, map(np.concatenate, zip(*alone, strict=True)), strict=True):
        np.testing.assert_allclose(found, expected, atol=3e-3, rtol=1e-3)


def test_keypoints_are_those_of_the_labels(lifter: Lifter, kinematics: KeypointJacobian) -> None:
    (entries, keypoints), space = lifter.lifted(windows(), CAMERA), LabelSpace.load()
    labels = np.zeros((2, LABEL_SIZE), np.float32)
    labels[:, :ENTRIES] = entries
    decoded, _ = KeypointKinematics(BodyModel.load())(space.decode(torch.from_numpy(labels)))
    pixels = np.stack([CAMERA.project(each) for each in decoded.numpy()])
    np.testing.assert_allclose(keypoints, pixels, atol=0.1)
