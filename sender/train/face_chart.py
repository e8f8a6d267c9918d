"""Writes the chart of faces (`common.texture.face_picture`): `python -m sender.train.face_chart`.

Landmarks are where the template shows them from the front; the lower lip, and what is below it, is moved down, so that
there is a place between the lips.  Vertices of the body lie between landmarks as they do in the atlas, and those of the
eyes where they are seen from the front.

Shapes of landmarks are principal components of those that faces in photographs have, as they are and turned.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator

from common.arrays import BoolArray, Float64Array, FloatArray, Int32Array, IntArray
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from common.texture.face_picture import SHAPE_BYTES, FaceChart, LandmarkShapes, laid_over
from sender.face.landmarks import TEMPLATE_AT_M, FaceDetector, FaceReader, face_px, read_closely
from sender.texture.face_placing import FacePlacing, load_face_placing

# How far the middle of the lower lip is moved, and the share of it that the chin is not.
_OPEN_M, _CHIN_SHARE = 0.012, 0.65
# Loops of the mouth's lining from the lips to where the teeth end behind.
_LOOPS = 6
# So far from the corners towards the middle the lining is shown, metres.
_CORNER_M = 0.004
# Corners, chin, and the middles of the inner borders of the lips among the landmarks; those of the upper lip, which
# stays, and those of the inner border of the lower one, which are beside the line between the lips.
_CORNERS, _CHIN, _INNER = [61, 291], 152, [13, 14]
_UPPER = [0, 11, 12, 13, 37, 38, 39, 40, 41, 42, 72, 73, 74, 80, 81, 82, 183, 184, 185, 191]
_UPPER += [267, 268, 269, 270, 271, 272, 302, 303, 304, 310, 311, 312, 407, 408, 409, 415]
_LOWER = [14, 87, 88, 95, 178, 317, 318, 324, 402]
_BEYOND_CORNERS = 1.08
# The inner borders of both lips, from corner to corner.
_UPPER_LINE = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
_LOWER_LINE = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
_MARGIN = 0.025
# Of the chart, from its edge to where a face is opaque; cosines to the front between which it becomes so.
_FADE, _EDGE_ON, _FRONT = 0.07, 0.3, 0.6
# Photographed faces of so many pixels, read so surely; how far and how often they are turned, about the vertical and
# across; and steps of a component within its standard deviation.
_LEAST_PX, _LEAST_SCORE = 40.0, 0.6
_TURNED_DEG, _TURNS, _STEPS = (18.0, 10.0), 5, 32


def landmarks(template: FloatArray) -> Float64Array:
    """(468, 2) in metres from the front, with an open mouth, of the template (468, 3)."""
    x, y, _ = template.T.astype(np.float64)
    line, corner = y[_INNER].mean(), _BEYOND_CORNERS * np.abs(x[_CORNERS]).mean()
    moves: BoolArray = y > line
    moves[_UPPER], moves[_LOWER] = False, True
    down = np.clip((y - line) / (y[_CHIN] - line), 0, 1)
    shift = _OPEN_M * np.clip(1 - np.square(x / corner), 0, 1) * (1 - _CHIN_SHARE * down)
    return np.column_stack([x, y + moves * shift])


def chart(body: BodyModel, placing: FacePlacing) -> FaceChart:
    """What is in the file."""
    at = landmarks(placing.template)
    low, high = at.min(axis=0), at.max(axis=0)
    scale = (1 - 2 * _MARGIN) / (high - low).max()

    def placed(metres: FloatArray | Float64Array) -> FloatArray:
        return np.asarray((metres - (low + high) / 2) * scale + 0.5, np.float32)

    template = BodyTemplate.from_model(body)
    eyes = np.concatenate(placing.eyes)
    chosen = np.union1d(placing.among, eyes)
    places = placed(placing.between[chosen] @ at)
    is_eye = np.isin(chosen, eyes)
    places[is_eye] = placed(placing.rest[chosen[is_eye], :2])
    mouth = ~template.outside[template.place[placing.vertices[chosen]]] & ~is_eye
    chosen, places, is_eye = chosen[~mouth], places[~mouth], is_eye[~mouth]
    hull = cv2.convexHull(placed(at))
    inside = np.array([cv2.pointPolygonTest(hull, (float(x), float(y)), True) for x, y in places])
    facing = -placing.normals[chosen, 2]
    vertex = template.place[placing.vertices[chosen]]
    facing[is_eye] = 1  # linings face anywhere
    follows = _smooth(inside / _FADE)
    opacity = follows * _smooth((facing - _EDGE_ON) / (_FRONT - _EDGE_ON))
    kept = (vertex >= 0) & (follows > 0)
    inner, between, before, shown = _mouth(template, template.place[body.eyes.numpy()].ravel(), placing.template, at)
    return FaceChart(
        placed(at),
        np.concatenate([vertex[kept], inner]).astype(np.int64),
        np.concatenate([places[kept], placed(between)]),
        np.concatenate([opacity[kept], shown]).astype(np.float32),
        np.concatenate([places[kept], placed(before)]),
        np.concatenate([follows[kept], np.ones(len(inner))]).astype(np.float32),
    )


def _mouth(
    template: BodyTemplate, eyes: Int32Array, points: FloatArray, at: Float64Array
) -> tuple[IntArray, Float64Array, Float64Array, Float64Array]:
    """(M,) vertices of the mouth's lining, (M, 2) places, (M, 2) those that they follow, and (M,) opacities.

    The farther from the lips, the nearer to their middle; what is behind the teeth moves with the skin before it, and
    what is behind the cheeks shows nothing.
    """
    lining = ~template.outside
    lining[eyes] = False
    depth, reached = np.full(len(template), _LOOPS), template.outside
    for loop in range(_LOOPS):
        following = (template.adjacency @ reached > 0) & lining & (depth == _LOOPS)
        depth[following], reached = loop, following
    inner = np.flatnonzero(lining)
    x, y = template.rest[inner, 0], template.rest[inner, 1]
    upper, lower = (np.interp(x, *at[row].T) for row in (_UPPER_LINE, _LOWER_LINE))
    is_upper = y < template.rest[np.flatnonzero(lining & (depth == 0)), 1].mean()
    share = depth[inner] / (2 * _LOOPS)
    down = np.where(is_upper, upper + share * (lower - upper), lower - share * (lower - upper))
    deep = np.clip(depth[inner] / _LOOPS, 0, 1)[:, None]
    front = template.rest[inner, :2] - np.array(TEMPLATE_AT_M[:2])
    before = LinearNDInterpolator(points[:, :2], at)(front)
    behind = np.where(np.isfinite(before), before, front)
    places = np.column_stack([x, down])
    shown = _smooth((np.abs(points[_CORNERS, 0]).mean() - np.abs(x)) / _CORNER_M)
    shown[depth[inner] == 0] = 1
    return inner, places, (1 - deep) * places + deep * behind, shown


def _smooth(share: FloatArray | Float64Array) -> Float64Array:
    """0 up to 0, 1 from 1 on, level at both."""
    clipped = np.clip(share, 0, 1).astype(np.float64)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def shapes(faces: Sequence[FloatArray], mean: FloatArray, seed: int) -> LandmarkShapes:
    """Of landmarks (468, 3) of photographed faces, each as it is and turned `_TURNS` times.

    Args:
        mean: (468, 2) that all are laid over, metres.
    """
    rng = np.random.default_rng(seed)
    laid = [laid_over(_turned(face, rng if turn else None), mean) for face in faces for turn in range(1 + _TURNS)]
    flat = np.stack(laid).reshape(len(laid), -1).astype(np.float64)
    middle = flat.mean(axis=0)
    components = np.linalg.svd(flat - middle, full_matrices=False)[2][:SHAPE_BYTES]
    steps = ((flat - middle) @ components.T).std(axis=0) / _STEPS
    basis = (components * steps[:, None]).reshape(SHAPE_BYTES, *mean.shape)
    return LandmarkShapes(middle.reshape(mean.shape).astype(np.float32), basis.astype(np.float32))


def _turned(face: FloatArray, rng: np.random.Generator | None) -> FloatArray:
    """(468, 2) of a face (468, 3), turned by chance."""
    centred = face - face.mean(axis=0)
    if rng is None:
        return np.asarray(centred[:, :2], np.float32)
    yaw, pitch = np.radians(rng.normal(0, _TURNED_DEG))
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return np.asarray((centred @ about_y.T @ about_x.T)[:, :2], np.float32)


@torch.inference_mode()
def read_faces(folders: Sequence[Path]) -> Iterator[FloatArray]:
    """Landmarks (468, 3) of the large faces in the photographs of folders."""
    detector, reader = FaceDetector.load(), FaceReader.load()
    if detector is None or reader is None:
        raise SystemExit("MediaPipe's networks are missing: `sender doctor` says more")
    for path in (path for folder in folders for path in sorted(folder.rglob("*.jpg"))):
        stored = cv2.imread(str(path))
        if stored is None:
            continue
        image = np.ascontiguousarray(stored[..., ::-1], np.uint8)
        for found in detector.find(image):
            if face_px(found) >= _LEAST_PX:
                face = read_closely(reader, image, found, _LEAST_SCORE, _LEAST_SCORE)
                if face is not None:
                    yield face.points


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, nargs="+", required=True, help="folders of photographs")
    parser.add_argument("--out", type=Path, default=Path("common/texture/face_chart.npz"), help="file to write")
    options, body = parser.parse_args(arguments), BodyModel.load()
    placing = load_face_placing(body)
    made, faces = chart(body, placing), list(read_faces(options.photographs))
    found = shapes(faces, placing.template[:, :2], seed=0)
    print(f"{len(faces)} faces; a step of the first component moves landmarks by up to {_most_mm(found):.1f} mm")
    np.savez_compressed(
        options.out,
        landmarks=made.landmarks,
        vertices=made.vertices,
        places=made.places,
        opacity=made.opacity,
        followed=made.followed,
        follows=made.follows,
        shape_mean=found.mean,
        shape_basis=found.basis.astype(np.float16),
    )


def _most_mm(found: LandmarkShapes) -> float:
    return float(1e3 * np.linalg.norm(found.basis[0], axis=1).max())


if __name__ == "__main__":
    main()
