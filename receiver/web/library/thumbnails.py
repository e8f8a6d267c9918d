"""Small pictures of the people of a session, drawn from its meshes: no camera's picture is kept."""

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.arrays import ByteArray, FloatArray
from common.frames import Camera
from receiver.mesh.mesh_reading import read_mesh
from receiver.mesh.render import depth_map, render
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import mesh_path

WIDTH, HEIGHT = 320, 240
_OVERSAMPLING = 2
# From so far that people are hardly distorted.
_DISTANCE_M = 12.0
_FILLED = 0.86
_MOST_PEOPLE = 6


def first_thumbnail(out: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    """The picture of the first line of `frames.jsonl` that has one, if there is one."""
    yield from itertools.islice(filter(None, (thumbnail(out, json.loads(line)) for line in lines)), 1)


def thumbnail(out: Path, line: Mapping[str, Any]) -> bytes | None:
    """A picture, WebP on nothing, of the people of a line of `frames.jsonl`; None if no mesh of them can be read."""
    meshes = _meshes(out, line)
    if not meshes:
        return None
    points = np.concatenate([mesh.vertices for mesh in meshes])
    low, high = points.min(axis=0), points.max(axis=0)
    away: FloatArray = np.array([0.0, 0.0, _DISTANCE_M], np.float32) - ((low + high) / 2).astype(np.float32)
    width, height = _OVERSAMPLING * WIDTH, _OVERSAMPLING * HEIGHT
    extent = np.maximum(high - low, 0.2)
    nearest_m = _DISTANCE_M - extent[2] / 2
    focal_px = _FILLED * nearest_m * min(width / extent[0], height / extent[1])
    camera = Camera(width, height, float(focal_px))
    canvas: ByteArray = np.zeros((height, width, 3), np.uint8)
    shown = np.zeros((height, width), np.bool_)
    # Painter's algorithm: the farthest first.
    for mesh in sorted(meshes, key=lambda mesh: -float(mesh.vertices[:, 2].mean())):
        moved = replace(mesh, vertices=(mesh.vertices + away).astype(np.float32))
        canvas = render(moved, camera, onto=canvas)
        shown |= depth_map(moved, camera) > 0
    picture = io.BytesIO()
    drawn = np.dstack([canvas, np.where(shown, 255, 0).astype(np.uint8)])
    Image.fromarray(drawn).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(picture, "WEBP", quality=82)
    return picture.getvalue()


def _meshes(out: Path, line: Mapping[str, Any]) -> Sequence[SurfaceMesh]:
    found = []
    for person in line["people"][:_MOST_PEOPLE]:
        for kind in ("surface", "body"):
            try:
                path = mesh_path(person[kind])
                if path is not None:
                    found.append(read_mesh(out / path))
                    break
            except (ValueError, KeyError, TypeError):
                continue
    return found
