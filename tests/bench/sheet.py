"""Sheets of pictures beside what was rebuilt of them.

Each has a column: what was sent, with the published keypoints if wanted, the surfaces in their colours, plain, and
plain from the other side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from common.arrays import FloatArray, Image
from common.errors import OutputError
from common.frames import Camera
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.capture.source import CapturedFrame
from sender.preview.draw import draw_skeletons
from tests.bench.published_colours import PublishedColours
from tests.bench.whole_system import WholeSystem

_MOST_COLUMNS = 12
# Longest side of a picture on which keypoints are drawn.
_MARKED_PX = 480


@dataclass(frozen=True, eq=False)
class Pictured:
    """A picture and what came of it.

    Args:
        picture: (H, W, 3) RGB.
        surfaces: of its people, in camera space.
        keypoints: (17, 2) pixels of each, drawn over the picture.
    """

    picture: Image
    camera: Camera
    surfaces: Sequence[SurfaceMesh]
    keypoints: Sequence[FloatArray] = ()


def pictured(frame: CapturedFrame, system: WholeSystem) -> Pictured:
    """A picture and the surfaces of its people, in their colours, after it has passed both daemons' stages."""
    sent, colours = system.send(frame), PublishedColours(stills=True)
    colours.update(frame.image, frame.camera, sent.observed, sent.labels.people)
    people = system.receive(sent, colours).people
    keypoints = [person.keypoints_2d[:, :2] for person in people]
    return Pictured(frame.image, sent.arrived.camera, [person.surface for person in people], keypoints)


def write_sheet(path: Path, pictured: Sequence[Pictured], tile_px: tuple[int, int]) -> None:
    """Writes a PNG file with at most 12 columns beside each other; tiles have a width and height in pixels.

    Raises:
        OutputError: it cannot be written.
    """
    columns = [np.concatenate([_fitted(each, tile_px) for each in tiles(one)]) for one in pictured]
    blank = np.full_like(columns[0], 255)
    wide = min(len(columns), _MOST_COLUMNS)
    columns += [blank] * (-len(columns) % wide)
    rows = [np.concatenate(columns[start : start + wide], axis=1) for start in range(0, len(columns), wide)]
    if not cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1]):
        raise OutputError(f"cannot write {path}")


def tiles(pictured: Pictured) -> list[Image]:
    """The four pictures of a column."""
    plain = [replace(mesh, colours=None) for mesh in pictured.surfaces]
    drawn = [_drawn(meshes, pictured.camera) for meshes in (pictured.surfaces, plain, [turned(mesh) for mesh in plain])]
    return [_marked(pictured), *drawn]


def turned(mesh: SurfaceMesh) -> SurfaceMesh:
    """A mesh from its other side."""
    middle = mesh.vertices.mean(0)
    return replace(mesh, vertices=((mesh.vertices - middle) * np.array([-1, 1, -1]) + middle).astype(np.float32))


def _drawn(meshes: Sequence[SurfaceMesh], camera: Camera) -> Image:
    """All of them on white, the farthest first."""
    canvas: Image = np.full((camera.height, camera.width, 3), 255, np.uint8)
    for mesh in sorted(meshes, key=lambda mesh: -float(mesh.vertices[:, 2].mean())):
        canvas = render(mesh, camera, onto=canvas)
    return canvas


def _marked(pictured: Pictured) -> Image:
    """The picture, not larger than lines of a few pixels need, with the keypoints of its people."""
    factor = min(1.0, _MARKED_PX / max(pictured.picture.shape))
    reduced = cv2.resize(pictured.picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    marked = np.asarray(reduced, np.uint8)
    everywhere = [np.ones(len(points), np.bool_) for points in pictured.keypoints]
    draw_skeletons(marked, [points * np.float32(factor) for points in pictured.keypoints], everywhere)
    return marked


def _fitted(image: Image, tile_px: tuple[int, int]) -> Image:
    """The picture reduced into a tile, with white around it."""
    width, height = tile_px
    factor = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    tile = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return tile
