"""Heads that fill the picture: `python -m tests.bench.talking_heads --webcam FOLDER` or `--photographs FOLDER`.

Clips of people before a webcam, and large faces of the training photographs `people`, over which a cut moves slowly;
cut to so many times the face's width, and enlarged to 512 × 512 pixels.  MediaPipe's landmarks are the truth.  Each
clip passes the sender as a file's frames do, and what nobody saw is generated as the receiver does.

    found_share        share of the frames with a person
    identities_mean    of a clip
    nose, eyes         median distance of the shown nose and eyes from the landmarks, over the height of the face
    nose_p95           of a frame in twenty
    turned_deg         median angle between the shown head and that of the landmarks
    height_m           median height of the bodies; distance_m of their heads
    arms_up_share      of the frames with unseen arms, those in which such an arm does not hang
    ms                 processor time a frame

`--out PNG` draws a frame of eight clips beside the body that is shown there.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from common.arrays import Float64Array, FloatArray, Image, IntArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput, BodyParameters, KeypointKinematics
from common.body.template import BodyTemplate
from common.errors import OutputError, UsageError
from common.frames import Camera, LabelFrame, unseen_limbs
from common.imaging.focal_length import guessed_focal_px
from common.labels import concatenate
from receiver.mesh.render import render
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.capture.source import CapturedFrame
from sender.capture.video import VideoFileSource
from sender.face.actions import FaceActions
from sender.face.landmarks import LEFT_CORNERS, RIGHT_CORNERS, FaceReader
from sender.face.region import region_of_keypoints
from sender.perception.config import TrackerConfig
from sender.perception.inference.similarity import similarity
from sender.train.photographs.dataset import held_out
from tests.bench import report
from tests.bench.face.people import LEAST_SCORE, read_faces
from tests.bench.perceived import FrameSender
from tests.support.motion.limbs_alone import LimbsAlone

_SIDE_PX, _FPS = 512, 30
_PHOTOGRAPH_FRAMES, _MOVED = 20, 0.06
_LEAST_EYES_PX, _TOP, _CHIN, _NOSE = 45.0, 10, 152, 4
_EYES = ([*RIGHT_CORNERS], [*LEFT_CORNERS])
# Shoulder, elbow and wrist.
_ARMS = {"left_arm": [5, 7, 9], "right_arm": [6, 8, 10]}
_COLUMNS = ("nose", "eyes", "turned_deg", "height_m", "distance_m")
# An arm hangs where the wrist is so far below the shoulder, over the length of the arm.
_HANGS = 0.75
_DRAWN, _TILE_PX = 8, 320


@dataclass(frozen=True, eq=False)
class Head:
    """A clip of one head: its frames, and of each the landmarks (468, 3), pixels; None where they were not found."""

    name: str
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


def webcam_heads(folder: Path, reader: FaceReader, widths: float) -> Iterator[Head]:
    """Each clip, cut to so many widths of the face about its median place."""
    sender = FrameSender(TrackerConfig(max_people=1))
    for path in sorted(folder.glob("*.mkv")):
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
        cuts = [cut_square(frame.image, centre, widths * width) for frame in frames]
        points = [moved(face.points, cut[1]) if face else None for face, cut in zip(faces, cuts, strict=True)]
        yield head(path.stem, [cut[0] for cut in cuts], points)


def photographed_heads(folder: Path, reader: FaceReader, widths: float, count: int) -> Iterator[Head]:
    """Large faces of the training photographs, over each of which the cut moves on a circle."""
    without = held_out([path.name for path in (folder / "images").glob("*.jpg")])
    for face in itertools.islice(read_faces(folder, reader, _LEAST_EYES_PX, without), count):
        points = face.landmarks.points
        centre, width = extent(points)
        turns = 2 * np.pi * np.arange(_PHOTOGRAPH_FRAMES) / _PHOTOGRAPH_FRAMES
        places = centre + _MOVED * width * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        cuts = [cut_square(face.image, place.astype(np.float32), widths * width) for place in places]
        yield head(f"{face.name} {face.annotation}", [cut[0] for cut in cuts], [moved(points, cut[1]) for cut in cuts])


def head(name: str, images: Sequence[Image], points: Sequence[FloatArray | None]) -> Head:
    camera = Camera(_SIDE_PX, _SIDE_PX, guessed_focal_px(_SIDE_PX, _SIDE_PX))
    frames = (CapturedFrame(row, name, row / _FPS, row / _FPS, image, camera) for row, image in enumerate(images))
    return Head(name, tuple(frames), tuple(points))


class ShownFaces:
    """The faces of labels."""

    def __init__(self) -> None:
        network, self.body, self.space = FaceActions.load(), BodyModel.load(), LabelSpace.load()
        self.kinematics, self.template = KeypointKinematics(self.body), network.template.numpy().astype(np.float64)
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
    def body_of(self, labels: FloatArray) -> tuple[BodyOutput, FloatArray]:
        """The body and its keypoints (17, 3)."""
        parameters = self.space.decode(torch.from_numpy(labels)[None])
        return self.body(parameters), self.kinematics(parameters)[0][0].numpy()

    def rotation(self, points: FloatArray, camera: Camera) -> Float64Array:
        """(3, 3) of the head whose landmarks (468, 3) these are, in the camera's axes."""
        turn, _, middle = similarity(self.template, points, self.weights)
        x, y = (middle[:2] - [camera.width / 2, camera.height / 2]) / camera.focal_px
        ray = np.array([x, y, 1.0]) / np.sqrt(1 + x * x + y * y)
        cross = np.cross([0.0, 0.0, 1.0], ray)
        matrix = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
        return np.asarray((np.eye(3) + matrix + matrix @ matrix / (1 + ray[2])) @ turn, np.float64)


