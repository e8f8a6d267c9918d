"""What the pose head predicts, with its deviations."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.frames import Camera
from common.labels import group_slices
from sender.config import SmoothingConfig
from sender.perception.crop import CropBox
from sender.perception.predictor import Perception
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import pose_entries
from sender.semantics.refine import PoseHead
from sender.semantics.semantics_stage import SemanticsStage
from tests.support.processes.demo_clip import demo_picture


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
