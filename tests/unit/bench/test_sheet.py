"""Sheets of pictures beside what was rebuilt of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from common.errors import OutputError
from common.frames import Camera
from receiver.mesh.triangle_mesh import SurfaceMesh
from tests.bench.sheet import Pictured, tiles, turned, write_sheet

CAMERA = Camera(60, 80, 80.0)


def red_box(x: float) -> SurfaceMesh:
    box = trimesh.creation.box((0.4, 0.8, 0.2))
    vertices = (box.vertices + np.array([x, 0, 2])).astype(np.float32)
    colours = np.tile(np.array([200, 0, 0], np.uint8), (len(vertices), 1))
    return SurfaceMesh(vertices, box.faces.astype(np.int32), colours=colours)


def pictured(keypoints: int = 0) -> Pictured:
    points = [np.full((17, 2), 30, np.float32) + np.arange(17)[:, None] for _ in range(keypoints)]
    return Pictured(np.zeros((80, 60, 3), np.uint8), CAMERA, [red_box(0.2)], points)


def test_a_column_has_the_picture_the_colours_the_plain_shape_and_its_other_side() -> None:
    picture, coloured, plain, other = tiles(pictured())
    assert not picture.any()
    shown = coloured.min(axis=2) < 255
    assert (coloured[shown][:, 0] > coloured[shown][:, 1] + 20).all()
    grey = plain[plain.min(axis=2) < 255]
    assert np.ptp(grey.astype(int), axis=1).max() < 40
    assert shown.sum() == pytest.approx((other.min(axis=2) < 255).sum(), rel=0.1)


def test_other_side_is_half_a_turn_about_the_middle() -> None:
    mesh = red_box(0.2)
    other = turned(turned(mesh))
    assert np.allclose(other.vertices, mesh.vertices, atol=1e-6)
    assert np.allclose(turned(mesh).vertices.mean(0), mesh.vertices.mean(0), atol=1e-6)


def test_keypoints_are_drawn_over_the_picture() -> None:
    assert tiles(pictured(keypoints=1))[0].any()


def test_rows_have_twelve_columns(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.png", [pictured()] * 13, (30, 40))
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (2 * 4 * 40, 12 * 30, 3)


def test_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_sheet(tmp_path / "missing" / "sheet.png", [pictured()], (30, 40))
