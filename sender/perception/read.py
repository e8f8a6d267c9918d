"""Reading the people in boxes of a frame: predictions, refined boxes, and whether anybody is there.

    boxes ─ crops, rolled as the camera is ─ perception, MoveNet ─┬─ refined boxes
                                                                  └─ verifier: presence

The detector confuses trees or bags with people.  On a negative crop, perception's heat maps have no narrow peaks: the
verifier reads its uncertainties and the statistics of its trunk, but none of its predictions, and MoveNet's scores.

Shapes: B crops, J = 17 keypoints.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import BoolArray, Box, Float64Array, FloatArray, Image
from common.body.anatomy import KEYPOINT_INDEX
from common.text import counted
from common.weights.graph_cache import GRAPHS
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY
from sender.config import Quality, TrackerConfig, TrackingConfig
from sender.perception.crop import USUAL_STEP_S, CropBox, View
from sender.perception.heads import KEYPOINTS
from sender.perception.perception_network import PARTS, SUMMARY, FusedOutput, PerceptionOutput
from sender.perception.predictor import Perception, predict_zoomed
from sender.perception.track import ObservedPerson, TrackedPerson

# How far a person extends beyond their keypoints (to the left, top, right, bottom), over the longer side of the
# keypoints' box.
_MARGINS = np.array([-0.12, -0.16, 0.12, 0.12], dtype=np.float32)
# Located keypoints from which their box bounds the person.
_MIN_LOCATED = 9
# With fewer, probable ones only widen the mask's box: of a smaller standard deviation (crop units) …
_MAX_SIGMA = 0.12
# … and a larger logit of being visible, …
_MIN_VISIBLE_LOGIT = -2.0
# … if there are so many of them.
_MIN_KEYPOINTS = 3
# A mask that covers less of the crop is ignored.
_MIN_MASK_SHARE = 0.01
# Share of a mask's pixels on each side that are taken for specks.
_MASK_TAIL = 0.005
# A mask and a keypoint so near to a side of the crop are cut off there, crop units; …
_CUT_MASK, _CUT_KEYPOINT = 0.02, 0.06
# … the person may extend so far beyond it.
_BEYOND_CUT = 0.25
# The box of a crop in which nothing is found, crop units.
_DEFAULT_BOX = np.array([0.1, 0.1, 0.9, 0.9], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class BoxPredictions:
    """Perception's predictions in boxes of a frame.

    Args:
        output: one row per crop.
    """

    crops: tuple[CropBox, ...]
    output: PerceptionOutput

    def person_boxes(self) -> list[Box]:
        """The refined box (4,) of the person in each crop, in pixels of the frame."""
        return [person_box(output, crop) for output, crop in zip(self.output.split(), self.crops, strict=True)]


def predict_in_boxes(
    perception: Perception,
    image: Image,
    boxes: Sequence[Box],
    *,
    view: View = "both",
    thorough: bool = False,
    live: bool = False,
    apart: bool = False,
    roll: float = 0.0,
) -> BoxPredictions:
    """Predicts the people in boxes (4,) of a frame (H, W, 3) uint8 RGB as one batch, with a second opinion if there is.

    Args:
        view: how the networks see each crop.
        thorough: with zoom augmentation, in five times the time of one view.
        live: of a camera, whose second opinion is the faster one.
        apart: the boxes are different people's.
        roll: of the crops, radians clockwise.

    Raises:
        ValueError: there is no box.
    """
    crops = tuple(CropBox.around(box, roll=roll) for box in boxes)

    def perceive() -> PerceptionOutput:
        if thorough:
            return predict_zoomed(perception, image, crops)
        return perception.observe([crop.cut(image, perception.size) for crop in crops], view)

    if perception.second is None:
        return BoxPredictions(crops, perceive())
    fused = perception.second.fused(perceive, image, boxes, crops, view=view, thorough=thorough, live=live, apart=apart)
    return BoxPredictions(crops, fused)


def person_box(output: PerceptionOutput, crop: CropBox) -> Box:
    """The box of one person, in pixels of the frame, from mask and keypoints (`output` is a batch of one).

    In a crop that is rolled, it is the box there, turned upright around its centre.

    The mask may include parts of another person, and keypoints may be missing.  With enough located keypoints, the box
    is the intersection of the mask's box and the keypoints' box with margins; with few, keypoints only widen the mask's
    box.
    """
    positions, sigma = output.keypoints_2d[0].numpy(), output.keypoints_sigma[0].numpy()
    visible_logit = output.visible_logit[0].numpy()
    mask: BoolArray = np.greater(output.mask_logits[0].numpy(), 0)
    mask_corners = _mask_corners(mask) if mask.mean() > _MIN_MASK_SHARE else None
    located = positions[output.located[0].numpy()]
    probable = positions[(sigma < _MAX_SIGMA) & (visible_logit > _MIN_VISIBLE_LOGIT)]
    if len(located) >= _MIN_LOCATED:
        box = _with_margins(located)
        if mask_corners is not None:
            box = np.concatenate([np.maximum(box[:2], mask_corners[0]), np.minimum(box[2:], mask_corners[1])])
    elif len(probable) >= _MIN_KEYPOINTS:
        box = _with_margins(probable) if mask_corners is None else _around(np.concatenate([probable, mask_corners]))
    else:
        box = _DEFAULT_BOX if mask_corners is None else mask_corners.reshape(4)
    middle = crop.to_pixels(((box[:2] + box[2:]) / 2).astype(np.float32))
    half = crop.side * (box[2:] - box[:2]) / 2
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def uncut_box(output: PerceptionOutput, crop: CropBox, width: int, height: int) -> Box | None:
    """The box of one person whom a side of the crop cuts off inside a frame of width × height, with room there.

    None where no side does.  A box that follows a person cannot grow beyond its crop: somebody who gets up fast would
    leave it.  In a crop that is rolled, the sides are those of the crop.
    """
    corner, keypoints = np.array([crop.left, crop.top]), output.keypoints_2d[0].numpy()
    at_low = (keypoints.min(axis=0) < _CUT_KEYPOINT) & (corner > 0)
    at_high = (keypoints.max(axis=0) > 1 - _CUT_KEYPOINT) & (corner + crop.side < [width, height])
    mask: BoolArray = np.greater(output.mask_logits[0].numpy(), 0)
    # Hardly anybody's keypoints are at a side: masks take longer.
    if not (at_low.any() or at_high.any()) or mask.mean() <= _MIN_MASK_SHARE:
        return None
    low, high = _mask_corners(mask)
    cut = np.concatenate([at_low & (low < _CUT_MASK), at_high & (high > 1 - _CUT_MASK)])
    if not cut.any():
        return None
    beyond = _BEYOND_CUT * crop.side * cut * np.array([-1, -1, 1, 1])
    return np.asarray(person_box(output, crop) + beyond, np.float32)


def _around(points_N2: FloatArray) -> Box:
    return np.concatenate([points_N2.min(axis=0), points_N2.max(axis=0)])


def _with_margins(keypoints_N2: FloatArray) -> Box:
    """A person's box from the keypoints, the outermost of which are ankles and eyes."""
    box = _around(keypoints_N2)
    return np.asarray(box + _MARGINS * (box[2:] - box[:2]).max(), dtype=np.float32)


