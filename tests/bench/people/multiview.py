"""3D error on real people before calibrated cameras: `python -m tests.bench.multiview --folder DIR`.

    one view ─ perception, semantics, the receiver's motion ─ joints of everybody published ─┐
    all views ─ triangulated keypoints (multiview_truth) ────────────────────────────────────┴─ errors

Every view is a clip of its own: the sender knows nothing of the others or of the calibration.  A published person is
the true one whose projected keypoints are nearest, if they are within a fifth of its size on average.

    found                  share of the frames in which the person is published
    identities             track ids that the person has
    exchanged              share of these frames with left and right of both shoulders and hips exchanged
    known                  share of the true joints on which three views agree; the others are left out
    mpjpe_mm, pa_mpjpe_mm  of the 12 body joints, relative to the hips, in the camera's axes
    …                      where people stand: see `measures.in_the_world`
    acceleration_mm        median error of the second difference of a joint's place, millimetres a frame²
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from common.arrays import Float64Array, FloatArray, IntArray
from receiver.motion.session_motion import SessionMotion
from sender.capture.video import VideoFileSource
from sender.config import TrackingConfig
from tests.bench import measures, report
from tests.bench.people.multiview_truth import CalibratedCamera, levelled_views, true_people
from tests.bench.perceived import FrameSender, LabelJoints

QUICK_FRAMES = 30
PEOPLE = 2
# Mean distance of the keypoints from the true ones, over the true person's size, below which it is this person.
_SAME_PERSON = 0.2
_BODY = np.arange(5, 17)
_SIDED = ((5, 6), (11, 12))
_LEAST_ALIGNED = 8


@dataclass(frozen=True, slots=True)
class PublishedPerson:
    """A person of a frame: joints (17, 3) in the camera's space, metres, and keypoints (17, 2), pixels."""

    identity: int
    joints: FloatArray
    keypoints: FloatArray


@dataclass(frozen=True, slots=True)
class FollowedPerson:
    """One true person in one view.

    Args:
        joints: (T, 17, 3) as published, in the camera's space, metres; NaN where the person is not.
        truth: (T, 17, 3) likewise.
        identities: (T,) track ids, −1 where the person is not published.
    """

    joints: Float64Array
    truth: Float64Array
    identities: IntArray

    def figures(self) -> dict[str, float]:
        """Means over the frames in which the person is published and the true joints are known."""
        published = np.isfinite(self.joints).all(axis=(1, 2))
        judged = np.isfinite(self.truth[:, :, 0]).sum(axis=1) >= _LEAST_ALIGNED
        seen = published & np.isfinite(self.truth[:, measures.HIPS]).all(axis=(1, 2))
        joints, truth = (_centred(rows)[:, _BODY] for rows in (self.joints, self.truth))
        distance = np.linalg.norm(joints - truth, axis=-1)[seen]
        acceleration = np.linalg.norm(measures.second_difference(joints) - measures.second_difference(truth), axis=-1)
        sides = [_across(self.joints[seen], pair) * _across(self.truth[seen], pair) for pair in _SIDED]
        exchanged = np.all([(side.sum(axis=-1) < 0) for side in sides], axis=0)
        return {
            "found": float(published.sum() / max(judged.sum(), 1)),
            "identities": float(len(set(self.identities[published].tolist()))),
            "exchanged": _known(np.mean, exchanged.astype(np.float64)),
            "known": float(np.isfinite(self.truth[:, _BODY, 0]).mean()),
            "mpjpe_mm": _known(np.mean, 1000 * distance),
            "pa_mpjpe_mm": _known(np.mean, np.concatenate([np.zeros(0), *map(_aligned, joints[seen], truth[seen])])),
            "acceleration_mm": _known(np.median, 1000 * acceleration),
            **measures.in_the_world(self.joints, self.truth),
        }


def _centred(joints: Float64Array) -> Float64Array:
    return np.asarray(joints - joints[:, measures.HIPS].mean(axis=1, keepdims=True))


def _aligned(found: Float64Array, truth: Float64Array) -> Float64Array:
    """Distances of the known joints after the similarity that aligns them, millimetres."""
    known = np.isfinite(truth[:, 0])
    if known.sum() < _LEAST_ALIGNED:
        return np.zeros(0)
    return np.asarray(1000 * np.linalg.norm(measures.procrustes(found[known], truth[known]) - truth[known], axis=-1))


def _known(mean: Callable[[Float64Array], float], values: Float64Array) -> float:
    """The mean of the values that are known; NaN if none is."""
    known = values[np.isfinite(values)]
    return float(mean(known)) if len(known) else float("nan")


def followed(
    published: Sequence[Sequence[PublishedPerson]], camera: CalibratedCamera, true_joints: Float64Array
) -> FollowedPerson:
    """Who of a view's published people is a true one, whose joints are (T, 17, 3) in the world."""
    truth, places = camera.to_camera(true_joints), camera.project(true_joints)
    joints, identities = np.full(truth.shape, np.nan), np.full(len(truth), -1)
    for number, people in enumerate(published):
        known = np.isfinite(places[number, :, 0])
        if known.sum() < _LEAST_ALIGNED:
            continue
        size = float(np.ptp(places[number, known], axis=0).max())
        distances = [np.linalg.norm(person.keypoints - places[number], axis=1)[known].mean() for person in people]
        if distances and min(distances) < _SAME_PERSON * size:
            best = people[int(np.argmin(distances))]
            joints[number], identities[number] = best.joints, best.identity
    return FollowedPerson(joints, truth, identities)


def _across(joints: Float64Array, pair: tuple[int, int]) -> Float64Array:
    return np.asarray(joints[:, pair[0]] - joints[:, pair[1]])


class ViewSender:
    """Perception and semantics in process, for one view at a time.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._sender = FrameSender(TrackingConfig().limits(carried=None))
        self._joints = LabelJoints()

    def published(self, clip: Path, limit: int | None) -> Iterator[list[PublishedPerson]]:
        """Everybody published in each frame.

        Raises:
            SourceError: the clip is missing or damaged.
        """
        motion = SessionMotion()
        with VideoFileSource(clip) as source:
            frames = (replace(frame, captured_at=frame.media_time_s) for frame in islice(source, limit))
            for labels in self._sender.of_file(frames):
                people = motion.complete(labels).people
                joints = [self._joints(person) for person in people]
                yield [
                    PublishedPerson(person.identity, own, labels.camera.project(own))
                    for person, own in zip(people, joints, strict=True)
                ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("multiview", __doc__, 0)
    parser.add_argument("--folder", type=Path, required=True, help="clips of the views, and cameras.json")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    limit = QUICK_FRAMES if options.quick else None
    cameras = CalibratedCamera.read(options.folder)
    truth = true_people(*levelled_views(options.folder, cameras, limit), PEOPLE)
    report.progress(f"the truth's own reprojection error: {truth.reprojection_px:.1f} px (median)")
    sender, systems = ViewSender(), {}
    for camera in cameras:
        published = list(sender.published(options.folder / camera.file, limit))
        for number, joints in enumerate(truth.joints):
            systems[f"{camera.file}, person {number}"] = followed(published, camera, joints).figures()
    systems["bodywire"] = measures.mean_by_key(list(systems.values()))
    report.publish(options, systems, f"{options.folder.name}, {truth.joints.shape[1]} frames a view")


if __name__ == "__main__":
    sys.exit(main())
