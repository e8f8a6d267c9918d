"""Textures of meshes: a picture, and where in it each corner of each triangle is."""

import io
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from PIL import Image as Picture

from common.arrays import ByteArray, FloatArray, Int32Array, IntArray
from common.texture.atlas import sample

_JPEG_QUALITY = 90
_MAX_PIXELS = 4096**2


@dataclass(frozen=True, slots=True, eq=False)
class TextureCorners:
    """Vertices of a mesh with texture coordinates: the mesh's own in their order, then copies of those on seams.

    Args:
        vertex: (N,) indices into the mesh's vertices; the first V are 0…V − 1.
        coordinates: (N, 2) texture coordinates, 0…1, v downwards.
        faces: (F, 3) int32 indices into these vertices, in the order of the mesh's faces.
    """

    vertex: IntArray
    coordinates: FloatArray
    faces: Int32Array

    @classmethod
    def from_triangles(cls, faces: Int32Array, coordinates: FloatArray) -> Self:
        """From triangles (F, 3) and the texture coordinates (F, 3, 2) of their corners."""
        across, down = np.rint(coordinates.reshape(-1, 2).T * 65536).astype(np.int64)
        # One number of a corner takes a quarter of the time of a row of three.
        keys = (faces.ravel().astype(np.int64) << 34) + (across << 17) + down
        _, chosen, inverse = np.unique(keys, return_index=True, return_inverse=True)
        vertex = faces.ravel()[chosen].astype(np.int64)
        _, first = np.unique(vertex, return_index=True)
        order = np.concatenate([first, np.setdiff1d(np.arange(len(vertex)), first)])
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        return cls(vertex[order], coordinates.reshape(-1, 2)[chosen[order]], place[inverse.reshape(-1, 3)])


def originals(vertices: FloatArray) -> IntArray:
    """(N,) which vertex of a textured mesh (N, 3) each is a copy of; vertices that are no copies come first."""
    _, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    original: IntArray = first[inverse.ravel()]
    return original


@dataclass(frozen=True, slots=True, eq=False)
class MeshTexture:
    """A texture of one mesh.

    Args:
        corners: where the mesh's triangles are in the picture.
        jpeg: the picture, sRGB.
        unseen_share: share of the skin's texels whose colours are estimated, because no camera has seen them, 0…1; None
            if that is not known.
        unseen: attributes of `wears` (`layer`, `bottom`, `shoes`) of whose garments next to nothing was seen.
    """

    corners: TextureCorners
    jpeg: bytes
    unseen_share: float | None = None
    unseen: tuple[str, ...] = ()


def encode_jpeg(image: ByteArray) -> bytes:
    """(H, W, 3) RGB → JPEG."""
    done, content = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    assert done
    return content.tobytes()


def sample_jpeg(jpeg: bytes, coordinates: FloatArray) -> ByteArray:
    """(N, 3) colours of a picture at texture coordinates (N, 2). Raises ValueError if it is no picture."""
    return np.rint(sample(decode_jpeg(jpeg), coordinates)).astype(np.uint8)


def decode_jpeg(jpeg: bytes) -> ByteArray:
    """JPEG → (H, W, 3) RGB. Raises ValueError if it is no picture, or too large for a texture."""
    try:
        with Picture.open(io.BytesIO(jpeg), formats=("JPEG",)) as head:
            if head.width * head.height > _MAX_PIXELS:
                raise ValueError(f"the texture has {head.width} × {head.height} pixels")
    except (OSError, SyntaxError, Picture.DecompressionBombError) as error:
        raise ValueError("the texture is no picture") from error
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the texture is no picture")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
