"""What people's bodies are estimated to be in a frame.

Shapes: B people, E = 80 label entries, K = 17 keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray
from common.body.label_space import TRANSLATION_MEAN, TRANSLATION_SCALE
from common.frames import Camera
from common.labels import ROTATION_SCALE
from sender.perception.crop import CropBox, to_crop, to_frame
from sender.perception.output import PerceptionOutput
from sender.perception.track import ObservedPerson
from sender.semantics.crop_labels import PELVIS, entries_of_pelvis, pelvis_in_crop
from sender.semantics.keypoint_jacobian import CROSS, orientation


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of B people.

    Args:
        entries, sigma: (B, E) label entries in the frame's camera space, and their standard deviations.
        keypoints: (B, K, 2) pixels.
    """

    entries: FloatArray
    sigma: FloatArray
    keypoints: FloatArray


def placed(entries: FloatArray, turn: FloatArray, pelvis: FloatArray) -> FloatArray:
    """Label entries (B, E) in the frame's camera space.

    Args:
        entries: (B, E) of which orientation and pelvis are in another camera.
        turn, pelvis: orientations (B, 3, 3) and (B, 3), metres, in the frame's.
    """
    x, y, z = pelvis.T
    position = (np.stack([x / z, y / z, np.log(z)], 1) - TRANSLATION_MEAN) / TRANSLATION_SCALE
    return np.concatenate([_columns(turn), position, entries[:, PELVIS.stop :]], 1, dtype=np.float32)


def entries_in_frame(entries: FloatArray, crops: Sequence[CropBox], camera: Camera) -> FloatArray:
    """Label entries (B, E) of bodies in crops (`sender.semantics.crop_labels`) → in the frame's camera space."""
    roots, pelvises = orientation(entries, CROSS), pelvis_in_crop(entries, _focal(crops, camera))
    moved = [to_frame(*each, camera) for each in zip(roots, pelvises, crops, strict=True)]
    turns, places = (np.stack(each) for each in zip(*moved, strict=True))
    return placed(entries, turns, places)


def entries_in_crops(entries: FloatArray, crops: Sequence[CropBox], camera: Camera) -> FloatArray:
    """The inverse of `entries_in_frame`."""
    across, log_depth = np.split(entries[:, PELVIS] * TRANSLATION_SCALE + TRANSLATION_MEAN, [2], axis=1)
    pelvises = np.exp(log_depth) * np.concatenate([across, np.ones_like(log_depth)], 1)
    moved = [to_crop(*each, camera) for each in zip(orientation(entries, CROSS), pelvises, crops, strict=True)]
    turns, places = (np.stack(each) for each in zip(*moved, strict=True))
    columns = (_columns(turns), entries_of_pelvis(places, _focal(crops, camera)), entries[:, PELVIS.stop :])
    return np.concatenate(columns, 1, dtype=np.float32)


def _focal(crops: Sequence[CropBox], camera: Camera) -> FloatArray:
    """(B, 1) focal lengths in crop widths."""
    return np.array([[camera.focal_px / crop.side] for crop in crops], np.float32)


def _columns(turns: FloatArray) -> FloatArray:
    """(B, 6) the entries of orientations (B, 3, 3)."""
    return np.asarray(turns[..., :2].swapaxes(1, 2).reshape(len(turns), -1) / ROTATION_SCALE, np.float32)


def together(observed: Sequence[ObservedPerson]) -> PerceptionOutput:
    """What perception says of B ≥ 1 people."""
    first = observed[0].output
    return PerceptionOutput.concatenate([person.output for person in observed]) if len(observed) > 1 else first
