"""Rows of the sheet of people: the picture of one person, and what the receiver makes of it."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from common.arrays import Image
from common.frames import Camera
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.render import Lighting, render
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.report.contact_sheet import caption, rotated
from sender.perception.inference.crop import CropBox
from tests.bench.crop_view import in_crop

TILE_PX = 224
COLUMNS = ("picture", "surface", "coloured", "from the other side", "template")
_CAPTION_PX = 16
# Drawn larger, so that edges are smooth.
_SUPERSAMPLING = 2
_OTHER_SIDE_RAD = np.radians(150)
_LIGHT = Lighting(background=(236, 238, 240))
_WHOLE_MARGIN = 1.1


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One person in one picture.

    Args:
        name: of the picture.
        image: (H, W, 3) RGB.
        camera: the picture's.
        crop: around the person.
        person: as received, with colours.
    """

    name: str
    image: Image
    camera: Camera
    crop: CropBox
    person: ReconstructedPerson

    def drawn(self) -> Image:
        """The row (TILE_PX and a caption, 5 · TILE_PX, 3)."""
        surface, template = self.person.surface, self.person.body.mesh
        turned = rotated(surface, self.person.joints_3d.mean(axis=0), _OTHER_SIDE_RAD)
        tiles = (
            self.crop.cut(self.image, TILE_PX),
            self._tile(replace(surface, colours=None), self.crop),
            self._tile(surface, self.crop),
            self._tile(turned, self._around(turned)),
            self._tile(template, self._around(template)),
        )
        row = np.hstack(tiles)
        return np.vstack([caption(self.name, row.shape[1], _CAPTION_PX), row])

    def _around(self, mesh: SurfaceMesh) -> CropBox:
        """The square around a whole mesh, which may be cut off in the picture."""
        pixels = self.camera.project(mesh.vertices)
        return CropBox.around([*pixels.min(axis=0), *pixels.max(axis=0)], _WHOLE_MARGIN)

    def _tile(self, mesh: SurfaceMesh, crop: CropBox) -> Image:
        moved, camera = in_crop(mesh, self.camera, crop, _SUPERSAMPLING * TILE_PX)
        fine = render(moved, camera, _LIGHT)
        return np.asarray(cv2.resize(fine, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def heading() -> Image:
    """The names of the columns, as wide as a row."""
    return np.hstack([caption(name, TILE_PX, _CAPTION_PX) for name in COLUMNS])


def laid_out(rows: list[Image], rows_a_block: int) -> Image:
    """The sheet: blocks of rows beside each other, each under its heading."""
    blank = np.full_like(rows[0], 255)
    filled = [*rows, *[blank] * (-len(rows) % rows_a_block)]
    blocks = [filled[start : start + rows_a_block] for start in range(0, len(filled), rows_a_block)]
    return np.hstack([np.vstack([heading(), *block]) for block in blocks])
