"""Fingers of rendered people through the sender, from picture to labels.

    hands              visible hands of this length in the pictures
    read               share of them whose fingers are in the labels
    error, constant    mean angle between directions of phalanges in the hand's frame and the true ones, degrees, of
                       the hands read: by the labels, and by the mean pose of the training motions
    palm, perceived    angle of the hand's orientation from the true one, degrees, of the hands read: by the labels, and
                       as it was before the hand was read

Bodies move as in Rocketbox's animations.  `recorded` hands have fingers of animations that nothing was fitted to, those
that are `counting` have each finger curled on its own.

Examples:
  python -m tests.bench.hands --motions data/motion/rocketbox
  python -m tests.bench.hands --quick
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.body.anatomy import FINGER_BONES, JOINT_INDEX, MIRROR_SIGNS, MIRROR_TURN_SIGNS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.errors import UsageError
from common.frames import PersonLabels
from common.labels import concatenate
from sender.config import TrackingConfig
from sender.hands.fit import FINGERS, GROUPS, PHALANGES, HandFitter, HandSkeleton
from sender.hands.hands_reader import MIN_SCORE, HandReader, HandsStage, Place, SeenHand, crop_of_landmarks
from sender.people.view import PeopleView
from sender.perception.perception_stage import PerceptionStage
from sender.semantics.semantics_stage import SemanticsStage
from tests.bench import report
from tests.bench.hands.pictures import HandPicture, HandPictures, TrueHand

_SIZE, _SMALL = (640, 480), (320, 240)
_MISSING = "MediaPipe's networks are missing; build Bodywire where pip finds mediapipe 0.10.21"
_LENGTHS_PX = ((40, 60), (60, 90), (90, 130))


@dataclass(frozen=True, slots=True)
class Reading:
    """A visible hand: its length, and errors as the bench names them; none where it was not read."""

    hand_px: float
    is_counting: bool
    errors: Mapping[str, float] | None = None


class HandBench:
    """Reads pictures as the sender reads photographs. Raises UsageError where MediaPipe's networks are missing."""

    def __init__(self) -> None:
        stage = HandsStage.load()
        if stage is None:
            raise UsageError(_MISSING)
        self._perception, self._semantics, self._hands = (
            PerceptionStage.load(TrackingConfig(quality="full")),
            SemanticsStage.load(),
            stage,
        )
        self._body = BodyModel.load()
        self._skeleton = HandSkeleton.from_body(self._body)
        self._space = LabelSpace.load()
        self._mean, self._rows = self._space.rotation_vectors(self._body)
        self._constant = HandFitter.load(self._body).mean_vectors

    def readings(self, picture: HandPicture) -> list[Reading]:
        """Of the visible hands of the most prominent person."""
        self._perception.reset()
        observed = self._perception.process(picture.image, picture.camera)[:1]
        self._semantics.observe(observed, picture.camera)
        view = PeopleView(picture.image, picture.camera, self._semantics.label_observed(observed, picture.camera, 0.0))
        perceived = [replace(each.finished, labels={**each.labels}) for each in view.people]
        self._hands.label(view)
        people = [each.finished for each in view.people]
        readings = []
        for hand in picture.hands:
            errors = None
            if people and GROUPS[not hand.left] in people[0].labels:
                truth = directions(self._skeleton, hand.vectors)
                errors = {
                    "error": angle(directions(self._skeleton, self._vectors(people[0], left=hand.left)), truth),
                    "constant": angle(directions(self._skeleton, self._constant), truth),
                    "palm": self._palm_error(people[0], hand),
                    "perceived": self._palm_error(perceived[0], hand),
                }
            readings.append(Reading(hand.hand_px, hand.is_counting, errors))
        return readings

    def _palm_error(self, person: PersonLabels, hand: TrueHand) -> float:
        parameters = self._space.decode(torch.from_numpy(concatenate(person.labels))[None])
        _, rotations = self._body.forward_kinematics(parameters)
        palm = rotations[0, JOINT_INDEX["wrist.L" if hand.left else "wrist.R"]].double().numpy()
        mirror = np.ones(3) if hand.left else np.array(MIRROR_SIGNS)
        turn = hand.palm.T @ (mirror[:, None] * palm * mirror)
        return float(np.degrees(Rotation.from_matrix(turn).magnitude()))

    def _vectors(self, person: PersonLabels, *, left: bool) -> Float64Array:
        """(15, 3) of a hand in the labels, as those of a left one."""
        labels = torch.from_numpy(concatenate(person.labels))
        phalanges = (self._mean + labels @ self._rows)[-3 * len(FINGER_BONES) :].reshape(2, -1, 3).double().numpy()
        return np.asarray(phalanges[0] if left else phalanges[1] * MIRROR_TURN_SIGNS)