def _mask_corners(mask_HW: BoolArray) -> FloatArray:
    """Upper left and lower right corner (2, 2) of a mask in crop units, with its outermost 1 % cut off as specks."""
    corners = []
    for axis in (0, 1):
        counts = np.count_nonzero(mask_HW, axis=axis).cumsum()
        share = counts / counts[-1]
        low = int((share < _MASK_TAIL).sum())
        high = int((share < 1 - _MASK_TAIL).sum()) + 1
        corners.append((low / len(share), high / len(share)))
    return np.array([[corners[0][0], corners[1][0]], [corners[0][1], corners[1][1]]], dtype=np.float32)


WEIGHTS_NAME = "verifier"
EVIDENCE = 4 * KEYPOINTS + (PARTS - 1) + 5 + SUMMARY
KIND = "verifier-mlp-4"
_LOG_SIGMA_OFFSET = 3.0
# The second opinion's surest keypoints, of which its certainty is the mean: somebody cut or hidden in part has as many.
_SUREST = 5
_LEAST_SCORE = 0.01


def evidence(output: PerceptionOutput) -> Tensor:
    """(B, EVIDENCE): perception's own uncertainties of each keypoint and body region, of the pose and of the mask; then
    its trunk's statistics.
    """
    output = output.own
    person = output.mask_logits.sigmoid()
    sections = (
        output.visible_logit,
        output.keypoints_sigma.log() + _LOG_SIGMA_OFFSET,
        output.heat_logits.amax(dim=(-2, -1)),
        output.joints_log_variance * 0.5 + 2,
        output.region_area * 4,
        output.rotations_log_variance.mean(dim=1, keepdim=True) * 0.5 + 2,
        output.shape_log_variance.mean(dim=1, keepdim=True),
        output.camera_log_variance.mean(dim=1, keepdim=True) * 0.5 + 2,
        output.depth_log_variance[:, None] * 0.5 + 2,
        (2 * person - 1).abs().mean(dim=(-2, -1))[:, None] * 10 - 8,
        output.summary,
    )
    return torch.cat([section.float() for section in sections], dim=1)


