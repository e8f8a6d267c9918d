"""The confidence of limbs: its evidence, the regression, and the labels that carry it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.arrays import FloatArray
from common.labels import group_slices
from sender.perception.crop import CropBox
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import ENTRIES
from sender.semantics.confidence import (
    EVIDENCE,
    LIMBS,
    ConfidenceConfig,
    ConfidenceNet,
    evidence,
)

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
    moved[0, list(LIMBS["right_arm"])] += 0.2
    sigma = torch.full((2, ENTRIES), 0.4)
    sigma[0, group_slices()["right_arm"]] = 0.9
    visible = output.visible_logit.clone()
    visible[0, LIMBS["right_arm"][2]] += 3
    wider = torch.where(visible == output.visible_logit, output.keypoints_sigma, 0.5)
    for after in (
        evidence_of(output, keypoints=moved),
        evidence_of(output, sigma=sigma),
        evidence_of(replace(output, visible_logit=visible)),
        evidence_of(replace(output, keypoints_sigma=wider)),
    ):
        changed = (after != before).any(axis=-1)
        assert np.argwhere(changed).tolist() == [[0, arm]]


def test_both_sides_share_their_weights() -> None:
    net = ConfidenceNet(ConfidenceConfig())
    with torch.no_grad():
        net.weight.copy_(torch.randn(3, EVIDENCE))
        net.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    rows = torch.randn(1, 1, EVIDENCE).expand(1, len(LIMBS), EVIDENCE)
    head, left_arm, right_arm, left_leg, right_leg = net(rows)[0].tolist()
    assert left_arm == right_arm and left_leg == right_leg
    assert len({head, left_arm, left_leg}) == 3
