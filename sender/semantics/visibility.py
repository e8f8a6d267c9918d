"""Which limbs nobody sees, steady confidences of the others, and the colours of regions, the `appearance` labels.

A limb is seen by one of its outer keypoints: elbow or wrist, knee or ankle, any of the head's.  Both the heat map and
the fitted body have to place it in the picture, and perception has to think it visible.  Legs whose hip both place
below the picture are not seen: what is read there is a hand, a table or cloth.  In a stream the evidence is averaged,
sooner upwards than downwards: a limb that comes into view is seen within 0.2 s, one that a hand covers for a moment
stays seen.

The thresholds are of the validation split.  Of rendered legs and arms whose outer keypoints are all visible 99.7 % are
kept, in photographs 97 % and 100 %; of legs beyond the edge of the picture, 82 to 88 % are found.  Of hidden arms only
one in four is: most are behind their person, where perception can follow them.

A frame shows one side of a person: each region's colour is a running mean weighted by its visible area.  A region that
was never visible takes the colour of its mirror image, or of a neighbour that usually has the same colour; a garment of
which nothing is seen has what is worn with the others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from common.arrays import FloatArray
from common.body.anatomy import REGION_INDEX, REGIONS, mirror_name
from common.frames import Camera
from common.labels import LIMBS, MAY_BE_UNSEEN
from common.wears import usual_colour
from common.weights.devices import to_numpy
from sender.perception.crop import USUAL_STEP_S, CropBox
from sender.perception.perception_network import PerceptionOutput
from sender.perception.track import HELD_S

LEAST_CONFIDENCE: Final = 1 / 15
"""Of a limb that is seen; the confidence of others is 0."""

# COCO keypoints of which one has to be seen.
_OUTER: Final = {
    "head": [0, 1, 2, 3, 4],
    "left_arm": [7, 9],
    "right_arm": [8, 10],
    "left_leg": [13, 15],
    "right_leg": [14, 16],
}
_ARMS: Final = {"left_arm", "right_arm"}
# Of each leg, its hip and its outer keypoints.
_LEGS: Final = np.array([[11, 13, 15], [12, 14, 16]])
# Log odds of being visible, beyond which more of them says no more, …
_SURE: Final = 3.0
# … below which a limb is unseen, and above which it is seen again.
_UNSEEN, _SEEN = -1.0, -0.2
# Time constants of the means, seconds: of log odds that rise and fall, and of the confidences.
_UP_S, _DOWN_S = 0.1, 0.5
_CONFIDENCE_S: Final = 0.5


def limb_log_odds(output: PerceptionOutput, fitted_K2: FloatArray, crop: CropBox, camera: Camera) -> FloatArray:
    """(L,) of the limbs of one person: the largest log odds that one of their outer keypoints is visible.

    Args:
        output: perception's, of one crop.
        fitted_K2: keypoints of the fitted body, pixels.
    """
    pixels = np.stack([crop.to_pixels(to_numpy(output.keypoints_2d[0])), fitted_K2])
    inside = np.asarray(((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=(0, 2)))
    below = (pixels[:, _LEGS[:, 0], 1] >= camera.height).all(axis=0)
    inside[_LEGS[below]] = False
    visible = np.where(inside, to_numpy(output.visible_logit[0]).clip(-_SURE, _SURE), -_SURE)
    return np.array([visible[_OUTER[limb]].max() for limb in LIMBS], np.float32)


@dataclass(slots=True)
class SteadyConfidence:
    """A person's confidences that are sent: averaged over time, and 0 for what nobody sees.

    Args:
        log_odds, confidence: running means: (L,) of the limbs, and of each group.
    """

    time_s: float = -math.inf
    log_odds: FloatArray = field(default_factory=lambda: np.zeros(len(LIMBS), np.float32))
    unseen: frozenset[str] = frozenset()
    confidence: dict[str, float] = field(default_factory=dict)

    def steady(self, time_s: float, confidence: Mapping[str, float], log_odds_L: FloatArray) -> dict[str, float]:
        """The confidence of each group; that of hands is 0 if both arms are unseen.

        Args:
            time_s: of the frame, on the source's clock; where it does not advance, this frame alone decides.
            confidence: of each group in this frame.
            log_odds_L: of `limb_log_odds`.
        """
        if 0.0 < time_s - self.time_s <= HELD_S:
            self._add(time_s - self.time_s, confidence, log_odds_L)
        else:
            self.log_odds, self.unseen, self.confidence = log_odds_L, _below(log_odds_L, frozenset()), dict(confidence)
        self.time_s = time_s
        hidden = {*self.unseen, *(["hands"] if self.unseen >= _ARMS else [])}
        return {
            group: 0.0 if group in hidden else max(value, LEAST_CONFIDENCE) if group in MAY_BE_UNSEEN else value
            for group, value in self.confidence.items()
        }

    def _add(self, step_s: float, confidence: Mapping[str, float], log_odds_L: FloatArray) -> None:
        gain = 1 - np.exp(-step_s / np.where(log_odds_L > self.log_odds, _UP_S, _DOWN_S))
        self.log_odds = np.asarray(self.log_odds + gain * (log_odds_L - self.log_odds), np.float32)
        self.unseen = _below(self.log_odds, self.unseen)
        share = 1 - math.exp(-step_s / _CONFIDENCE_S)
        for group, value in confidence.items():
            known = self.confidence.get(group, value)
            self.confidence[group] = known + share * (value - known)


def _below(log_odds_L: FloatArray, unseen: frozenset[str]) -> frozenset[str]:
    """The limbs that are unseen now, some of which were `unseen` before."""
    limits = [_SEEN if limb in unseen else _UNSEEN for limb in LIMBS]
    return frozenset(limb for limb, value, limit in zip(LIMBS, log_odds_L, limits, strict=True) if value < limit)


# Regions whose colour an unseen region takes after its mirror image, most likely first.
_SUBSTITUTES: dict[str, tuple[str, ...]] = {
    "scalp": ("face",),
    "face": ("hand.L", "hand.R"),
    "chest": ("upper_arm.L", "upper_arm.R"),
    "hips": ("thigh.L", "thigh.R"),
    "upper_arm": ("chest",),
    "forearm": ("upper_arm.L", "upper_arm.R", "chest"),
    "hand": ("face",),
    "thigh": ("shin.L", "shin.R"),
    "shin": ("thigh.L", "thigh.R"),
    "foot": (),
}
# Of other unseen regions the garment that covers them.
_GARMENTS = {
    **dict.fromkeys(("chest", "upper_arm", "forearm"), "top"),
    **dict.fromkeys(("hips", "thigh", "shin"), "bottom"),
    "foot": "shoes",
}
# Square root of the share of the crop from which a region is visible.
_MIN_AREA = 0.02
# Earlier frames weigh at most as much as the present one would in so many seconds, because light and clothing change.
_MEMORY_S = 2.0


def _stem(region: str) -> str:
    return region.removesuffix(".L").removesuffix(".R")


# Of each region those whose colour it takes if it was not seen, most likely first, and the garment that covers it.
_CANDIDATES = [
    [REGION_INDEX[name] for name in (mirror_name(region), *_SUBSTITUTES[_stem(region)])] for region in REGIONS
]
_GARMENT = [_GARMENTS.get(_stem(region)) for region in REGIONS]


@dataclass(slots=True)
class RegionColours:
    """One person's colours.

    Args:
        colours: (R, 3) running means, 0…1.
        weights: (R,) sums of visible areas, shares of the crop, times seconds, with an upper limit.
    """

    colours: FloatArray = field(default_factory=lambda: np.full((len(REGIONS), 3), 0.5, np.float32))
    weights: FloatArray = field(default_factory=lambda: np.zeros(len(REGIONS), np.float32))

    def update(self, colours: FloatArray, areas: FloatArray, step_s: float = USUAL_STEP_S) -> FloatArray:
        """Adds one frame and returns the colours (R, 3), completed for unseen regions.

        Args:
            colours: (R, 3) mean visible colour of each region in this frame.
            areas: (R,) square root of the share of the crop that it covers.
            step_s: since the last frame.
        """
        area = np.where(areas > _MIN_AREA, areas * areas, np.float32(0))
        weight = area * np.float32(min(step_s, _MEMORY_S))
        total = self.weights + weight
        share = weight / np.maximum(total, np.float32(1e-12))
        self.colours = self.colours + share[:, None] * (colours - self.colours)
        limit = _MEMORY_S * area.max()
        self.weights = np.minimum(total, limit) if limit > 0 else total
        return self._completed()

    def _completed(self) -> FloatArray:
        completed, seen = self.colours.copy(), (self.weights > 0).tolist()
        unknown = []
        for index in (index for index, known in enumerate(seen) if not known):
            substitute = next((other for other in _CANDIDATES[index] if seen[other]), None)
            if substitute is None:
                unknown.append(index)
            else:
                completed[index] = self.colours[substitute]
        for index in unknown:
            garment = _GARMENT[index]
            if garment is not None:
                completed[index] = usual_colour(garment, completed)
        return completed
