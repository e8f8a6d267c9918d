"""Fingers of rendered people through the sender, from picture to labels.

    hands              visible hands of this length in the pictures
    read               share of them whose fingers are in the labels
    error, constant    mean angle between directions of phalanges in the hand's frame and the true ones, degrees, of
                       the hands read: by the labels, and by the mean pose of the training motions

Bodies move as in Rocketbox's animations.  `recorded` hands have fingers of animations that nothing was fitted to, those
that are `counting` have each finger curled on its own.

Examples:
  python -m tests.bench.hands --motions data/motion/rocketbox
  python -m tests.bench.hands --motions data/motion/rocketbox --quick
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.body.anatomy import FINGER_BONES
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.errors import UsageError
from common.frames import PersonLabels
from common.labels import concatenate
from sender.hands.fit import HandFitter
from sender.hands.labels import GROUPS
from sender.hands.skeleton import FINGERS, MIRROR, PHALANGES, HandSkeleton
from sender.hands.stage import HandsStage
from sender.perception.config import TrackingConfig
from sender.perception.stage import PerceptionStage
from sender.semantics.stage import SemanticsStage
from sender.train.hands.pictures import HandPicture, HandPictures
from tests.bench import report

_SIZE = (640, 480)
_LENGTHS_PX = ((40, 60), (60, 90), (90, 130))


@dataclass(frozen=True, slots=True)
class Reading:
    """A visible hand: its length, and of its phalanges the mean errors, degrees; no `error` if it was not read."""

    hand_px: float
    is_counting: bool
    constant: float
    error: float | None


class HandBench:
    """Reads pictures as the sender reads photographs. Raises UsageError where MediaPipe's networks are missing."""

    def __init__(self) -> None:
        stage = HandsStage.load()
        if stage is None:
            raise UsageError("MediaPipe's networks are missing; build Bodywire where pip finds mediapipe 0.10.21")
        self._perception, self._semantics, self._hands = (
            PerceptionStage.load(TrackingConfig()),
            SemanticsStage.load(),
            stage,
        )
        self._body = BodyModel.load()
        self._skeleton = HandSkeleton.from_body(self._body)
        self._mean, self._rows = LabelSpace.load().rotation_vectors(self._body)
        self._constant = HandFitter.load(self._body).mean_vectors

    def readings(self, picture: HandPicture) -> list[Reading]:
        """Of the visible hands of the most prominent person."""
        self._perception.reset()
        self._hands.reset()
        observed = self._perception.process(picture.image, picture.camera)[:1]
        people = self._semantics.label(observed, picture.camera)
        people = self._hands.label(picture.image, picture.camera, observed, people, 0.0)
        readings = []
        for hand in picture.hands:
            truth = self._directions(hand.vectors)
            read = self._vectors(people, left=hand.left)
            error = None if read is None else angle(self._directions(read), truth)
            constant = angle(self._directions(self._constant), truth)
            readings.append(Reading(hand.hand_px, hand.is_counting, constant, error))
        return readings

    def _vectors(self, people: Sequence[PersonLabels], *, left: bool) -> Float64Array | None:
        """(15, 3) of a hand in the labels, as those of a left one; None without its fingers."""
        if not people or GROUPS[not left] not in people[0].labels:
            return None
        labels = torch.from_numpy(concatenate(people[0].labels))
        phalanges = (self._mean + labels @ self._rows)[-3 * len(FINGER_BONES) :].reshape(2, -1, 3).double().numpy()
        return np.asarray(phalanges[0] if left else phalanges[1] * MIRROR)

    def _directions(self, vectors: Float64Array) -> Float64Array:
        """(F, P, 3) unit vectors along the phalanges in the hand's frame."""
        local = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(FINGERS, PHALANGES, 3, 3)
        along = np.diff(self._skeleton.joints, axis=1)
        directions, turned = [], np.broadcast_to(np.eye(3), (FINGERS, 3, 3))
        for phalanx in range(PHALANGES):
            turned = turned @ local[:, phalanx]
            directions.append((turned @ along[:, phalanx, :, None])[..., 0])
        stacked = np.stack(directions, 1)
        return np.asarray(stacked / np.linalg.norm(stacked, axis=-1, keepdims=True))


def angle(one: Float64Array, other: Float64Array) -> float:
    """Mean angle between unit vectors (…, 3), degrees."""
    return float(np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1))).mean())


def figures(readings: Sequence[Reading]) -> Mapping[str, float]:
    """The columns of one row."""
    read = [reading for reading in readings if reading.error is not None]
    return {
        "hands": len(readings),
        "read": len(read) / max(len(readings), 1),
        "error": float(np.mean([reading.error for reading in read])) if read else float("nan"),
        "constant": float(np.mean([reading.constant for reading in read])) if read else float("nan"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("hands", __doc__, 20_000_000)
    parser.add_argument("--motions", type=Path, required=True, help="folder of Rocketbox's animations (*.bvh)")
    report.add_amount(parser, "--pictures", "rendered people", 400, 60)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    bench = HandBench()
    pictures = HandPictures(options.motions, "test", options.seed, _SIZE)
    readings = [each for picture in islice(pictures, options.pictures) for each in bench.readings(picture)]
    systems = {"all": figures(readings)}
    for low, high in _LENGTHS_PX:
        systems[f"{low} to {high} px"] = figures([each for each in readings if low <= each.hand_px < high])
    for name, counting in (("recorded", False), ("counting", True)):
        systems[name] = figures([each for each in readings if each.is_counting == counting])
    report.publish(options, systems, f"{options.pictures} pictures of {_SIZE[0]} x {_SIZE[1]}")


if __name__ == "__main__":
    sys.exit(main())
