"""Rendered heads with the landmarks that the networks find on them, and the activations that made them."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from common.arrays import FloatArray, Image
from common.body.anatomy import FACIAL_ACTIONS
from common.synthetic.renderer import View
from sender.face.landmarks import FACE_PER_EYES, FaceLandmarks, FaceReader
from sender.perception.crop import CropBox
from tests.support.pictures.rendered_heads import Heads, Look

EYE_DISTANCE_M = 0.06
_SIDE_PX = 224
# Focal length for each metre of distance, so that a face has 99 pixels.
_FOCAL_PX = 750.0
_DISTANCE_M = (0.9, 1.6)
# Standard deviations of pitch, yaw and roll, radians; from between the eyes to the middle of the face; a face's region.
_TURN = (0.16, 0.28, 0.1)
_CENTRE_M = np.array([0, 0.035, 0.03])
_REGION_M = 0.255
_LEAST_SCORE = 0.5
_INDEX = {name: index for index, name in enumerate(FACIAL_ACTIONS)}
_PAIRS = [(name, name.replace("Left", "Right")) for name in FACIAL_ACTIONS if name.endswith("Left")]
_SINGLE = [name for name in FACIAL_ACTIONS if not name.endswith(("Left", "Right"))]


def draw_activations(rng: Generator) -> FloatArray:
    """(52,) of some actions that are mostly the same on both sides; a tenth is neutral."""
    values = np.zeros(len(FACIAL_ACTIONS), np.float32)
    if rng.uniform() < 0.1:
        return values
    for _ in range(rng.integers(1, 5)):
        amount = rng.uniform() ** 0.7
        if rng.uniform() < 0.35:
            values[_INDEX[str(rng.choice(_SINGLE))]] = amount
            continue
        left, right = _PAIRS[rng.integers(len(_PAIRS))]
        if not left.startswith("eyeLook"):
            one_sided = rng.uniform() < 0.25
            values[_INDEX[left]] = amount * (rng.uniform() < 0.5 if one_sided else 1)
            values[_INDEX[right]] = amount - values[_INDEX[left]] if one_sided else amount * rng.uniform(0.8, 1)
    if rng.uniform() < 0.35:
        values[_INDEX["jawOpen"]] = rng.uniform()
    if rng.uniform() < 0.3:
        values[[_INDEX["eyeBlinkLeft"], _INDEX["eyeBlinkRight"]]] = rng.uniform()
    if rng.uniform() < 0.25:
        values[[_INDEX["mouthSmileLeft"], _INDEX["mouthSmileRight"]]] = rng.uniform()
    if rng.uniform() < 0.6:
        _look(values, *rng.uniform(-1, 1, 2))
    values[_INDEX["tongueOut"]] = 0
    return values


def _look(values: FloatArray, left: float, up: float) -> None:
    """Turns both eyes: towards the person's left, and up."""
    sides = {"OutLeft": left, "InRight": left, "InLeft": -left, "OutRight": -left}
    sides |= {"UpLeft": up, "UpRight": up, "DownLeft": -up, "DownRight": -up}
    for name, amount in sides.items():
        values[_INDEX[f"eyeLook{name}"]] = max(amount, 0)


def read_head(
    heads: Heads, reader: FaceReader, rng: Generator, rest: FloatArray, face_px: float
) -> FaceLandmarks | None:
    """The landmarks of a head with vertices (V, 3) in the rest pose, rendered somehow; None if no face is found."""
    turn = [float(rng.normal(0, spread)) for spread in _TURN]
    rotation, distance = _rotation(*turn), rng.uniform(*_DISTANCE_M)
    translation = np.array([0, 0, distance]) - rotation @ (rest[heads.eye_vertices].mean(axis=0) + _CENTRE_M)
    focal = _FOCAL_PX * distance
    posed = (rest @ rotation.T + translation).astype(np.float32)
    image = heads.render(posed, Look.draw(rng), View(_SIDE_PX, _SIDE_PX, focal), rng)
    side = min(_SIDE_PX, round(face_px / (FACE_PER_EYES * EYE_DISTANCE_M * _FOCAL_PX) * _SIDE_PX))
    image = _photographed(image, side)
    scale, middle = side / _SIDE_PX, len(image) / 2
    half = 0.5 * _REGION_M * _FOCAL_PX * scale * np.exp(rng.normal(0, 0.07))
    x, y = middle + rng.normal(0, 0.08, 2) * half
    face = reader.read(image, CropBox.around([x - half, y - half, x + half, y + half], 1.0, turn[2]), _LEAST_SCORE)
    face = face and reader.read(image, face.region, _LEAST_SCORE)
    if face is None:
        return None
    focal *= scale
    points = np.asarray((face.points - np.array([middle, middle, 0])) / focal, np.float32)
    lids, iris = (np.asarray((places - middle) / focal, np.float32) for places in (face.lids, face.iris))
    return replace(face, points=points, lids=lids, iris=iris)


def _photographed(image: Image, side: int) -> Image:
    """A picture of another size with a margin around it."""
    small = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    margin = (side // 3,) * 2
    return np.pad(small, (margin, margin, (0, 0)), mode="edge")


def _rotation(pitch: float, yaw: float, roll: float) -> FloatArray:
    return np.asarray(Rotation.from_euler("ZYX", [roll, yaw, pitch]).as_matrix())
