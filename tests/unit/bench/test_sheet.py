"""Rows of the sheet of people."""

import numpy as np

from common.frames import Camera
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import SurfaceStage
from sender.perception.inference.crop import CropBox
from tests.bench.sheet_rows import COLUMNS, TILE_PX, SheetRow, laid_out
from tests.support.shapes import sphere
from tests.unit.bench.test_still import Person, Skinned

CAMERA = Camera(320, 240, 300.0)
RED = (220, 30, 30)


def row() -> SheetRow:
    """A red sphere 3 m before the camera, in a green picture."""
    ball = SurfaceStage().reconstruct(*sphere())
    mesh = SurfaceMesh(ball.vertices, ball.faces, np.tile(np.array(RED, np.uint8), (len(ball.vertices), 1)))
    person = Person(mesh, Skinned(mesh), np.tile(np.array([0, 0, 3], np.float32), (17, 1)))
    image = np.full((240, 320, 3), (20, 200, 20), np.uint8)
    return SheetRow("ball", image, CAMERA, CropBox(90, 50, 140), person)  # type: ignore[arg-type]


def test_row_shows_picture_plain_and_coloured_surfaces_and_template() -> None:
    drawn = row().drawn()
    assert drawn.shape[1] == len(COLUMNS) * TILE_PX
    centres = [drawn[-TILE_PX // 2, column * TILE_PX + TILE_PX // 2].astype(int) for column in range(len(COLUMNS))]
    assert centres[0].tolist() == [20, 200, 20]
    for coloured in (centres[2], centres[3], centres[4]):
        assert coloured[0] > 2 * coloured[1]
    assert np.ptp(centres[1]) < 30, "the plain surface"


def test_blocks_of_a_sheet_are_filled_up() -> None:
    drawn = row().drawn()
    sheet = laid_out([drawn] * 3, 2)
    assert sheet.shape[1] == 2 * drawn.shape[1]
    assert (sheet[-len(drawn) :, drawn.shape[1] :] == 255).all()