def second_certainty(output: FusedOutput) -> Tensor:
    """(B,) mean log odds of the five largest scores that the second opinion gives to keypoints."""
    surest = output.second_score.float().topk(_SUREST, dim=1).values
    return surest.clamp(_LEAST_SCORE, 1 - _LEAST_SCORE).logit().mean(dim=1)


@dataclass(frozen=True, slots=True)
class VerifierConfig:
    """Sizes of the network, as the manifest records them.

    Args:
        hidden: width of the hidden layer.
    """

    hidden: int = 24


class VerifierNet(nn.Module):
    """Evidence (B, EVIDENCE) → (B,) log likelihood ratios of a person (also one seen in part) against anything else."""

    def __init__(self, config: VerifierConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm1d(EVIDENCE, affine=False)
        self.hidden = nn.Linear(EVIDENCE, config.hidden)
        self.verdict = nn.Linear(config.hidden, 1)
        self.opinions = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 1))

    def forward(self, evidence_BE: Tensor) -> Tensor:
        log_ratio: Tensor = self.verdict(functional.gelu(self.hidden(self.norm(evidence_BE))))
        return log_ratio[:, 0]

    def of_two_opinions(self, evidence_BE: Tensor, certainty_B: Tensor, prior_log_odds_B: Tensor) -> Tensor:
        """(B,) log odds of a person, from the evidence of one look and `second_certainty`: a logistic regression."""
        own = self(evidence_BE).detach() + prior_log_odds_B
        verdict: Tensor = self.opinions(torch.stack([own, certainty_B], dim=1))
        return verdict[:, 0]


