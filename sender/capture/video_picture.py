"""The picture that a decoded frame of a video shows."""

import av
import numpy as np
from av.sidedata.sidedata import SideData
from PIL import Image as PillowImage

from common.arrays import Image
from common.imaging.orientation import orientation_of_matrix, upright
from common.imaging.rgb import to_rgb
from sender.capture.source import check_size
from sender.capture.tone_mapping import is_hdr, tone_mapped

# Wider and narrower pixels are an error in the file.
_MAX_PIXEL_ASPECT = 4.0
_MATRIX_BYTES = 36


def upright_rgb(frame: av.VideoFrame, pixel_aspect: float = 1.0) -> Image:
    """A decoded frame as (H, W, 3) RGB with square pixels, turned and mirrored as its display matrix says.

    Transparent pixels become white.

    Args:
        pixel_aspect: width of a pixel over its height; the narrower side is stretched.

    Raises:
        SourceError: the frame is too large.
    """
    stretch_x = pixel_aspect if 1.0 < pixel_aspect <= _MAX_PIXEL_ASPECT else 1.0
    stretch_y = 1.0 / pixel_aspect if 1.0 / _MAX_PIXEL_ASPECT <= pixel_aspect < 1.0 else 1.0
    width, height = round(frame.width * stretch_x), round(frame.height * stretch_y)
    check_size(width, height)
    if is_hdr(frame):
        image = tone_mapped(frame, width, height)
    elif any(component.is_alpha for component in frame.format.components):
        pixels = frame.to_ndarray(format="rgba", width=width, height=height)
        image = np.asarray(to_rgb(PillowImage.fromarray(pixels, "RGBA")))
    else:
        image = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData) or matrix.buffer_size != _MATRIX_BYTES:
        return np.ascontiguousarray(image)
    return upright(image, orientation_of_matrix(np.frombuffer(bytes(matrix), np.int32).tolist()))