def directions(skeleton: HandSkeleton, vectors: Float64Array) -> Float64Array:
    """(F, P, 3) unit vectors along the phalanges in the hand's frame, of rotation vectors (15, 3)."""
    local = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(FINGERS, PHALANGES, 3, 3)
    along = np.diff(skeleton.joints, axis=1)
    found, turned = [], np.broadcast_to(np.eye(3), (FINGERS, 3, 3))
    for phalanx in range(PHALANGES):
        turned = turned @ local[:, phalanx]
        found.append((turned @ along[:, phalanx, :, None])[..., 0])
    stacked = np.stack(found, 1)
    return np.asarray(stacked / np.linalg.norm(stacked, axis=-1, keepdims=True))


def fitted_errors(count: int, seed: int) -> list[float]:
    """Mean errors of the phalanges, degrees, of hands that count in so many pictures: of those that are believed."""
    reader, body = HandReader.load(), BodyModel.load()
    if reader is None:
        raise UsageError(_MISSING)
    fitter, skeleton, rng = HandFitter.load(body), HandSkeleton.from_body(body), np.random.default_rng(seed)
    errors = []
    for picture in islice(HandPictures(None, "test", seed, _SMALL), count):
        for hand in picture.hands:
            seen = read(reader, picture, hand, rng)
            if seen.score >= MIN_SCORE and seen.is_right:
                points = seen.landmarks if hand.left else seen.landmarks * [-1, 1, 1]
                found = directions(skeleton, fitter.vectors(fitter.fit(points).angles))
                errors.append(angle(found, directions(skeleton, hand.vectors)))
    return errors


def read(reader: HandReader, picture: HandPicture, hand: TrueHand, rng: np.random.Generator) -> SeenHand:
    """A hand as the sender reads it, with wrist and elbow about as far off as perception's."""
    wrist, elbow = (point + rng.normal(0, 0.12 * hand.hand_px, 2) for point in (hand.wrist, hand.elbow))
    first = reader.search(picture.image, Place(wrist, elbow, hand.hand_px), left=hand.left)
    return reader.read(picture.image, crop_of_landmarks(first.landmarks), left=hand.left)


def angle(one: Float64Array, other: Float64Array) -> float:
    """Mean angle between unit vectors (…, 3), degrees."""
    return float(np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1))).mean())


def figures(readings: Sequence[Reading]) -> Mapping[str, float]:
    """The columns of one row."""
    known = [reading.errors for reading in readings if reading.errors]
    means = {name: float(np.mean([errors[name] for errors in known])) for name in (known[0] if known else ())}
    return {"hands": len(readings), "read": len(known) / max(len(readings), 1), **means}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("hands", __doc__, 20_000_000)
    parser.add_argument("--motions", type=Path, help="folder of Rocketbox's animations (default: all fingers count)")
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
        if any(each.is_counting == counting for each in readings):
            systems[name] = figures([each for each in readings if each.is_counting == counting])
    report.publish(options, systems, f"{options.pictures} pictures of {_SIZE[0]} x {_SIZE[1]}")


if __name__ == "__main__":
    sys.exit(main())
