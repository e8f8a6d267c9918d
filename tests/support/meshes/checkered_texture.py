"""A texture of the body that nothing else in a scene looks like."""

import numpy as np

from common.arrays import ByteArray
from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from receiver.mesh.mesh_texture import MeshTexture, encode_jpeg
from receiver.texture.painting import template_corners

_GREEN, _MAGENTA = (20, 200, 30), (210, 20, 190)
_SQUARE_TEXELS = 16


def checkered_texture() -> MeshTexture:
    """Green and magenta squares."""
    body = BodyModel.load()
    corners = template_corners(body, BodyTemplate.from_model(body))
    squares = np.add.outer(*[np.arange(ATLAS_SIZE) // _SQUARE_TEXELS] * 2) % 2
    return MeshTexture(corners, encode_jpeg(np.array([_GREEN, _MAGENTA], np.uint8)[squares]))


def checkered_share(picture: ByteArray) -> float:
    """Share of the pixels (H, W, 3) that are clearly green or magenta, counting what there is less of twice."""
    red, green, blue = np.moveaxis(picture.astype(float) + 8, -1, 0)
    is_green, is_magenta = green > 1.6 * np.maximum(red, blue), np.minimum(red, blue) > 1.6 * green
    return 2 * float(min(is_green.mean(), is_magenta.mean()))
