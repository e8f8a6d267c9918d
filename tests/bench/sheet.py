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
from common.body.anatomy import COCO_BONES
from common.errors import OutputError
from common.frames import Camera
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.capture.source import CapturedFrame
from tests.bench.published_colours import PublishedColours
from tests.bench.whole_system import WholeSystem

_MOST_COLUMNS = 12
_LEFT, _RIGHT = (255, 140, 0), (0, 110, 255)


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
    """The four pictures of a column, each of the size of the picture."""
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
    """The picture with lines between keypoints: orange on people's left sides, blue elsewhere."""
    marked = pictured.picture.copy()
    thickness = max(1, round(max(marked.shape) / 240))
    for points in pictured.keypoints:
        for first, second in COCO_BONES:
            ends = [tuple(int(value) for value in points[joint].round()) for joint in (first, second)]
            colour = _LEFT if first % 2 and second % 2 else _RIGHT
            cv2.line(marked, ends[0], ends[1], colour, thickness, cv2.LINE_AA)
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
