"""Faces of clips that a person has judged, frame by frame, as the sender labels them.

Each clip is also cut to twice the face's width and enlarged to 512 pixels: a talking head.  Where the face is then
follows from what perception finds in the whole picture.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from common.arrays import BoolArray, FloatArray, Image
from common.body.anatomy import FACIAL_ACTIONS, SHAPE_SIZE
from common.body.faces import ExpressionSpace
from common.frames import Camera
from common.labels import concatenate
from sender.capture.video import VideoFileSource
from sender.config import TrackingConfig
from sender.face.face_reader import FaceStage
from sender.face.landmarks import FaceLandmarks, face_px, region_of_keypoints
from sender.people.view import PeopleView, PersonView, ReadingSchedule
from sender.perception.crop import CropBox
from sender.perception.perception_stage import PerceptionStage
from sender.perception.track import ObservedPerson

_FOLDER = Path(__file__).parent
JUDGED, BLINKS = _FOLDER / "judged_clips.tsv", _FOLDER / "judged_blinks.tsv"
"""Frames: lips (touch, parted) and both eyes (open, closed).  Blinks: first and last frame, for `?` perhaps one."""
_JAW, _LEFT, _RIGHT = (FACIAL_ACTIONS.index(name) for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"))
_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN = 13, 14, 10, 152
# Most of `jawOpen` where lips touch, of `eyeBlink` on an open eye; least mean of both eyes in a blink.
_SHUT, _OPEN, _BLINKING = 0.1, 0.2, 0.4
# So many frames beside a judged blink are no other one; clips in which the lips move less say nothing about following.
_BESIDE, _MOVING = 3, 0.03
_CUT_PX, _CUT_WIDTHS = 512, 2.0


@dataclass(frozen=True, slots=True)
class Clip:
    """What the sender reads of one face: activations (N, 52) and the lips' opening over the face's height (N,).

    Both are not a number where the face is not read.
    """

    activations: FloatArray
    opening: FloatArray


@dataclass(slots=True)
class _Scores:
    shut: list[bool] = field(default_factory=list)
    opened: list[bool] = field(default_factory=list)
    parted: list[float] = field(default_factory=list)
    blinks: list[bool] = field(default_factory=list)
    false: int = 0
    frames: int = 0
    followed: list[float] = field(default_factory=list)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a judged file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def read_clips(folder: Path, names: Sequence[str]) -> tuple[dict[str, Clip], dict[str, Clip]]:
    """The clips of a folder as they are, and cut to talking heads."""
    perception, space = PerceptionStage.load(TrackingConfig(quality="full")), ExpressionSpace.load()
    whole, cut = FaceStage.load(), FaceStage.load()
    if whole is None or cut is None:
        raise ValueError("MediaPipe's networks are missing")
    clips: tuple[dict[str, Clip], dict[str, Clip]] = ({}, {})
    for name in names:
        perception.reset()
        with VideoFileSource(folder / f"{name}.mkv") as source:
            frames = [
                (frame.image, frame.media_time_s or 0.0, perception.process(frame.image, frame.camera)[:1])
                for frame in source
            ]
        place = _place([people[0] for _, _, people in frames if people])
        for stage, found, views in ((whole, clips[0], frames), (cut, clips[1], _cut(frames, place))):
            schedule = ReadingSchedule()
            rows = [_read(stage, space, schedule, *view) for view in views]
            found[name] = Clip(*(np.stack(column) for column in zip(*rows, strict=True)))
    return clips


_Frame = tuple[Image, float, tuple[ObservedPerson, ...]]


def _place(people: Sequence[ObservedPerson]) -> tuple[float, float, float]:
    """Left and top of a square that is twice as wide as the face, and its side, pixels."""
    regions = [region_of_keypoints(each.crop.to_pixels(np.asarray(each.output.keypoints_2d[0]))) for each in people]
    x, y = np.median([region.centre for region in regions], axis=0)
    side = _CUT_WIDTHS * float(np.median([face_px(region) for region in regions]))
    return x - side / 2, y - side / 2, side


def _cut(frames: Sequence[_Frame], place: tuple[float, float, float]) -> Iterator[_Frame]:
    x, y, side = place
    scale = _CUT_PX / side
    matrix = np.array([[scale, 0, -scale * x], [0, scale, -scale * y]])
    for image, time_s, people in frames:
        picture = np.asarray(cv2.warpAffine(image, matrix, (_CUT_PX, _CUT_PX), flags=cv2.INTER_LINEAR), np.uint8)
        yield picture, time_s, tuple(replace(each, crop=_scaled(each.crop, scale, x, y)) for each in people)


def _scaled(crop: CropBox, scale: float, x: float, y: float) -> CropBox:
    left, top, side = (round(scale * value) for value in (crop.left - x, crop.top - y, crop.side))
    return CropBox(left, top, side, crop.roll)


def _read(
    stage: FaceStage,
    space: ExpressionSpace,
    schedule: ReadingSchedule,
    image: Image,
    time_s: float,
    people: tuple[ObservedPerson, ...],
) -> tuple[FloatArray, FloatArray]:
    schedule.begin(time_s)
    bare = [PersonView(each, {"shape": np.zeros(SHAPE_SIZE, np.float32)}) for each in people]
    height, width = image.shape[:2]
    stage.label(PeopleView(image, Camera(width, height, float(width)), bare, schedule))
    labelled = [each.finished for each in bare]
    if not labelled or labelled[0].face_landmarks is None:
        return np.full(len(FACIAL_ACTIONS), np.nan, np.float32), np.full((), np.nan, np.float32)
    labels = torch.from_numpy(concatenate(labelled[0].labels))[None]
    return space.activations(labels)[0].numpy(), _opening(FaceLandmarks.from_array(labelled[0].face_landmarks))


def _opening(face: FaceLandmarks) -> FloatArray:
    upper, lower, forehead, chin = face.points[[_UPPER_LIP, _LOWER_LIP, _FOREHEAD, _CHIN], :2]
    return np.asarray(np.hypot(*(upper - lower)) / np.hypot(*(forehead - chin)), np.float32)


def figures(clips: dict[str, Clip], fps: float = 30.0) -> dict[str, float]:
    """What `python -m tests.bench.face --clips` says of judged clips."""
    scores = _Scores()
    for row in rows_of(JUDGED):
        _judge(scores, row, clips[row["clip"]].activations[int(row["frame"])])
    for name, clip in clips.items():
        scores.frames += len(clip.activations)
        _count_blinks(scores, clip, [row for row in rows_of(BLINKS) if row["clip"] == name])
        seen = np.isfinite(clip.opening)
        if np.ptp(clip.opening[seen]) > _MOVING:
            scores.followed.append(_correlation(clip.activations[seen, _JAW], clip.opening[seen]))
    opening = np.concatenate([clip.opening for clip in clips.values()])
    jaw = np.concatenate([clip.activations[:, _JAW] for clip in clips.values()])
    seen = np.isfinite(opening)
    return {
        "lips_shut": float(np.mean(scores.shut)),
        "jaw_parted": float(np.median(scores.parted)),
        "eyes_open": float(np.mean(scores.opened)),
        "blinks_share": float(np.mean(scores.blinks)),
        "false_a_minute": scores.false / (scores.frames / fps / 60),
        "jaw_follows": _correlation(jaw[seen], opening[seen]),
        "jaw_follows_in_clip": float(np.median(scores.followed)),
    }


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """0 where one does not change."""
    return float(np.corrcoef(one, other)[0, 1]) if one.std() > 0 < other.std() else 0.0


def _judge(scores: _Scores, row: dict[str, str], activations: FloatArray) -> None:
    if np.isnan(activations).any():
        return
    if row["lips"] == "touch":
        scores.shut.append(bool(activations[_JAW] <= _SHUT))
    if row["lips"] == "parted":
        scores.parted.append(float(activations[_JAW]))
    for eye, action in (("left", _LEFT), ("right", _RIGHT)):
        if row[eye] == "open":
            scores.opened.append(bool(activations[action] <= _OPEN))


def _count_blinks(scores: _Scores, clip: Clip, judged: Sequence[dict[str, str]]) -> None:
    closed = np.nan_to_num(clip.activations[:, [_LEFT, _RIGHT]].mean(axis=1)) >= _BLINKING
    known: BoolArray = np.zeros(len(closed), np.bool_)
    for row in judged:
        around = slice(max(int(row["first"]) - _BESIDE, 0), int(row["last"]) + _BESIDE + 1)
        known[around] = True
        if row["blink"] == "yes":
            scores.blinks.append(bool(closed[around].any()))
    first, end = np.diff(np.r_[0, closed.astype(np.int8), 0]).nonzero()[0].reshape(-1, 2).T
    scores.false += sum(not known[a:b].any() for a, b in zip(first, end, strict=True))