class Run:
    """The sender on clips.

    Attributes:
        drawn: pictures of the first clips.
    """

    def __init__(self) -> None:
        self._sender, self._shown = FrameSender(TrackerConfig(max_people=8, least_height_share=0.4)), ShownFaces()
        self.drawn: list[Image] = []

    def figures(self, heads: Sequence[Head]) -> dict[str, float]:
        """Of all clips; prints each."""
        clips = [self._clip(head) for head in heads]
        rows = np.concatenate([clip.rows for clip in clips])
        frames, arms = sum(clip.frames for clip in clips), [up for clip in clips for up in clip.arms_up]
        medians = dict(zip(_COLUMNS, np.median(rows, axis=0).tolist(), strict=True)) if len(rows) else {}
        return {
            "clips": len(clips),
            "frames": frames,
            "found_share": sum(clip.found for clip in clips) / frames,
            "identities_mean": float(np.mean([len(clip.identities) for clip in clips])),
            **medians,
            "nose_p95": float(np.percentile(rows[:, 0], 95)) if len(rows) else float("nan"),
            "arms_up_share": float(np.mean(arms)) if arms else float("nan"),
            "ms": 1000 * sum(clip.took_s for clip in clips) / frames,
        }

    def _clip(self, head: Head) -> "Clip":
        limbs, begun = LimbsAlone(), time.process_time()
        labelled = list(self._sender.of_file(head.frames))
        clip = Clip(len(labelled), time.process_time() - begun)
        for frame, points in zip(labelled, head.points, strict=True):
            complete = limbs.complete(frame)
            clip.found += bool(frame.people)
            clip.identities |= {person.identity for person in frame.people}
            if complete.people:
                self._measure(clip, complete, points)
        print(f"{head.name}: {clip.found} of {clip.frames}, {clip.summary()}", flush=True)
        if len(self.drawn) < _DRAWN:
            self.drawn.append(self._drawn(head.frames[-1], complete))
        return clip

    def _measure(self, clip: "Clip", frame: LabelFrame, points: FloatArray | None) -> None:
        """Takes the first person of a frame with landmarks (468, 3)."""
        person = frame.people[0]
        labels = concatenate(person.labels)
        body, joints = self._shown.body_of(labels)
        for name, arm in _ARMS.items():
            if name in unseen_limbs(person):
                length = np.linalg.norm(np.diff(joints[arm], axis=0), axis=1).sum()
                clip.arms_up.append(bool(joints[arm[2], 1] - joints[arm[0], 1] < _HANGS * length))
        if points is None:
            return
        face = body.vertices[0].numpy()[self._shown.vertices]
        off = (frame.camera.project(face) - points[:, :2]) / np.linalg.norm(points[_TOP, :2] - points[_CHIN, :2])
        turn, _, _ = similarity(self._shown.template, face, self._shown.weights)
        cosine = (np.trace(turn.T @ self._shown.rotation(points, frame.camera)) - 1) / 2
        clip.rows.append(
            [
                float(np.linalg.norm(off[_NOSE])),
                float(np.mean([np.linalg.norm(off[pair].mean(axis=0)) for pair in _EYES])),
                float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
                self._shown.height_m(labels),
                float(face[_NOSE, 2]),
            ]
        )

    def _drawn(self, captured: CapturedFrame, frame: LabelFrame) -> Image:
        """The frame, the body over it, and the body as it is seen 3 m before another camera."""
        tiles = [captured.image]
        if frame.people:
            body, _ = self._shown.body_of(concatenate(frame.people[0].labels))
            vertices, faces = body.vertices[0].numpy(), self._shown.body.skin_faces.numpy().astype(np.int32)
            over = render(SurfaceMesh(vertices, faces), captured.camera, onto=captured.image)
            tiles.append(cv2.addWeighted(captured.image, 0.4, over, 0.6, 0).astype(np.uint8))
            centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2 + np.array([0, 0, 3], np.float32)
            tiles.append(render(SurfaceMesh(centred, faces), Camera(_SIDE_PX, _SIDE_PX, 1.4 * _SIDE_PX)))
        tiles += [np.full_like(captured.image, 128)] * (3 - len(tiles))
        small = [cv2.resize(tile, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA) for tile in tiles]
        return np.asarray(np.concatenate(small, axis=1), np.uint8)


