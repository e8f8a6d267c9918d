"""Heads that fill the picture: `python -m tests.bench.talking_heads --webcam FOLDER`.

Clips of people before a webcam, cut to twice the face's width, and enlarged to 512 × 512 pixels.  MediaPipe's
landmarks are the truth.  Each clip passes the sender as a file's frames do.

    found_share        share of the frames with a person
    identities_mean    of a clip
    nose, eyes         median distance of the shown nose and eyes from the landmarks, over the height of the face
    nose_p95           of a frame in twenty
    turned_deg         median angle between the shown head and that of the landmarks
    height_m           median height of the bodies
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from common.arrays import Float64Array, FloatArray, Image, IntArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput, BodyParameters
from common.body.template import BodyTemplate
from common.errors import UsageError
from common.frames import Camera, LabelFrame
from common.imaging.pictures import guessed_focal_px
from common.labels import concatenate
from sender.capture.source import CapturedFrame
from sender.capture.video import VideoFileSource
from sender.config import TrackerConfig
from sender.face.actions import FaceActions
from sender.face.landmarks import LEFT_CORNERS, RIGHT_CORNERS, FaceReader, region_of_keypoints
from sender.perception.crop import similarity
from tests.bench import report
from tests.bench.face.people import LEAST_SCORE
from tests.bench.measures import percentile
from tests.bench.perceived import FrameSender

_SIDE_PX, _WIDTHS, _FPS, _QUICK_CLIPS = 512, 2.0, 30, 3
_TOP, _CHIN, _NOSE = 10, 152, 4
_EYES = ([*RIGHT_CORNERS], [*LEFT_CORNERS])
_COLUMNS = ("nose", "eyes", "turned_deg", "height_m")


@dataclass(frozen=True, eq=False)
class Head:
    """A clip of one head: its frames, and of each the landmarks (468, 3), pixels; None where they were not found."""

    frames: tuple[CapturedFrame, ...]
    points: tuple[FloatArray | None, ...]


def cut_square(image: Image, centre: FloatArray, side: float) -> tuple[Image, FloatArray]:
    """A square of a picture, enlarged, and the (2, 3) matrix that brings pixels there.

    It is moved into the picture, and is smaller where it is larger than that: nothing is black.
    """
    height, width = image.shape[:2]
    side = min(side, height, width)
    corner = np.clip(centre - side / 2, 0, [width - side, height - side])
    scale = _SIDE_PX / side
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]], np.float64)
    shifted = matrix + [[0, 0, scale / 2 - 0.5]] * 2
    cut = cv2.warpAffine(image, shifted, (_SIDE_PX, _SIDE_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8), np.asarray(matrix, np.float32)


def moved(points: FloatArray, matrix: FloatArray) -> FloatArray:
    """Landmarks (468, 3) where a matrix of `cut_square` brings them."""
    return np.concatenate([points[:, :2] @ matrix[:, :2].T + matrix[:, 2], points[:, 2:] * matrix[0, 0]], axis=1)


def extent(points: FloatArray) -> tuple[FloatArray, float]:
    """Middle (2,) and width of a face's landmarks."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return (low + high) / 2, float(high[0] - low[0])


def webcam_heads(folder: Path, reader: FaceReader, most: int | None) -> Iterator[Head]:
    """Each clip, cut about the median place of the face."""
    sender = FrameSender(TrackerConfig(max_people=1))
    for path in sorted(folder.glob("*.mkv"))[:most]:
        with VideoFileSource(path) as source:
            frames = list(source)
        faces, region = [], None
        for frame in frames:
            if region is None:
                observed = sender.stages.perceive(frame).observed
                if observed:
                    pixels = observed[0].crop.to_pixels(observed[0].output.keypoints_2d[0].numpy())
                    first = reader.read(frame.image, region_of_keypoints(pixels))
                    region = first.region if first else None
            face = None if region is None else reader.read(frame.image, region, LEAST_SCORE)
            faces.append(face)
            region = face.region if face else None
        extents = [extent(face.points) for face in faces if face]
        if not extents:
            continue
        centre, width = np.median([one[0] for one in extents], axis=0), float(np.median([one[1] for one in extents]))
        cuts = [cut_square(frame.image, centre, _WIDTHS * width) for frame in frames]
        points = [moved(face.points, cut[1]) if face else None for face, cut in zip(faces, cuts, strict=True)]
        yield head(path.stem, [cut[0] for cut in cuts], points)


def head(name: str, images: Sequence[Image], points: Sequence[FloatArray | None]) -> Head:
    camera = Camera(_SIDE_PX, _SIDE_PX, guessed_focal_px(_SIDE_PX, _SIDE_PX))
    frames = (CapturedFrame(row, name, row / _FPS, row / _FPS, image, camera) for row, image in enumerate(images))
    return Head(tuple(frames), tuple(points))


