from dataclasses import replace

import numpy as np
import torch

from common.body.label_space import LabelSpace
from common.body.model import KeypointKinematics
from common.frames import Camera
from common.labels import LABEL_SIZE
from sender.face.head import FRONT, HeadPoseReader
from sender.perception.crop import CropBox
from sender.semantics.bodies import ENTRIES
from sender.semantics.refine import head_in_crop, with_heads
from tests.support.pictures.preview_samples import MASK, observed
from tests.support.pictures.shown_heads import shown_head

CAMERA = Camera(512, 512, 614.0)
CROP = CropBox(-40, -64, 640)
WITHOUT = observed(CROP, np.ones((MASK, MASK), np.bool_))
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