class Verifier:
    """Estimates whether crops show a person, from perception's output."""

    def __init__(self, net: VerifierNet) -> None:
        self.net = net.eval().requires_grad_(False)

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY) -> Self:
        """The shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, VerifierConfig, VerifierNet, directory))

    @torch.inference_mode()
    def presence(self, output: PerceptionOutput, prior: npt.ArrayLike) -> FloatArray:
        """The probability that each crop shows a person, (B,) 0…1.

        Args:
            output: perception's, B crops; with a second opinion (`FusedOutput`), it counts.
            prior: (B,) or one for all: the probability before perception, such as the detector's score.
        """
        prior_log_odds = log_odds(torch.as_tensor(prior, dtype=torch.float32).expand(len(output)))
        if isinstance(output, FusedOutput):
            posterior = self.net.of_two_opinions(evidence(output), second_certainty(output), prior_log_odds)
        else:
            posterior = self.net(evidence(output)) + prior_log_odds
        return np.asarray(posterior.sigmoid().numpy(), dtype=np.float32)


def log_odds(probability: Tensor) -> Tensor:
    """Log odds of probabilities, which are clamped to 0.02…0.98."""
    return torch.logit(probability, eps=0.02)


_SHOULDERS, _HIPS, _ANKLES = (
    [KEYPOINT_INDEX[f"left_{name}"], KEYPOINT_INDEX[f"right_{name}"]] for name in ("shoulder", "hip", "ankle")
)
# The mean's time constant, seconds, and the least number of people, times frames, that are an estimate.
_MEAN_S, _LEAST_SEEN = 3.3, 8
# The mean's least length: below it, people lean in all directions.
_LEAST_AGREEMENT = 0.9
# Smaller rolls are left alone: the networks are trained with them.
_LEAST = np.radians(12)
# A new roll counts if it differs by more.
_CHANGE = np.radians(6)
# Nobody holds a camera at a larger roll.
_MOST = np.radians(50)


class CameraRoll:
    """The roll of one source's camera, from how the people before it stand.

    The networks are trained with cameras that are nearly level: before one that is rolled by 25°, a third of the people
    are not found, and poses are worse.  Somebody who leans does not roll the camera, so the estimate is a mean over
    everybody and over seconds.

    Attributes:
        radians: clockwise in the frame by which upright people are turned; 0 while unknown or small.
    """

    def __init__(self) -> None:
        self.radians = 0.0
        self._mean: Float64Array = np.zeros(2)
        self._seen = 0

    def observe(self, output: PerceptionOutput, crop: CropBox, step_s: float = USUAL_STEP_S) -> None:
        """Takes one person of a frame (a batch of one), which was so much later than the last frame.

        Whose feet (or hips) and shoulders are not located says nothing, nor does who is nearly as wide as high, sitting
        or lying.
        """
        located = output.located[0].numpy()
        lower = _ANKLES if located[_ANKLES].all() else _HIPS
        if not (located[_SHOULDERS].all() and located[lower].all()):
            return
        places = crop.to_pixels(output.keypoints_2d[0].float().numpy()).astype(np.float64)
        up = places[_SHOULDERS].mean(axis=0) - places[lower].mean(axis=0)
        length = float(np.linalg.norm(up))
        if length <= np.linalg.norm(places[_SHOULDERS[0]] - places[_SHOULDERS[1]]):
            return
        self._seen += 1
        self._mean += max(1 - math.exp(-step_s / _MEAN_S), 1 / self._seen) * (up / length - self._mean)
        if self._seen < _LEAST_SEEN:
            return
        found = float(np.arctan2(self._mean[0], -self._mean[1]))
        certain = np.linalg.norm(self._mean) > _LEAST_AGREEMENT and abs(found) <= _MOST
        wanted = found if certain and abs(found) >= _LEAST - (_CHANGE if self.radians else 0.0) else 0.0
        if abs(wanted - self.radians) > _CHANGE:
            self.radians = wanted


# A frame that is later than a key frame by more is one, too.
_PROPAGATED_S = 0.2
# After a late frame, frames are propagated for so long: for twice as long whenever it was not long enough.
_FIRST_PAUSE_S, _MOST_PAUSE_S = 2.0, 32.0


class KeyFrames:
    """Decides which frames of a source are key frames: all, until one is late.

    Then perception reads every other frame of a camera, and its output is propagated to the ones between: what it says
    of a person changes little but for where the keypoints are, which MoveNet tells in a fifth of the time.  (Zhu et
    al., *Deep Feature Flow for Video Recognition*, CVPR 2017, propagate features likewise.)

    Attributes:
        was_propagated: whether the last frame was none.
    """

    def __init__(self) -> None:
        self._until_s, self._pause_s = -math.inf, _FIRST_PAUSE_S / 2
        self._people: dict[TrackedPerson, ObservedPerson] = {}
        self._read_s = -math.inf
        self.was_propagated = False

    def late(self, now_s: float) -> None:
        """Takes note that this frame is late, and that the one before it has been left out."""
        if now_s > self._until_s:
            self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_S)
        self._until_s = now_s + self._pause_s

    def before(self, people: Collection[TrackedPerson], now_s: float) -> list[ObservedPerson]:
        """What a key frame right before this frame showed of these people; nothing where this one must be one, too."""
        last = now_s - self._read_s <= _PROPAGATED_S and not self.was_propagated
        if not last or now_s > self._until_s or set(people) != set(self._people):
            return []
        return [self._people[person] for person in people]

    def keep(self, people: Sequence[ObservedPerson], now_s: float) -> None:
        """Takes the people of this frame."""
        self.was_propagated = any(person.is_propagated for person in people)
        if not self.was_propagated:
            # Close-ups are followed by their landmarks, and both views together are twice as exact as either.
            fit = all(person.view != "both" and person.head is None for person in people)
            self._people = {each.person: each for each in people} if fit else {}
            self._read_s = now_s


logger = logging.getLogger(__name__)

# Perception is the largest part of a person's time; all people's may take so long together, so that about ten frames a
# second are left.
_FRAME_S = 0.08
# More of a live scene are rarely meant.
_MOST_PEOPLE = 4
# A machine of which a core reads one person of a video faster has time for every frame.
_FULL_S = 0.045
_TRIALS = 3
# Of several people, each takes less than one alone.
_PEOPLE = 2


def limits_of(tracking: TrackingConfig, perception: Perception, cameras: int) -> TrackerConfig:
    """Limits of a source's tracker; arguments as of `PerceptionStage.load`."""
    limits = tracking.limits(carried=partial(people_carried, perception, cameras) if cameras else None)
    if cameras:
        logger.info("following up to %s (--max-people)", counted(limits.max_people, "person", "people"))
    return limits


