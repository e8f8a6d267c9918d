"""Close-ups: people whose faces are so large in the picture that hips, and often shoulders, are outside.

Perception is made for bodies.  Of a head that fills the picture it tells neither that somebody is there nor where; the
landmarks of the face do, to a hundredth of its size.

    frame ─ last landmarks, or a detector of faces ─ landmarks ─ head ─┬─ box, identity, presence
                                                                       └─ keypoints of nose, eyes, ears
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Self

import numpy as np
import torch

from common.arrays import Box, Float64Array, FloatArray, Image
from sender.face.detector import FaceDetector
from sender.face.head_pose import FRONT, HEAD_KEYPOINTS, HeadPose, HeadPoseReader
from sender.face.landmarks import FaceLandmarks, FaceReader, read_closely
from sender.face.region import face_px
from sender.perception.crop import CropBox
from sender.perception.output import PerceptionOutput
from sender.perception.similarity import ImagePose, intersection_over_union
from sender.perception.track import TrackedPerson

logger = logging.getLogger(__name__)

_LEAST_SHARE: Final = 0.2
"""Least size of the face over the frame's height: hips are three and a half such sizes below the top of a head."""
# Of somebody who is followed, so much smaller ones count: nobody is in and out by turns.
_STAYS: Final = 0.85
# Least scores of landmarks: where a detector has found a face, where these have found it, and where it was in the last
# frame.  Of 43 large faces that are found in 700 images of `openimages`, 16 are nobody's: they have at most 0.31, but
# for an eye that fills the picture; faces have at least 0.88, where the landmarks are right.
_LEAST_SCORE_OF_FOUND, _LEAST_SCORE, _LEAST_SCORE_OF_FOLLOWED = 0.1, 0.8, 0.5
# Faces that are followed in one frame.
_MOST: Final = 2
# How far a person's box reaches beyond the middle of the face, in its sizes; it ends at the frame's borders.
_AROUND = np.array([-1.6, -1.0, 1.6, 6.0], np.float32)
# Faces are one where they are nearer than this share of the region: cheek to cheek, middles are half of it apart.
_SAME: Final = 0.4
# A box that ends so near to the frame's lower border, over its height, is cut off there.
_CUT: Final = 0.03
# The landmarks' standard deviation over the size of the face, and the log odds of being visible.
_SIGMA, _VISIBLE = 0.015, 4.0
_HIPS: Final = slice(11, 13)


class CloseUps:
    """Finds large faces, and follows those of tracked people.

    Args:
        detector: finds faces.
        reader: finds landmarks.
        heads: reads heads from these.
    """

    def __init__(self, detector: FaceDetector, reader: FaceReader, heads: HeadPoseReader) -> None:
        self._detector, self.reader, self._heads = detector, reader, heads

    @classmethod
    def load(cls) -> Self | None:
        """With the shipped networks; None, with a line in the log, where MediaPipe's are missing.

        Raises:
            WeightsError: other weights are missing, damaged or of another version.
        """
        detector, reader = FaceDetector.load(), FaceReader.load()
        if detector is None or reader is None:
            logger.warning("heads that fill the picture are not found, because MediaPipe's networks are missing")
            return None
        return cls(detector, reader, HeadPoseReader.load())

    def follow(self, image: Image, tracks: Sequence[TrackedPerson]) -> bool:
        """Reads the faces that tracks had in the last frame; returns whether one has been lost."""
        known = [(track, track.head.face) for track in tracks if track.head is not None]
        for track, last in known:
            face = self.reader.read(image, last.region, _LEAST_SCORE_OF_FOLLOWED)
            follows = face is not None and _share(face, image) >= _STAYS * _LEAST_SHARE
            track.head = self._heads(face) if face is not None and follows else None
        return any(track.head is None for track, _ in known)

    def find(
        self, image: Image, tracks: Sequence[TrackedPerson], *, searches: bool, lost: bool = False
    ) -> list[HeadPose]:
        """Finds faces; returns those of nobody who is tracked, the others are given to their tracks.

        Args:
            tracks: those that are seen.
            searches: whether the frame is searched for people.
            lost: whether a face has just been lost, which is looked for in any frame.
        """
        others = [track for track in tracks if track.head is None]
        cut = not tracks or any(track.box[3] > (1 - _CUT) * image.shape[0] for track in others)
        if not (lost or (searches and cut)) or len(tracks) - len(others) >= _MOST:
            return []
        heads = [self._heads(face) for face in self._faces(image, _heads_of(tracks))]
        heads = [head for head in heads if not any(_wears(track, head) for track in tracks)]
        pairs = [
            (intersection_over_union(track.box, box_of(head.face, image)), row, track)
            for row, head in enumerate(heads)
            for track in others
            if _contains(track.box, head)
        ]
        taken: set[int] = set()
        for _, row, track in sorted(pairs, key=lambda pair: pair[0], reverse=True):
            if row not in taken and track.head is None:
                track.head = heads[row]
                taken.add(row)
        return [head for row, head in enumerate(heads) if row not in taken]

    def _faces(self, image: Image, known: Sequence[HeadPose]) -> list[FaceLandmarks]:
        """The large faces of a frame that are not followed, largest first."""
        found = [each.region for each in self._detector.find(image)]
        found = [region for region in found if face_px(region) >= _LEAST_SHARE * image.shape[0]]
        found.sort(key=lambda region: region.side, reverse=True)
        faces = []
        for region in found[: _MOST - len(known)]:
            if any(_is_at(np.asarray(region.centre), head) for head in known):
                continue
            face = read_closely(self.reader, image, region, _LEAST_SCORE, _LEAST_SCORE_OF_FOUND)
            if face is not None and _share(face, image) >= _LEAST_SHARE:
                faces.append(face)
        return faces