@dataclass(eq=False)
class Clip:
    """What was seen of a clip: of each person and frame a row of `_COLUMNS`, of each unseen arm whether it is up."""

    frames: int
    took_s: float
    found: int = 0
    identities: set[int] = field(default_factory=set)
    rows: list[list[float]] = field(default_factory=list)
    arms_up: list[bool] = field(default_factory=list)

    def summary(self) -> str:
        medians = np.median(self.rows, axis=0).round(3).tolist() if self.rows else ()
        values = ", ".join(f"{name} {value}" for name, value in zip(_COLUMNS, medians, strict=False))
        return f"identities {sorted(self.identities)} {values}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("talking_heads", __doc__, 7)
    parser.add_argument("--webcam", type=Path, help="folder of clips, .mkv")
    parser.add_argument("--photographs", type=Path, help="the folder `people`")
    parser.add_argument("--widths", type=float, default=2.0, help="side of the cut over the face's width")
    parser.add_argument("--out", type=Path, metavar="PNG", help="draw eight clips")
    report.add_amount(parser, "--heads", "number of photographed heads", 40, 12, report.at_least(1))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    reader = FaceReader.load()
    if reader is None:
        raise UsageError("MediaPipe's networks are missing")
    run, systems = Run(), {}
    if options.photographs:
        heads = list(photographed_heads(options.photographs, reader, options.widths, options.heads))
        systems["photographs"] = run.figures(heads)
    if options.webcam:
        systems["webcam"] = run.figures(list(webcam_heads(options.webcam, reader, options.widths)))
    if options.out and run.drawn and not cv2.imwrite(str(options.out), np.concatenate(run.drawn)[..., ::-1]):
        raise OutputError(f"cannot write {options.out}")
    report.publish(options, systems, "heads that fill the picture")


if __name__ == "__main__":
    sys.exit(main())
