"""The perception stage: a frame → the people tracked in it, each with perception's predictions."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

from common.arrays import Box, Image
from common.frames import Camera
from common.weights.devices import CPU
from sender.face.landmarks import FaceReader
from sender.people.tracked_person import TrackedPerson
from sender.perception.capacity import limits_of
from sender.perception.close_ups import CloseUps, box_of, shows_head_of, with_head
from sender.perception.config import TrackerConfig, TrackingConfig
from sender.perception.inference.crop import CropBox
from sender.perception.inference.detector import BOTH, Detection, Detector
from sender.perception.inference.detector_file import DetectorFile
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import BoxPredictions, person_box, predict_in_boxes, uncut_box
from sender.perception.inference.verifier import Verifier
from sender.perception.key_frames import KeyFrames
from sender.perception.movenet.neighbours import without
from sender.perception.network.fused_output import FusedOutput
from sender.perception.network.output import PerceptionOutput
from sender.perception.observed_person import ObservedPerson
from sender.perception.search_schedule import SearchSchedule
from sender.perception.tracking.boxes import box_gain, covered, prominence, smoothed_box
from sender.perception.tracking.camera_roll import CameraRoll
from sender.perception.tracking.drift import DriftDetector, Evidence
from sender.perception.tracking.frame_clock import FrameClock
from sender.perception.tracking.rejected_boxes import RejectedBoxes
from sender.perception.tracking.similarity import Appearance, ImagePose
from sender.perception.tracking.tracker import Candidate, Tracker
from sender.perception.tracking.view_turns import View, ViewTurns

# Least presence of a new person, by one look, by both, and by one and MoveNet.  Both, or MoveNet, decide in a source's
# first frame, which may be a photograph: later, the first look is in one view, and another frame follows.
_MIN_PRESENCE, _MIN_PRESENCE_OF_BOTH, _MIN_PRESENCE_OF_OPINIONS = 0.8, 0.66, 0.5
# Least presence of whom MoveNet has let pass, by a thorough look and MoveNet: of the people who are published, 4 % are
# nobody (`tests.bench.photos --held-out`).
_MIN_PRESENCE_BY_THOROUGH_LOOK, _MIN_PRESENCE_BEHIND = 0.67, 0.8
# Least presence of a tracked person, by one look.
_MIN_PRESENCE_OF_TRACKED = 0.3
# Least presence in the proposed box for a closer look, by one look, and by it and MoveNet: hardly any person has less.
_PROMISING_PRESENCE, _PROMISING_BY_OPINIONS = 0.1, 0.2
# Somebody behind others is looked for where they hide a smaller share of the proposed box; what is left of those who
# are hidden there is proposed, too.
_MOST_HIDDEN = 0.3
# Prior probability that a person who was tracked in the last frame is still there.
TRACKED_PRIOR = 0.5
# Proposals that are verified beyond the room for new people.
_SPARE_PROPOSALS = 3
# A refined box is at most so much larger than the proposal: two crops of 1.25 times the box, and keypoints beyond them.
_BOX_GROWTH = 2.0
# Least presence of a person who tells the camera's roll.
_UPRIGHT_PRESENCE = 0.9


class PerceptionStage:
    """Detects people in some frames and tracks them in between.

    A frame goes one way:

        schedule ─ detector ─ tracker ─ proposals not rejected before ─ two looks ─ tracker
                                                                                       │
                                        tracker ─ turns, roll ─ perception, verifier ──┘

    Heads that fill the picture take a shorter one (`sender.perception.close_ups`).

    Args:
        close_ups: finds these; None finds none.
    """

    def __init__(
        self,
        detector: Detector | DetectorFile,
        perception: Perception,
        verifier: Verifier,
        limits: TrackerConfig,
        close_ups: CloseUps | None = None,
        *,
        live: bool = False,
    ) -> None:
        self._detector = detector
        self._close_ups = close_ups
        self._perception = perception
        self._verifier = verifier
        self._tracker = Tracker(limits)
        self._live = live
        self.reset()

    @classmethod
    def load(cls, tracking: TrackingConfig, device: torch.device = CPU, *, cameras: int = 0) -> Self:
        """With the shipped weights.

        Args:
            cameras: where the source is a camera, how many there are, whose people must not be more than the machine
                carries; 0 for another source.

        Raises:
            UsageError: the network of `--detector` cannot be used.
            WeightsError: weights are missing, damaged or of another version.
        """
        perception = Perception.load(device=device, keypoints=tracking.keypoints)
        limits = limits_of(tracking, perception, cameras)
        detector = DetectorFile.load(tracking.detector) if tracking.detector else Detector.load(device=device)
        return cls(detector, perception, Verifier.load(), limits, CloseUps.load(), live=cameras > 0)

    def anew(self, tracking: TrackingConfig, *, cameras: int = 0) -> Self:
        """Another one by the same networks, which knows nobody; arguments as of `load`."""
        limits, live = limits_of(tracking, self._perception, cameras), cameras > 0
        return type(self)(self._detector, self._perception, self._verifier, limits, self._close_ups, live=live)

    @property
    def face_reader(self) -> FaceReader | None:
        """What reads the landmarks of close-ups; None where these are not found."""
        return None if self._close_ups is None else self._close_ups.reader

    @property
    def max_people(self) -> int:
        """Most people that it follows at a time."""
        return self._tracker.config.max_people

    @property
    def known(self) -> tuple[TrackedPerson, ...]:
        """Who is tracked, also of those who are lost."""
        return self._tracker.known

    def prepare_stills(self) -> None:
        """Loads what the first photograph would otherwise wait for."""
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
        self._rejected = RejectedBoxes()
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
        if is_late and take_turns and self._perception.second is not None:
            self._key_frames.late(now_s)
        scales: Sequence[float] = ()
        # A key frame after a propagated one has no time for a search; the next frame has.
        if urgent or not self._key_frames.was_propagated:
            boxes = [track.box for track in self._tracker.seen]
            scales = self._schedule.scales(image, boxes, now_s, urgent=urgent)
        if scales:
            proposals = self._tracker.associate(self._detector.find(image, scales, self._roll.radians))
            self._tracker.add_tracks(self._verified(image, proposals, urgent=urgent), camera.width, camera.height)
        if self._close_ups is not None:
            self._find_heads(self._close_ups, image, searches=bool(scales), lost=lost)
        known = [] if urgent else self._key_frames.before(self._tracker.seen, now_s)
        views = [track.views for track in self._tracker.seen]
        view = self._turns.next_view(views, time_s if take_turns else None, keeps=bool(known))
        people = self._observe(image, self._tracker.seen, view, known=known)
        self._key_frames.keep(people, now_s)
        if self._first and self._still:
            people += self._behind(image, people, camera)
        self._first = False
        return tuple(sorted(people, key=lambda person: person.crop.side * person.score, reverse=True))

    def _find_heads(self, close_ups: CloseUps, image: Image, *, searches: bool, lost: bool) -> None:
        """Looks for heads that fill the picture, and tracks those of people who are not tracked yet."""
        height, width = image.shape[:2]
        heads = close_ups.find(image, self._tracker.seen, searches=searches, lost=lost)
        boxes = [box_of(head.face, image) for head in heads]
        new = [Candidate(box, head.face.score) for box, head in zip(boxes, heads, strict=True)]
        self._tracker.add_tracks(new, width, height)
        for track in self._tracker.seen:
            for box, head in zip(boxes, heads, strict=True):
                if track.box is box:
                    track.head = head

    def _verified(self, image: Image, proposals: Sequence[Detection], *, urgent: bool) -> list[Candidate]:
        """The proposals in which the verifier finds people after box refinement; the boxes of the others are kept.

        Args:
            urgent: somebody who was here is looked for.
        """
        height, width = image.shape[:2]
        new = [
            proposal
            for proposal in proposals
            if not self._rejected.waits(proposal.box, self._schedule.round, urgent=urgent)
            and not self._tracker.is_too_small(proposal.box, _BOX_GROWTH)
        ]
        new.sort(key=lambda proposal: prominence(proposal.box, proposal.score, width, height), reverse=True)
        promising = self._promising(image, new[: self._tracker.room + _SPARE_PROPOSALS] if self._tracker.room else [])
        if not promising:
            return []
        proposals, first = zip(*promising, strict=True)
        # In a photograph, a thorough look follows.
        boxes = [person_box(output, crop) for output, crop in first]
        seen = self._predict(image, boxes, view="plain" if self._first else "both")
        first_output = PerceptionOutput.concatenate([output for output, _ in first]) if self._first else None
        least, judged = _MIN_PRESENCE, seen.output.own
        if self._first:
            judged = seen.output
            least = _MIN_PRESENCE_OF_OPINIONS if isinstance(judged, FusedOutput) else _MIN_PRESENCE_OF_BOTH
        scores = [proposal.score for proposal in proposals]
        presences = self._verifier.presence(judged, scores, first_output).tolist()
        candidates = []
        for proposal, output, crop, presence in zip(proposals, seen.output.split(), seen.crops, presences, strict=True):
            box = person_box(output, crop)
            # A photograph has no second frame that could decide, and shows close-ups without located keypoints.
            nobody = not self._first and Evidence.from_output(output, crop, box, presence, width, height).is_nobody
            pose = ImagePose.from_output(output, crop)
            if presence < least or nobody or shows_head_of(self._tracker.seen, box, pose):
                self._rejected.add(proposal.box, self._schedule.round)
            else:
                candidates.append(Candidate(box, presence, Appearance.from_output(output), pose))
        return candidates

    def _promising(
        self, image: Image, proposals: Sequence[Detection]
    ) -> list[tuple[Detection, tuple[PerceptionOutput, CropBox]]]:
        """The proposals that deserve a closer look, with what was seen in them; the boxes of the others are kept."""
        if not proposals:
            return []
        seen = self._predict(image, [proposal.box for proposal in proposals], view="plain")
        looks = zip(proposals, zip(seen.output.split(), seen.crops, strict=True), strict=True)
        judged = seen.output if self._first else seen.output.own
        least = _PROMISING_BY_OPINIONS if isinstance(judged, FusedOutput) else _PROMISING_PRESENCE
        presences = self._verifier.presence(judged, [proposal.score for proposal in proposals])
        promising = []
        for look, presence in zip(looks, presences, strict=True):
            if presence < least:
                self._rejected.add(look[0].box, self._schedule.round)
            else:
                promising.append(look)
        return promising

    def _observe(
        self,
        image: Image,
        tracks: Sequence[TrackedPerson],
        view: View,
        least: float = _MIN_PRESENCE_BY_THOROUGH_LOOK,
        known: Sequence[ObservedPerson] = (),
    ) -> list[ObservedPerson]:
        """Predicts the people in the tracks' boxes, and updates the tracks; returns those who are there.

        Args:
            least: as of `_verdicts`.
            known: the same people in the frame before, from which they are propagated; nobody, if they are read anew.
        """
        if not tracks:
            return []
        height, width = image.shape[:2]
        heads = [track.head for track in tracks]
        pairs = zip(tracks, heads, strict=True)
        expected = [box_of(head.face, image) if head else track.expected_box() for track, head in pairs]
        if known:
            seen, presences = self._propagated(image, expected, known, view), [person.score for person in known]
        else:
            # Nothing corrects a photograph later, and nothing waits for it.
            thorough = self._first and self._still
            seen = self._predict(image, expected, view=view, thorough=thorough, apart=True)
            if not thorough:
                seen = self._uncut(image, seen, view, [head is None for head in heads])
            presences = self._verifier.presence(seen.output.own, TRACKED_PRIOR).tolist()
        there = self._verdicts(seen.output, tracks, presences, least)
        people = []
        for track, head, old, presence, is_there, crop, output in zip(
            tracks, heads, expected, presences, there, seen.crops, seen.output.split(), strict=True
        ):
            if head is not None:
                output, presence = with_head(output, crop, head), max(presence, head.face.score)
                track.drift = DriftDetector()
                box: Box | None = old
            else:
                refined = person_box(output, crop)
                evidence = Evidence.from_output(output, crop, refined, presence, width, height)
                track.drift.observe(evidence, self._clock.step_s)
                mean = track.views.add(view, refined, self._clock.now_s)
                box = smoothed_box(old, mean, box_gain(self._clock.step_s)) if is_there else None
                if presence >= _UPRIGHT_PRESENCE:
                    self._roll.observe(output, crop, self._clock.step_s)
            track.observe(box, Appearance.from_output(output), ImagePose.from_output(output, crop))
            propagated = bool(known) and head is None
            people.append(ObservedPerson(track, presence, crop, output, view, head, propagated))
        present = self._tracker.update()
        return [each for each in people if each.person in present]

    def _behind(self, image: Image, people: Sequence[ObservedPerson], camera: Camera) -> list[ObservedPerson]:
        """People of a photograph who are found where everybody seen is hidden: they stand close to others."""
        if not people or not self._tracker.room:
            return []
        rest = without(image, [(person.output.mask_logits[0], person.crop) for person in people])
        hidden, known = (rest != image).any(axis=2), self._tracker.seen
        found = self._detector.find(rest, BOTH, self._roll.radians)
        proposals = [each for each in found if covered(each.box, hidden) < _MOST_HIDDEN]
        self._tracker.add_tracks(self._verified(rest, proposals, urgent=True), camera.width, camera.height)
        new = [track for track in self._tracker.seen if track not in known]
        return self._observe(rest, new, "both", _MIN_PRESENCE_BEHIND)

    def _verdicts(
        self, output: PerceptionOutput, tracks: Sequence[TrackedPerson], presences: Sequence[float], least: float
    ) -> list[bool]:
        """Whether the people of the tracks are there.

        In a source's first frame, Thunder's scores decide, after what made them candidates.

        Args:
            least: probability that somebody has in a source's first frame.
        """
        if not (self._first and isinstance(output, FusedOutput)):
            return [presence >= _MIN_PRESENCE_OF_TRACKED for presence in presences]
        posteriors = self._verifier.presence(output, [track.found_presence for track in tracks])
        return [posterior >= least for posterior in posteriors.tolist()]

    def _uncut(self, image: Image, seen: BoxPredictions, view: View, grow: Sequence[bool]) -> BoxPredictions:
        """The same predictions; of people who are cut off by their crops, those in larger crops.

        Args:
            grow: whose crops may grow.
        """
        height, width = image.shape[:2]
        rows = seen.output.split()
        boxes = [
            uncut_box(output, crop, width, height) if grows else None
            for output, crop, grows in zip(rows, seen.crops, grow, strict=True)
        ]
        larger = [box for box in boxes if box is not None]
        if not larger:
            return seen
        again = self._predict(image, larger, view=view)
        fresh = iter(zip(again.crops, again.output.split(), strict=True))
        pairs = [
            (crop, output) if box is None else next(fresh)
            for crop, output, box in zip(seen.crops, rows, boxes, strict=True)
        ]
        outputs = PerceptionOutput.concatenate([output for _, output in pairs])
        return BoxPredictions(tuple(crop for crop, _ in pairs), outputs)

    def _propagated(
        self, image: Image, boxes: Sequence[Box], known: Sequence[ObservedPerson], view: View
    ) -> BoxPredictions:
        """People of the frame before in their crops, moved on to where they are in this one."""
        second, crops = self._perception.second, tuple(person.crop for person in known)
        outputs = [person.output for person in known if isinstance(person.output, FusedOutput)]
        assert second is not None and outputs
        return BoxPredictions(
            crops, second.propagated(FusedOutput.concatenate(outputs), image, boxes, crops, view=view)
        )

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
            live=self._live,
            apart=apart,
            roll=self._roll.radians,
        )
