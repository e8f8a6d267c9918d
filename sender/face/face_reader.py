"""The face stage: adds the labels `face`, `eyes` and `head_shape` to people whose faces are large enough, in turn.

    keypoints ─ region ─ landmarks ─ aligned ─┬ actions ─ steady ─ labels
                  └── last landmarks ──┘      │    └── the person's face at rest
                                              └ head of the person ─ labels

What is not read has no labels: the receiver shows a neutral face.  A head that was read once stays.  Of close-ups,
perception has read the landmarks already.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from common.body.faces import ExpressionSpace
from common.body.model import GROUP as HEAD
from common.labels import GROUP_BY_NAME
from common.weights.devices import to_numpy
from sender.face.actions import LIDS, FaceActions, Lids, NeutralFace, lids_closed, lids_of_still
from sender.face.face_chart import ChartMemory
from sender.face.head import HeadMemory, HeadPose, HeadReading
from sender.face.landmarks import AlignedFace, FaceLandmarks, FaceReader, face_px, read_closely, region_of_keypoints
from sender.people.view import PeopleView, PersonView, Turn
from sender.perception.crop import USUAL_STEP_S, CropBox
from sender.perception.track import HELD_S, Memory, ObservedPerson

# Jitter of activations: a change is followed by d²/(d² + σ²) of it, so that words pass and noise does not.
_JITTER = 0.1


@dataclass(slots=True)
class FaceMemory:
    """Of one person.

    Args:
        people: (K,) the mean face n of `sender.face.actions`.
        turn: due since the face was last read; −∞ where it is lost.
        last: its landmarks then.
        activations: (52,) 0…1, steady.
        neutral: what the person's own face is like at rest.
        lids: what the lids do.
    """

    people: Tensor
    turn: Turn = field(default_factory=lambda: Turn(-math.inf))
    last: FaceLandmarks | None = None
    activations: FloatArray = field(default_factory=lambda: np.zeros(len(FACIAL_ACTIONS), np.float32))
    neutral: NeutralFace = field(default_factory=NeutralFace)
    lids: Lids = field(default_factory=Lids)

    @property
    def read_s(self) -> float:
        """When the face was last read; −∞ where it is lost."""
        return -math.inf if self.turn.due_s is None else self.turn.due_s

    def lose(self) -> None:
        """Forgets where the face is, and what it does; what it is like stays."""
        self.last, self.turn.due_s = None, -math.inf
        self.lids.lose()

    def read(self, network: FaceActions, face: AlignedFace, now_s: float, *, is_still: bool = False) -> None:
        """Takes an aligned face of this frame.

        Args:
            is_still: whether the frame is a picture of its own: nothing goes before it.
        """
        is_new = math.isinf(self.read_s)
        step_s = USUAL_STEP_S if is_new else now_s - self.read_s
        readings = network.readings(face, self.people)
        self.neutral.learn(readings, step_s)
        activations = self.neutral.activations(readings)
        if not is_new:
            change = activations - self.activations
            # Of frames that follow each other faster, each says less that is new.
            ignored = (_JITTER**2 / (change**2 + _JITTER**2)) ** min(step_s / USUAL_STEP_S, 1.0)
            activations = self.activations + change * (1 - ignored)
        if is_still:
            activations[LIDS] = lids_of_still(readings[LIDS], face.rotation)
        else:
            activations[LIDS] = self.lids.follow(lids_closed(face), face.rotation, step_s)
        self.activations, self.turn.due_s = np.asarray(activations, np.float32), now_s


logger = logging.getLogger(__name__)

_LEAST_PX = 40.0
"""Size of a face, below which mouth and lids are guesses: half as exact as at 90 pixels."""
_SURE_PX = 100.0
_LEAST_SCORE = 0.5
# Faces that are read in one frame, those first that were read last: the cost does not grow with the number of people.
_A_FRAME = 2
# The next region is that of the last landmarks, unless the keypoints are so far off, in its sides.
_MOST_MOVED = 0.25
_HEAD = 3
"""Nose and eyes among the keypoints."""


@dataclass(slots=True)
class _Known:
    """What is remembered of one person."""

    face: FaceMemory
    head: HeadMemory
    chart: ChartMemory = field(default_factory=ChartMemory)


class FaceStage:
    """Reads the faces of tracked people (`lays_charts`: and lays their pictures into charts)."""

    part = "face"

    def __init__(
        self,
        reader: FaceReader,
        network: FaceActions,
        space: ExpressionSpace,
        heads: HeadReading,
        *,
        lays_charts: bool = False,
    ) -> None:
        self._reader, self._network, self._space = reader, network.requires_grad_(False), space
        self._reading, self._lays_charts = heads, lays_charts
        self._alignment = network.alignment()
        self._people = Memory(lambda: _Known(FaceMemory(network.neutral), HeadMemory.unknown(heads)))

    @classmethod
    def load(cls, reader: FaceReader | None = None, *, lays_charts: bool = False) -> Self | None:
        """With the shipped weights; None, with a line in the log, where MediaPipe's networks are missing.

        Args:
            reader: of landmarks, if it is loaded already.
            lays_charts: whether pictures of faces are wanted (`sender.rate.face_video`).

        Raises:
            WeightsError: weights are missing, damaged or of another version.
        """
        reader = reader or FaceReader.load()
        if reader is None:
            logger.warning("faces are not read, because MediaPipe's networks are missing; `sender doctor` says more")
            return None
        heads = HeadReading.load()
        return cls(reader, FaceActions.load(), ExpressionSpace.load(), heads, lays_charts=lays_charts)

    @torch.inference_mode()
    def label(self, view: PeopleView) -> None:
        """Writes the labels of faces, which are there for `HELD_S` after one was read, and of heads."""
        known, schedule = [self._people.of(person.seen.person) for person in view.people], view.schedule
        for memory in known:
            if schedule.now_s - memory.face.read_s > HELD_S:
                memory.face.lose()
        pairs = zip(known, view.people, strict=True)
        regions = [self._region(memory.face, person.seen) for memory, person in pairs]
        turns = [memory.face.turn if region else None for memory, region in zip(known, regions, strict=True)]
        for row in schedule.due(turns, most=_A_FRAME, all_new=False, yields=True):
            self._read(view, known[row], regions[row], view.people[row].seen.head)
        for memory, person in zip(known, view.people, strict=True):
            self._write(memory, person, schedule.now_s)
            if self._lays_charts and person.face_landmarks is not None and memory.face.last is not None:
                face = memory.face.last
                person.face_chart = memory.chart.laid(view.image, face.points, face_px(face.region), schedule.now_s)

    def _region(self, memory: FaceMemory, person: ObservedPerson) -> CropBox | None:
        """Where a face is to be read; None where it is turned away or too small, and then it is lost."""
        if person.head is not None:
            return person.head.face.region
        output, region = person.output, None
        if bool((output.visible_logit[0, :_HEAD] > 0).all()):
            region = region_of_keypoints(person.crop.to_pixels(to_numpy(output.keypoints_2d[0])))
            if memory.last is not None and _near(memory.last.region, region):
                region = memory.last.region
            else:
                memory.lose()
        if region is None or face_px(region) < _LEAST_PX:
            memory.lose()
            return None
        return region

    def _read(self, view: PeopleView, known: _Known, region: CropBox | None, pose: HeadPose | None) -> None:
        memory, face = known.face, None
        if pose is not None:
            face = pose.face
        elif region is not None and memory.last is not None:
            face = self._reader.read(view.image, region, _LEAST_SCORE)
        elif region is not None:
            # Keypoints tell the region to a tenth, landmarks exactly.
            face = read_closely(self._reader, view.image, region, _LEAST_SCORE, _LEAST_SCORE)
        if face is None:
            memory.lose()
            return
        aligned, now_s = self._alignment.align(face), view.schedule.now_s
        step_s = now_s - memory.read_s
        memory.read(self._network, aligned, now_s, is_still=view.is_still)
        known.head.look(self._reading, self._network, aligned, memory.activations, step_s)
        memory.last = face

    def _write(self, known: _Known, person: PersonView, now_s: float) -> None:
        memory, head = known.face, known.head.entries(self._reading, person.labels["shape"])
        if head is not None:
            person.labels[HEAD] = head
        if memory.last is None:
            return
        entries = to_numpy(self._space.encode(torch.from_numpy(memory.activations)[None])[0])
        size = GROUP_BY_NAME["face"].size
        confidence = memory.last.score * min(1.0, face_px(memory.last.region) / _SURE_PX)
        person.write("face", entries[:size], confidence)
        person.write("eyes", entries[size:], confidence)
        person.face_landmarks = memory.last.array if memory.read_s == now_s else None


def _near(last: CropBox, region: CropBox) -> bool:
    """Whether a region is about where the last one was, and as large."""
    moved = np.hypot(*np.subtract(last.centre, region.centre)) / last.side
    return bool(moved < _MOST_MOVED and 0.6 < region.side / last.side < 1.6)