class ShownFaces:
    """The faces of labels."""

    def __init__(self) -> None:
        network, self.body, self.space = FaceActions.load(), BodyModel.load(), LabelSpace.load()
        self.template = network.template.numpy().astype(np.float64)
        self.weights = network.weights.numpy().astype(np.float64)
        self.weights /= self.weights.sum()
        self.vertices = self._vertices()

    def _vertices(self) -> IntArray:
        """(468,) of the template at the landmarks, which lie on its surface but for a shift."""
        rest = BodyTemplate.from_model(self.body).rest.astype(np.float64)
        tree, shift = cKDTree(rest), np.array([0.0, -0.69, -0.14])
        for _ in range(30):
            _, nearest = tree.query(self.template + shift)
            shift = shift + np.median(rest[nearest] - self.template - shift, axis=0)
        mesh = BodyTemplate.from_model(self.body)
        place = np.asarray(mesh.place)
        back = np.full(len(rest), -1)
        back[place[place >= 0]] = np.flatnonzero(place >= 0)
        return np.asarray(back[tree.query(self.template + shift)[1]])

    def height_m(self, labels: FloatArray) -> float:
        """How tall the person stands."""
        shape = self.space.decode(torch.from_numpy(labels)[None]).shape
        vertices = self.body(replace(BodyParameters.rest(), shape=shape)).vertices[0, :, 1]
        return float(vertices.max() - vertices.min())

    @torch.inference_mode()
    def body_of(self, labels: FloatArray) -> BodyOutput:
        body: BodyOutput = self.body(self.space.decode(torch.from_numpy(labels)[None]))
        return body

    def rotation(self, points: FloatArray, camera: Camera) -> Float64Array:
        """(3, 3) of the head whose landmarks (468, 3) these are, in the camera's axes."""
        turn, _, middle = similarity(self.template, points, self.weights)
        x, y = (middle[:2] - [camera.width / 2, camera.height / 2]) / camera.focal_px
        ray = np.array([x, y, 1.0]) / np.sqrt(1 + x * x + y * y)
        cross = np.cross([0.0, 0.0, 1.0], ray)
        matrix = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
        return np.asarray((np.eye(3) + matrix + matrix @ matrix / (1 + ray[2])) @ turn, np.float64)


class Run:
    """The sender on clips."""

    def __init__(self) -> None:
        self._sender, self._shown = FrameSender(TrackerConfig(max_people=8, least_height_share=0.4)), ShownFaces()

    def figures(self, heads: Sequence[Head]) -> dict[str, float]:
        """Of all clips."""
        found, identities, rows = list[bool](), list[int](), list[list[float]]()
        for head in heads:
            labelled = list(self._sender.of_file(head.frames))
            found += [bool(frame.people) for frame in labelled]
            identities.append(len({person.identity for frame in labelled for person in frame.people}))
            pairs = zip(labelled, head.points, strict=True)
            rows += [self._measured(frame, points) for frame, points in pairs if frame.people and points is not None]
        columns = np.array(rows).reshape(-1, len(_COLUMNS))
        return {
            "clips": len(heads),
            "frames": len(found),
            "found_share": float(np.mean(found)),
            "identities_mean": float(np.mean(identities)),
            **{name: percentile(column, 50) for name, column in zip(_COLUMNS, columns.T, strict=True)},
            "nose_p95": percentile(columns[:, 0], 95),
        }

    def _measured(self, frame: LabelFrame, points: FloatArray) -> list[float]:
        """`_COLUMNS` of the first person of a frame with landmarks (468, 3)."""
        labels = concatenate(frame.people[0].labels)
        body = self._shown.body_of(labels)
        face = body.vertices[0].numpy()[self._shown.vertices]
        off = (frame.camera.project(face) - points[:, :2]) / np.linalg.norm(points[_TOP, :2] - points[_CHIN, :2])
        turn, _, _ = similarity(self._shown.template, face, self._shown.weights)
        cosine = (np.trace(turn.T @ self._shown.rotation(points, frame.camera)) - 1) / 2
        return [
            float(np.linalg.norm(off[_NOSE])),
            float(np.mean([np.linalg.norm(off[pair].mean(axis=0)) for pair in _EYES])),
            float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
            self._shown.height_m(labels),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("talking_heads", __doc__, 7)
    parser.add_argument("--webcam", type=Path, required=True, help="folder of clips, .mkv")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    reader = FaceReader.load()
    if reader is None:
        raise UsageError("MediaPipe's networks are missing")
    heads = list(webcam_heads(options.webcam, reader, _QUICK_CLIPS if options.quick else None))
    report.publish(options, {"webcam": Run().figures(heads)}, "heads that fill the picture")


if __name__ == "__main__":
    sys.exit(main())
