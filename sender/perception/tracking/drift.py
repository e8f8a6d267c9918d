"""Drift of a tracked box: one that grows, drifts or disagrees with fresh detections is given up.

A box follows perception's own prediction in it, and the verifier takes furniture for people.  Two things are
independent of both: keypoints with narrow heat maps, which furniture rarely has, and the detector.
Boxes are (4,) left, top, right, bottom in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from common.arrays import Box
from sender.perception.inference.crop import CropBox
from sender.perception.inference.detector import Detection
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.boxes import area, confirms, intersection_over_union
from sender.perception.tracking.frame_clock import USUAL_STEP_S

# Located keypoints within this share of the crop's side are in one cell of a grid.
_CELL_SIZE = 0.1
# Nobody has fewer cells in a box that covers more of the frame, or at a lower presence.  Chosen on rendered clips and
# on `data/people`.
_MIN_CELLS, _MAX_COVERAGE, _MIN_PRESENCE = 2, 0.15, 0.6
# With so many cells a person is clear, and the box needs no confirmation.
_CLEAR_CELLS = 5
# Least share of a box that is within the frame, and its least longer side there.
_MIN_INSIDE, _MIN_SIDE_PX = 0.2, 8
# Least area of a person's mask over that of the box.
_MIN_FILL = 0.2
# A person's box changes by less from one frame to the next: ratio of areas and of aspects.
_MAX_AREA_CHANGE, _MAX_ASPECT_CHANGE = 1.5, 1.4
# A track is stationary while its box overlaps the one in which the person was last clear: people who turn away, who are
# hidden in part or blurred.  Any other track ends after so many seconds of nobody, or after so many searches in a row
# that did not confirm it; the second numbers are of stationary tracks, the third of an improbable person.
_STATIONARY_IOU = 0.5
_NOBODY_S, _STATIONARY_NOBODY_S = 0.03, 0.62
_CONTRADICTIONS, _STATIONARY_CONTRADICTIONS, _IMPROBABLE_CONTRADICTIONS = 3, 10, 1
# Below this presence nobody is clear, and the detector searches at once.
_CLEAR_PRESENCE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What perception knows about a box, besides its prediction.

    Args:
        presence: probability of a person, from the verifier.
        cells: cells of a grid over the crop with located keypoints.
        coverage: share of the frame that the box covers.
        inside: share of the box that is within the frame.
        side_px: longer side of the part within the frame.
        fill: area of the mask over that of the box.
    """

    box: Box
    presence: float
    cells: int
    coverage: float
    inside: float
    side_px: float
    fill: float

    @classmethod
    def from_output(
        cls, output: PerceptionOutput, crop: CropBox, box: Box, presence: float, width: int, height: int
    ) -> Self:
        """From the output for one person (a batch of one) in a crop of a frame of width × height."""
        located = output.keypoints_2d[0][output.located[0]].float().numpy()
        cells = {(int(x), int(y)) for x, y in np.floor(located / _CELL_SIZE)}
        limit = np.array([width, height, width, height])
        clipped = np.clip(box, 0, limit)
        mask_px = float((output.mask_logits[0].numpy() > 0).mean()) * crop.side**2
        clipped_px = area(clipped)
        return cls(
            box=box,
            presence=presence,
            cells=len(cells),
            coverage=clipped_px / (width * height),
            inside=clipped_px / max(area(box), 1.0),
            side_px=float((clipped[2:] - clipped[:2]).max()),
            fill=mask_px / max(area(box), 1.0),
        )

    @property
    def is_nobody(self) -> bool:
        """Whether the box is too large, too improbable or too far outside for keypoints at so few cells."""
        if self.inside < _MIN_INSIDE or self.side_px < _MIN_SIDE_PX:
            return True
        return self.cells < _MIN_CELLS and (self.coverage > _MAX_COVERAGE or self.presence < _MIN_PRESENCE)

    @property
    def is_clear(self) -> bool:
        probable = self.presence >= _CLEAR_PRESENCE and self.fill >= _MIN_FILL
        return probable and self.cells >= _CLEAR_CELLS and not self.is_nobody


@dataclass(slots=True, eq=False)
class DriftDetector:
    """Decides over time whether one track still shows its person.

    Args:
        clear_box: the box when the person was last clear; None before.
        nobody_s: since the first frame in a row in which perception showed nobody; None where it showed somebody.
        contradictions: searches in a row of the detector that did not confirm the box, since the person was clear.
        search_due: whether the detector must search in the next frame.
    """

    clear_box: Box | None = None
    nobody_s: float | None = None
    contradictions: int = 0
    search_due: bool = False
    last: Evidence | None = None

    def observe(self, evidence: Evidence, step_s: float = USUAL_STEP_S) -> None:
        """Takes what a frame showed, which was so much later than the last one."""
        self.search_due = not evidence.is_clear and self._may_have_drifted(evidence)
        if evidence.is_nobody:
            # One frame alone is never believed: it lasts no time.
            self.nobody_s = 0.0 if self.nobody_s is None else self.nobody_s + step_s
        else:
            self.nobody_s = None
        if evidence.is_clear:
            self.clear_box, self.contradictions = evidence.box, 0
        self.last = evidence

    def compare(self, box: Box, detections: Sequence[Detection]) -> None:
        """Takes the detections of a search; `box` is the track's before it."""
        confirmed = any(confirms(detection.box, box) for detection in detections)
        self.contradictions = 0 if confirmed else self.contradictions + 1

    @property
    def has_drifted(self) -> bool:
        """Whether the box shows nobody any more."""
        last = self.last
        if last is None or last.is_clear:
            return False
        if last.inside < _MIN_INSIDE or last.side_px < _MIN_SIDE_PX:
            return True
        nobody_s = self.nobody_s or 0.0
        if self._is_stationary(last.box):
            return nobody_s >= _STATIONARY_NOBODY_S or self.contradictions >= _STATIONARY_CONTRADICTIONS
        improbable = last.presence < _MIN_PRESENCE
        limit = _IMPROBABLE_CONTRADICTIONS if improbable else _CONTRADICTIONS
        return nobody_s >= _NOBODY_S or self.contradictions >= limit

    def _may_have_drifted(self, evidence: Evidence) -> bool:
        if evidence.is_nobody or evidence.fill < _MIN_FILL or evidence.presence < _CLEAR_PRESENCE:
            return True
        if self.contradictions or (self.clear_box is not None and not self._is_stationary(evidence.box)):
            return True
        return self.last is not None and _has_jumped(self.last.box, evidence.box)

    def _is_stationary(self, box: Box) -> bool:
        return self.clear_box is not None and intersection_over_union(self.clear_box, box) >= _STATIONARY_IOU


def _has_jumped(old: Box, new: Box) -> bool:
    """Whether area or aspect has changed faster than a person's does."""
    width, height = np.log(np.maximum(new[2:] - new[:2], 1) / np.maximum(old[2:] - old[:2], 1)).tolist()
    larger, wider = abs(width + height), abs(width - height)
    return bool(larger > np.log(_MAX_AREA_CHANGE) or wider > np.log(_MAX_ASPECT_CHANGE))
