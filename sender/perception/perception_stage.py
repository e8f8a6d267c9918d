"""The people in each frame of a source: detected in some frames, tracked in between, read in all.

    schedule ─ detector ─ proposals ─ quick looks ─┐
                          tracked people ─ turns ──┴─ crops, rolled as the camera is ─ perception, verifier ─ tracker

`detect` has the first, `track` the last, and `read` what is between: by two networks, perception (`perception_network`
on `heads`, run by `predictor`) and MoveNet (`movenet`), whose keypoints are fused (`keypoint_fusion`), in crops that
are seen in both views by turns (`crop`).

Heads that fill the picture take a shorter way (`CloseUps`), because perception is made for bodies: of such a head it
tells neither that somebody is there nor where; the landmarks of the face do, to a hundredth of its size.

    frame ─ last landmarks, or a detector of faces ─ landmarks ─ head ─┬─ box, identity, presence
                                                                       └─ keypoints of nose, eyes, ears
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import Final, Self

import numpy as np
import torch

from common.arrays import Box, Float64Array, FloatArray, Image
from common.frames import Camera
from common.weights.devices import CPU
from sender.config import Quality, TrackerConfig, TrackingConfig
from sender.face.head import FRONT, HEAD_KEYPOINTS, HeadPose, HeadPoseReader
from sender.face.landmarks import FaceDetector, FaceLandmarks, FaceReader, face_px, read_closely
from sender.perception.crop import CropBox, FrameClock, View, ViewTurns
from sender.perception.detect import (
    Appearance,
    Detection,
    Detector,
    ImagePose,
    SearchSchedule,
    area,
    box_gain,
    intersection_over_union,
    prominence,
    smoothed_box,
)
from sender.perception.keypoint_fusion import without
from sender.perception.perception_network import FusedOutput, PerceptionOutput
from sender.perception.predictor import Perception
from sender.perception.read import (
    BoxPredictions,
    CameraRoll,
    KeyFrames,
    Verifier,
    limits_of,
    person_box,
    predict_in_boxes,
    reads_fast,
    uncut_box,
)
from sender.perception.track import (
    DriftDetector,
    Evidence,
    ObservedPerson,
    TrackedPerson,
    Tracker,
    is_same_person,
)

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
        found = [region for region in self._detector.find(image) if face_px(region) >= _LEAST_SHARE * image.shape[0]]
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
    """Whether the person of a box is one whose face is followed; somebody whose nose and eyes are elsewhere is not."""
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


# Least presence of a new person, and of one who stands behind others in a photograph.
_MIN_PRESENCE, _MIN_PRESENCE_BEHIND = 0.5, 0.7
# Least presence of a tracked person, by perception alone.
_MIN_PRESENCE_OF_TRACKED = 0.3
# Least presence in the proposed box for a closer look: hardly any person has less.
_PROMISING_PRESENCE = 0.5
# Somebody behind others is looked for where they hide a smaller share of the proposed box; what is left of those who
# are hidden there is proposed, too.
_MOST_HIDDEN = 0.3
# Prior probability that a person who was tracked in the last frame is still there.
TRACKED_PRIOR = 0.5
# Proposals that are verified beyond the room for new people.
_SPARE_PROPOSALS = 3
# A refined box is at most so much larger than the proposal: two crops of 1.25 times the box, and keypoints beyond them.
_BOX_GROWTH = 2.0
# Of most photographs.
_USUAL_ASPECT = 4 / 3
# Least presence of a person who tells the camera's roll.
_UPRIGHT_PRESENCE = 0.9


class PerceptionStage:
    """Detects people in some frames and tracks them in between.

    Args:
        close_ups: finds heads that fill the picture; None finds none.
        live: whether frames of the source are rare when the machine is busy.
        quality: of another source.
    """

    def __init__(
        self,
        detector: Detector,
        perception: Perception,
        verifier: Verifier,
        limits: TrackerConfig,
        close_ups: CloseUps | None = None,
        *,
        live: bool = False,
        quality: Quality = "full",
    ) -> None:
        self._detector = detector
        self._close_ups = close_ups
        self._perception = perception
        self._verifier = verifier
        self._tracker = Tracker(limits)
        self._live, self._quality = live, quality
        self.reset()

    @classmethod
    def load(cls, tracking: TrackingConfig, device: torch.device = CPU, *, cameras: int = 0) -> Self:
        """With the shipped weights.

        Args:
            cameras: where the source is a camera, how many there are, whose people must not be more than the machine
                carries; 0 for another source.

        Raises:
            WeightsError: weights are missing, damaged or of another version.
        """
        perception = Perception.load(device=device, keypoints=tracking.keypoints)
        limits = limits_of(tracking, perception, cameras)
        parts = Detector.load(device=device), perception, Verifier.load(), limits, CloseUps.load()
        return cls(*parts, live=cameras > 0, quality=tracking.quality)

    def anew(self, tracking: TrackingConfig, *, cameras: int = 0) -> Self:
        """Another one by the same networks, which knows nobody; arguments as of `load`."""
        limits = limits_of(tracking, self._perception, cameras)
        parts = self._detector, self._perception, self._verifier, limits, self._close_ups
        return type(self)(*parts, live=cameras > 0, quality=tracking.quality)

    @property
    def face_reader(self) -> FaceReader | None:
        """What reads the landmarks of close-ups; None where these are not found."""
        return None if self._close_ups is None else self._close_ups.reader

    @property
    def max_people(self) -> int:
        """Most people that it follows at a time."""
        return self._tracker.config.max_people

    @property
    def reads_videos_fast(self) -> bool:
        """Whether every other frame of a video is read (`reads_fast`)."""
        return reads_fast(self._perception, self._quality)

    @property
    def known(self) -> tuple[TrackedPerson, ...]:
        """Who is tracked, also of those who are lost."""
        return self._tracker.known

    def prepare_stills(self) -> None:
        """Loads what the first photograph would otherwise wait for."""
        self._detector.prepare(_USUAL_ASPECT)
        side = self._perception.still_size
        self._predict(np.zeros((side, side, 3), np.uint8), [np.array([0, 0, side, side], np.float32)], thorough=True)

    def reset(self, *, still: bool = True) -> None:
        """Drops all tracks for a new source; the detector runs on its first frame.

        Args:
            still: its first frame may be a photograph, which nothing corrects later.
        """
        self._tracker.reset()
        self._first, self._still = True, still
        self._schedule = SearchSchedule()
        self._turns = ViewTurns(live=self._live)
        self._roll = CameraRoll()
        self._clock = FrameClock()
        self._key_frames = KeyFrames()

    def process(
        self,
        image: Image,
        camera: Camera,
        time_s: float | None = None,
        *,
        take_turns: bool = True,
        is_late: bool = False,
    ) -> tuple[ObservedPerson, ...]:
        """The people tracked in a frame (H, W, 3) uint8 RGB, most prominent first; empty if there are none.

        Args:
            camera: the frame's; its size is the image's.
            time_s: on the source's clock; None where it has none.
            take_turns: where frames follow each other fast, each is seen in one view, by turns.
            is_late: of a camera, whether the frame before has been left out.
        """
        self._tracker.begin_frame(self._clock.tick(time_s))
        lost = self._close_ups is not None and self._close_ups.follow(image, self._tracker.seen)
        urgent, now_s = self._tracker.search_due, self._clock.now_s
        if (is_late or self._is_fast) and take_turns and self._perception.second is not None:
            self._key_frames.late(now_s)
        searches = False
        # A key frame after a propagated one has no time for a search; the next frame has.
        if urgent or not self._key_frames.was_propagated:
            boxes = [track.box for track in self._tracker.seen]
            searches = self._schedule.searches(image, boxes, now_s, urgent=urgent)
        candidates = list[Detection]()
        if searches:
            found = self._detector.find(image, self._roll.radians, thorough=self._reads_photograph)
            candidates = self._promising(image, self._tracker.associate(found))
        if self._close_ups is not None:
            self._find_heads(self._close_ups, image, searches=searches, lost=lost)
        known = [] if urgent else self._key_frames.before(self._tracker.seen, now_s)
        views = [track.views for track in self._tracker.seen]
        view = self._turns.next_view(views, time_s if take_turns else None, keeps=bool(known))
        people = self._observe(image, self._tracker.seen, view, known=known)
        people += self._new(image, candidates, camera)
        present = self._tracker.update()
        people = [each for each in people if each.person in present]
        self._key_frames.keep(people, now_s)
        if self._reads_photograph:
            people += self._behind(image, people, camera)
        self._first = False
        return tuple(sorted(people, key=lambda person: person.crop.side * person.score, reverse=True))

    def _find_heads(self, close_ups: CloseUps, image: Image, *, searches: bool, lost: bool) -> None:
        """Looks for heads that fill the picture, and tracks those of people who are not tracked yet."""
        height, width = image.shape[:2]
        heads = close_ups.find(image, self._tracker.seen, searches=searches, lost=lost)
        new = [Detection(box_of(head.face, image), head.face.score) for head in heads]
        for track, head in zip(self._tracker.add_tracks(new, width, height), heads, strict=True):
            if track is not None:
                track.head = head

    def _promising(self, image: Image, proposals: Sequence[Detection]) -> list[Detection]:
        """The proposals that deserve a closer look, each person once, in the boxes that quick looks refine."""
        height, width = image.shape[:2]
        new = [proposal for proposal in proposals if not self._tracker.is_too_small(proposal.box, _BOX_GROWTH)]
        new.sort(key=lambda proposal: prominence(proposal.box, proposal.score, width, height), reverse=True)
        new = new[: self._tracker.room + _SPARE_PROPOSALS] if self._tracker.room else []
        if not new:
            return []
        boxes = [proposal.box for proposal in new]
        # Of a stream, later frames correct the box of somebody new.
        for _ in range(2 if self._reads_photograph else 1):
            seen = self._predict(image, boxes, view="plain")
            presences = self._verifier.presence(seen.output, [proposal.score for proposal in new]).tolist()
            likely = [presence >= _PROMISING_PRESENCE for presence in presences]
            new, boxes = list(compress(new, likely)), list(compress(seen.person_boxes(), likely))
            if not new:
                return []
        readings = compress(zip(seen.output.split(), seen.crops, presences, strict=True), likely)
        found = [
            (prominence(box, presence, width, height), replace(proposal, box=box, image_pose=pose))
            for proposal, box, (output, crop, presence) in zip(new, boxes, readings, strict=True)
            for pose in [ImagePose.from_output(output, crop)]
        ]
        candidates: list[Detection] = []
        for _, candidate in sorted(found, key=lambda pair: pair[0], reverse=True):
            if not any(is_same_person(candidate, other) for other in candidates):
                candidates.append(candidate)
        return candidates

    def _new(
        self, image: Image, candidates: Sequence[Detection], camera: Camera, least: float = _MIN_PRESENCE
    ) -> list[ObservedPerson]:
        """The candidates who are there, with at least such a presence, as far as they can be tracked."""
        if not candidates:
            return []
        still = self._reads_photograph
        seen = self._predict(image, [each.box for each in candidates], thorough=still, apart=True)
        presences = self._verifier.presence(seen.output, [each.score for each in candidates]).tolist()
        of_tracked = self._verifier.presence(seen.output.own, TRACKED_PRIOR).tolist()
        accepted, readings = list[Detection](), list[tuple[PerceptionOutput, CropBox, float]]()
        for output, crop, presence, own in zip(seen.output.split(), seen.crops, presences, of_tracked, strict=True):
            box, pose = person_box(output, crop), ImagePose.from_output(output, crop)
            evidence = Evidence.from_output(output, crop, box, presence, camera.width, camera.height)
            # A photograph has no second frame that could decide, and shows close-ups without located keypoints.
            nobody = evidence.is_nobody and not still
            if presence >= least and not nobody and not shows_head_of(self._tracker.seen, box, pose):
                accepted.append(Detection(box, presence, Appearance.from_output(output), pose))
                readings.append((output, crop, own))
        tracks = self._tracker.add_tracks(accepted, camera.width, camera.height)
        return [
            self._followed(track, image, output, crop, "both", presence=own)
            for track, (output, crop, own) in zip(tracks, readings, strict=True)
            if track is not None
        ]

    def _observe(
        self, image: Image, tracks: Sequence[TrackedPerson], view: View, known: Sequence[ObservedPerson] = ()
    ) -> list[ObservedPerson]:
        """Reads the people in the tracks' boxes, or propagates them from where they are `known` in the frame before."""
        if not tracks:
            return []
        heads = [track.head for track in tracks]
        pairs = zip(tracks, heads, strict=True)
        expected = [box_of(head.face, image) if head else track.expected_box() for track, head in pairs]
        if known:
            second, crops = self._perception.second, tuple(person.crop for person in known)
            outputs = [person.output for person in known if isinstance(person.output, FusedOutput)]
            assert second is not None and outputs
            moved = second.propagated(FusedOutput.concatenate(outputs), image, expected, crops, view=view)
            seen, presences = BoxPredictions(crops, moved), [person.score for person in known]
        else:
            seen = self._predict(image, expected, view=view, thorough=self._reads_photograph, apart=True)
            if not self._reads_photograph:
                seen = self._uncut(image, seen, view, [head is None for head in heads])
            presences = self._verifier.presence(seen.output.own, TRACKED_PRIOR).tolist()
        return [
            self._followed(track, image, output, crop, view, presence=presence, expected=box, propagated=bool(known))
            for track, box, presence, crop, output in zip(
                tracks, expected, presences, seen.crops, seen.output.split(), strict=True
            )
        ]

    def _followed(
        self,
        track: TrackedPerson,
        image: Image,
        output: PerceptionOutput,
        crop: CropBox,
        view: View,
        *,
        presence: float,
        expected: Box | None = None,
        propagated: bool = False,
    ) -> ObservedPerson:
        """One person of a frame; updates the track.

        Args:
            expected: where the person was looked for; None of one who is new.
            propagated: whether the output is propagated.
        """
        height, width = image.shape[:2]
        head, box = track.head, expected
        if head is not None:
            output, presence = with_head(output, crop, head), max(presence, head.face.score)
            track.drift = DriftDetector()
        else:
            refined = person_box(output, crop)
            evidence = Evidence.from_output(output, crop, refined, presence, width, height)
            track.drift.observe(evidence, self._clock.step_s)
            box = track.views.add(view, refined, self._clock.now_s)
            if expected is not None:
                there = presence >= _MIN_PRESENCE_OF_TRACKED
                box = smoothed_box(expected, box, box_gain(self._clock.step_s)) if there else None
            if presence >= _UPRIGHT_PRESENCE:
                self._roll.observe(output, crop, self._clock.step_s)
        track.observe(box, Appearance.from_output(output), ImagePose.from_output(output, crop))
        return ObservedPerson(track, presence, crop, output, view, head, propagated and head is None)

    def _behind(self, image: Image, people: Sequence[ObservedPerson], camera: Camera) -> list[ObservedPerson]:
        """People of a photograph who are found where everybody seen is hidden: they stand close to others."""
        if not people or not self._tracker.room:
            return []
        rest = without(image, [(person.output.mask_logits[0], person.crop) for person in people])
        hidden = (rest != image).any(axis=2)
        found = self._detector.find(rest, self._roll.radians, thorough=True)
        proposals = list[Detection]()
        for each in found:
            left, top, right, bottom = np.rint(each.box).astype(int)
            if np.count_nonzero(hidden[top:bottom, left:right]) < _MOST_HIDDEN * max(area(each.box), 1.0):
                proposals.append(each)
        new = self._new(rest, self._promising(rest, proposals), camera, _MIN_PRESENCE_BEHIND)
        present = self._tracker.update()
        return [each for each in new if each.person in present]

    @property
    def _is_fast(self) -> bool:
        """Whether a video is read fast; for a source that has only one frame, nobody measures it."""
        return not (self._live or self._first) and self.reads_videos_fast

    @property
    def _reads_photograph(self) -> bool:
        """Whether nothing corrects this frame later, and nothing waits for it."""
        return self._first and self._still

    def _uncut(self, image: Image, seen: BoxPredictions, view: View, grow: Sequence[bool]) -> BoxPredictions:
        """The same predictions; of people whose crops cut them off and may grow, those in larger crops."""
        height, width = image.shape[:2]
        rows = list(zip(seen.crops, seen.output.split(), strict=True))
        larger = {
            row: box
            for row, (crop, output) in enumerate(rows)
            if grow[row] and (box := uncut_box(output, crop, width, height)) is not None
        }
        if not larger:
            return seen
        again = self._predict(image, list(larger.values()), view=view)
        for row, crop, output in zip(larger, again.crops, again.output.split(), strict=True):
            rows[row] = crop, output
        crops, outputs = zip(*rows, strict=True)
        return BoxPredictions(crops, PerceptionOutput.concatenate(outputs))

    def _predict(
        self, image: Image, boxes: Sequence[Box], *, view: View = "both", thorough: bool = False, apart: bool = False
    ) -> BoxPredictions:
        """`predict_in_boxes`, in crops that are rolled as the camera is."""
        return predict_in_boxes(
            self._perception,
            image,
            boxes,
            view=view,
            thorough=thorough,
            live=self._live or self._is_fast,
            apart=apart,
            roll=self._roll.radians,
        )
