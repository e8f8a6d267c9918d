"""The lifting network in use: what it says of a frame depends on its window alone."""

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
from sender.semantics.crop_labels import ENTRIES, PELVIS
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.lifting.lifter import _CARRIED, FRAMES, Lifter, OneFrame
from sender.semantics.lifting.memory import Window
from sender.semantics.lifting.network import LiftingConfig, LiftingNetwork, attention_mask, lags_of, smoothed_entries
from tests.unit.sender.semantics.lifting.test_memory import PERSON, filmed

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
    sees[..., :4], anchor[:] = 0, 0
    anchor[:, 9] = 1
    whole = network(tokens[:, 4:], lags[:, 4:, 4:], attention_mask(torch.ones(1, FRAMES - 4, dtype=torch.bool)))
    entries, sigma = OneFrame(network)(tokens, lags, sees, anchor)
    torch.testing.assert_close(sigma, whole.sigma[:, 5], atol=1e-4, rtol=1e-4)
    moved, corrected = (each - smoothed_entries(tokens)[:, 9] for each in (entries, whole.entries[:, 5]))
    torch.testing.assert_close(moved, _CARRIED * corrected, atol=1e-4, rtol=1e-4)
    still = corrected[0] == 0
    assert still[PELVIS].all() and still[group_slices()["shape"]].all() and not still[PELVIS.stop + 10 :].any()


def windows() -> list[Window]:
    frames, now_s = filmed(30, 1, lost=range(20, 25))
    few, few_s = filmed(30, 0.2)
    return [frames.window(PERSON, now_s, FRAMES), few.window(PERSON, few_s, FRAMES)]


def test_people_are_estimated_together_as_alone(lifter: Lifter) -> None:
    both = lifter.bodies(windows(), CAMERA)
    alone = [lifter.bodies([window], CAMERA) for window in windows()]
    for name in ("entries", "sigma", "keypoints"):
        expected = np.concatenate([getattr(each, name) for each in alone])
        np.testing.assert_allclose(getattr(both, name), expected, atol=3e-3, rtol=1e-3)


def test_keypoints_are_those_of_the_labels(lifter: Lifter, kinematics: KeypointJacobian) -> None:
    bodies, space = lifter.bodies(windows(), CAMERA), LabelSpace.load()
    labels = np.zeros((2, LABEL_SIZE), np.float32)
    labels[:, :ENTRIES] = bodies.entries
    decoded, _ = KeypointKinematics(BodyModel.load())(space.decode(torch.from_numpy(labels)))
    pixels = np.stack([CAMERA.project(each) for each in decoded.numpy()])
    np.testing.assert_allclose(bodies.keypoints, pixels, atol=0.1)
