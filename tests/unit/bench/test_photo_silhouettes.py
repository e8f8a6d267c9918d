"""Silhouettes of people in photographs: crops of meshes, the summary, and which photographs are read."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from common.frames import Camera
from receiver.mesh.render import depth_map
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import SurfaceStage
from sender.perception.inference.crop import CropBox
from sender.train.photographs import held_out
from tests.bench.crop_view import in_crop
from tests.bench.measures import intersection_over_union
from tests.bench.photo_silhouettes import summary
from tests.bench.photos import read_frames
from tests.support.shapes import sphere

CAMERA = Camera(640, 480, 700.0)


def ball() -> SurfaceMesh:
    """A sphere off the optical axis."""
    mesh = SurfaceStage().reconstruct(*sphere())
    return SurfaceMesh((mesh.vertices + np.array([0.6, -0.3, 3.0])).astype(np.float32), mesh.faces)


def test_crop_of_a_mesh_is_the_crop_of_its_picture() -> None:
    mesh, crop = ball(), CropBox(330, 20, 256)
    moved, camera = in_crop(mesh, CAMERA, crop, 128)
    expected = (CAMERA.project(mesh.vertices) - [crop.left, crop.top]) * 128 / crop.side
    assert camera.project(moved.vertices) == pytest.approx(expected, abs=1e-2)
    assert np.array_equal(moved.vertices[:, 2], mesh.vertices[:, 2])
    whole = np.repeat((depth_map(mesh, CAMERA) > 0)[..., None], 3, axis=2).astype(np.uint8) * 255
    assert intersection_over_union(depth_map(moved, camera) > 0, crop.cut(whole, 128)[..., 0] > 127) > 0.97


def test_summary_has_the_gain_and_its_standard_error() -> None:
    people = [{"iou": 0.7, "iou_bare": 0.6}, {"iou": 0.8, "iou_bare": 0.9}]
    found = summary(people)
    assert found["people"] == 2 and found["iou"] == pytest.approx(0.75) and found["better_share"] == 0.5
    assert found["iou_gain"] == pytest.approx(0.0)
    assert found["iou_gain_standard_error"] == pytest.approx(0.1)
    assert summary([]) == {}


def test_held_out_photographs_are_those_that_no_training_uses(tmp_path: Path) -> None:
    names = [f"{number:012d}.jpg" for number in range(18)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.full((24, 32, 3), 90, np.uint8))
    chosen = {frame.source for frame in read_frames(str(tmp_path), held_out_only=True)}
    assert chosen == held_out(names) and 0 < len(chosen) < len(names)
    assert len(read_frames(str(tmp_path), held_out_only=False)) == len(names)