def shows_head_of(tracks: Sequence[TrackedPerson], box: Box, pose: ImagePose) -> bool:
    """Whether the person of a box is one whose face is followed.

    Nose and eyes say so where they are located: somebody may stand behind.
    """
    front = _front(pose)
    if front is not None:
        return any(_is_at(front, head) for head in _heads_of(tracks))
    return any(_contains(box, head) for head in _heads_of(tracks))


def box_of(face: FaceLandmarks, image: Image) -> Box:
    """The box (4,) of the person whose face this is, as far as it is in a frame (H, W, 3)."""
    height, width = image.shape[:2]
    middle = np.tile(np.asarray(face.region.centre, np.float32), 2)
    box = middle + face_px(face.region) * _AROUND
    return np.asarray(np.clip(box, 0, [width, height, width, height]), np.float32)


def with_head(output: PerceptionOutput, crop: CropBox, head: HeadPose) -> PerceptionOutput:
    """Perception's output of one person (a batch of one), with the head's keypoints where the landmarks are.

    Who is seen so near has the mean shape as far as the hips are not seen: perception sees children in close-ups.
    """
    places, sigma = output.keypoints_2d.clone(), output.keypoints_sigma.clone()
    visible = output.visible_logit.clone()
    places[0, :HEAD_KEYPOINTS] = torch.from_numpy(crop.to_units(head.keypoints))
    sigma[0, :HEAD_KEYPOINTS] = _SIGMA * face_px(head.face.region) / crop.side
    visible[0, :HEAD_KEYPOINTS] = _VISIBLE
    hips = output.visible_logit[0, _HIPS].max().sigmoid()
    return replace(output, keypoints_2d=places, keypoints_sigma=sigma, visible_logit=visible, shape=output.shape * hips)


def _heads_of(tracks: Sequence[TrackedPerson]) -> list[HeadPose]:
    return [track.head for track in tracks if track.head is not None]


def _share(face: FaceLandmarks, image: Image) -> float:
    """Size of a face over the height of a frame."""
    return float(face_px(face.region) / image.shape[0])


def _contains(box: Box, head: HeadPose) -> bool:
    """Whether the face is in a box."""
    middle = np.asarray(head.face.region.centre)
    return bool((middle > box[:2]).all() and (middle < box[2:]).all())


def _wears(track: TrackedPerson, head: HeadPose) -> bool:
    """Whether a face in somebody's box is not theirs, whose nose and eyes are elsewhere: clothes have faces, too."""
    front = None if track.image_pose is None else _front(track.image_pose)
    return front is not None and _contains(track.box, head) and not _is_at(front, head)


def _front(pose: ImagePose) -> FloatArray | None:
    """(2,) the middle of nose and eyes, pixels; None where none is located."""
    seen = pose.keypoints[:FRONT][pose.located[:FRONT]]
    return seen.mean(axis=0) if len(seen) else None


def _is_at(place: FloatArray | Float64Array, head: HeadPose) -> bool:
    """Whether a place (2,) in the frame is in a face."""
    apart = place - np.asarray(head.face.region.centre)
    return float(np.linalg.norm(apart)) < _SAME * head.face.region.side