def people_carried(perception: Perception, cameras: int) -> int:
    """1…4 people of each of several cameras; perception sees all within 80 ms, in one view each."""
    picture, box = _black(perception)
    seconds = _least_s(lambda: predict_in_boxes(perception, picture, [box] * _PEOPLE, view="plain")) / _PEOPLE
    return max(1, min(_MOST_PEOPLE, int(_FRAME_S / seconds / cameras)))


@lru_cache(maxsize=4)
def reads_fast(perception: Perception, quality: Quality) -> bool:
    """Whether every other frame of a video is read, and by the smaller network, because the machine is slow.

    It is measured once in a process, so that nothing moves to and fro: the time in which one core reads one person by
    both networks.
    """
    second = perception.second
    if quality != "auto" or second is None:
        return quality == "fast" and second is not None
    picture, box = _black(perception)
    crop = CropBox.around(box)
    cuts = [crop.cut(picture, perception.size)]
    full_s = _least_s(lambda: perception.observe(cuts, "plain"))
    full_s += _least_s(lambda: second.read("thunder", picture, [box], [crop], "plain"))
    if full_s > _FULL_S:
        told = "every other frame of a video is read, because this machine takes %.0f ms for a person (--quality)"
        logger.info(told, 1e3 * full_s)
    return full_s > _FULL_S


def _black(perception: Perception) -> tuple[Image, Box]:
    """A picture of the size that perception sees, and the box of all of it."""
    side = perception.size
    return np.zeros((side, side, 3), np.uint8), np.array([0, 0, side, side], np.float32)


def _least_s(work: Callable[[], object]) -> float:
    """The shortest time of some trials, seconds."""
    GRAPHS.wait_read()
    times = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
