"""Keypoints of people whom perception has seen: MoveNet reads them, too, and both are fused.

MoveNet takes the person in the middle of a crop, and among several easily another one: the crop is black beyond the
person's box with a margin, and where perception's masks say that somebody is rather another person.

Each network is right, with an error of its own σ, or wrong, and then its keypoint lies anywhere: it has taken the other
limb, or somebody else.  With a and b the places that the networks say, p_a and p_b their probabilities of being right
and u the density of wrong places, the true place x has the posterior of four hypotheses,

    both right      p_a p_b N(a − b; 0, σ_a² + σ_b²)    at the mean that the inverse variances weigh
    a or b alone    p_a (1 − p_b) u,  (1 − p_a) p_b u   at a, at b
    both wrong      (1 − p_a) (1 − p_b) u               around the middle, with the variance of a wrong place

The fused place is the one of the first three where this mixture is densest, never a mean of two limbs.  Its σ is the
root of the mixture's mean square about it.  p, log σ and the log odds of being visible are linear in what both networks
say of their certainty, with an offset for each kind of keypoint; `sender.train.keypoint_fusion` fits them to held-back
people.

Shapes: B crops, J = 17 COCO keypoints, F numbers of evidence, h cells of a mask; lengths in crop units.
"""

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self, get_args

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Box, ByteArray, Float64Array, FloatArray, Image
from common.body.anatomy import COCO_KEYPOINTS, MIRRORED_KEYPOINTS
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY, read_manifest
from common.weights.threads import available_cores
from sender.perception.crop import CropBox, View
from sender.perception.movenet import MARGIN, NAMES, MoveNet, SecondKeypoints
from sender.perception.perception_network import FusedOutput, PerceptionOutput

logger = logging.getLogger(__name__)

WEIGHTS_NAME: Final = "keypoint_fusion"
KIND: Final = "keypoint-fusion-mixture-1"
Reading = Literal["lightning", "thunder", "thorough"]
"""What MoveNet read: a crop by one of its networks, or crops of several sizes in both views by Thunder."""
READINGS: tuple[Reading, ...] = get_args(Reading)

# Of the picture around a person's box, what MoveNet sees, over the longer side of the box.
_AROUND = 0.1
# Sides of the crops, over the longer side of the box, of which a thorough reading takes the mean, and whether they are
# mirrored.
_THOROUGH: Final = {MARGIN: (False,), 1.25: (True,)}
_MIRRORS: Final[dict[View, tuple[bool, ...]]] = {"plain": (False,), "mirrored": (True,), "both": (False, True)}
# Thunder takes three times as long as Lightning: a frame of a file has time for one person's, one of a camera for none.
_PEOPLE_BY_THUNDER: Final = 1
_LEAST_WEIGHT = 1e-4
# Score from which a keypoint of MoveNet's is taken to have moved.
_SURE = 0.2
# Shoulders and hips.
_TRUNK = [5, 6, 11, 12]


class SecondOpinion:
    """Reads people in boxes by MoveNet, and fuses its keypoints with perception's.

    Args:
        fusion: `FusionGraph` in use, of a reading.
        device: where the networks run.
    """

    def __init__(
        self,
        lightning: MoveNet,
        thunder: MoveNet,
        fusion: Callable[[Reading], NetworkInUse],
        device: torch.device = CPU,
    ) -> None:
        self._lightning, self._thunder, self._fusion = lightning, thunder, fusion
        # A GPU takes one network after the other anyway.
        self._beside = ThreadPoolExecutor(available_cores(), "movenet") if device.type == "cpu" else None

    @classmethod
    def load(cls, device: torch.device = CPU, directory: Path = WEIGHTS_DIRECTORY) -> Self | None:
        """With the shipped weights; None, which is logged, where MoveNet's are missing.

        Raises:
            WeightsError: they are damaged or of another version.
        """
        if missing := missing_files(directory):
            logger.warning("%s missing: keypoints are perception's own, which are less exact", ", ".join(missing))
            return None
        fusion = load_recorded(WEIGHTS_NAME, KIND, FusionConfig, KeypointFusion, directory)
        lightning, thunder = (MoveNet.load(name, device, directory) for name in NAMES)

        @cache
        def compiled(reading: Reading) -> NetworkInUse:
            graph = FusionGraph(fusion.readings[reading])
            return in_use(graph, graph.example(), f"{WEIGHTS_NAME} {reading}", device=device)

        if device.type != "cpu":
            for reading in READINGS:
                compiled(reading)
        return cls(lightning, thunder, compiled, device)

    @torch.inference_mode()
    def fused(
        self,
        perceive: Callable[[], PerceptionOutput],
        image: Image,
        boxes: Sequence[Box],
        crops: Sequence[CropBox],
        *,
        view: View = "both",
        thorough: bool = False,
        live: bool = False,
        apart: bool = False,
    ) -> FusedOutput:
        """Perception's output in crops of a frame (H, W, 3) uint8 RGB with the keypoints of both networks.

        Args:
            perceive: gives perception's output, meanwhile where nobody is to be hidden.
            boxes: (4,) of the people, around which the crops lie.
            view: how MoveNet sees each crop.
            thorough: Thunder sees crops of two sizes, one of them mirrored.
            live: Thunder reads nobody, which is faster.
            apart: the people are different ones: MoveNet does not see what masks say is another one's.
        """
        kind = reading_of(len(boxes), thorough=thorough, live=live)
        hides = apart and any_overlap(boxes)
        if hides or self._beside is None:
            output = perceive()
            second = self.read(kind, image, boxes, crops, view, output.mask_logits if hides else None)
        else:
            reading = self._beside.submit(self.read, kind, image, boxes, crops, view)
            output, second = perceive(), reading.result()
        return self._of_both(kind, output, second)

    @torch.inference_mode()
    def propagated(
        self, seen: FusedOutput, image: Image, boxes: Sequence[Box], crops: Sequence[CropBox], *, view: View
    ) -> FusedOutput:
        """What was seen of people in the last frame, moved on to where Lightning sees them in this one.

        Args:
            seen: in the same crops.
            image, boxes, view: of this frame, as of `fused`; `view` is that of `seen`.
        """
        second = self.read("lightning", image, boxes, crops, view, seen.mask_logits)
        return self._of_both("lightning", moved(seen, second), second)

    def _of_both(self, kind: Reading, output: PerceptionOutput, second: SecondKeypoints) -> FusedOutput:
        own = OwnKeypoints(output.keypoints_2d, output.keypoints_sigma, output.visible_logit)
        fused = self._fusion(kind)(*own, *second.columns())
        return FusedOutput.of(output, fused, second.score, second.places)

    def read(
        self,
        kind: Reading,
        image: Image,
        boxes: Sequence[Box],
        crops: Sequence[CropBox],
        view: View,
        mask_logits: Tensor | None = None,
    ) -> SecondKeypoints:
        """MoveNet's keypoints of people; arguments as of `fused`.

        Args:
            mask_logits: (B, h, h) of masks in the crops, by which neighbours are hidden; None hides nobody.
        """
        network = self._lightning if kind == "lightning" else self._thunder
        looks = _THOROUGH if kind == "thorough" else {MARGIN: _MIRRORS[view]}
        views = []
        for margin, mirrors in looks.items():
            seen = [CropBox.around(box, margin, crop.roll) for box, crop in zip(boxes, crops, strict=True)]
            cuts = [alone(crop.cut(image, network.size), box, crop) for crop, box in zip(seen, boxes, strict=True)]
            if mask_logits is not None:
                hide_neighbours(cuts, seen, boxes, crops, mask_logits)
            # Where all beside them would be black, the middle of the crops is enough, and nearly as exact.
            share = 2 * max(float(_shown(box, crop)[0]) for box, crop in zip(boxes, seen, strict=True))
            if kind != "thorough" and network.size * share <= network.narrow:
                beside = (network.size - network.narrow) // 2
                cuts = [cut[:, beside : beside + network.narrow] for cut in cuts]
            for mirror in mirrors:
                found = network.observe([cut[:, ::-1] if mirror else cut for cut in cuts])
                if mirror:
                    places, *others = (column[:, list(MIRRORED_KEYPOINTS)] for column in found.columns())
                    found = SecondKeypoints(torch.stack([1 - places[..., 0], places[..., 1]], dim=-1), *others)
                views.append(in_crops(found, seen, crops))
        return mean_of(views)


def missing_files(directory: Path = WEIGHTS_DIRECTORY) -> list[str]:
    """The entries of the manifest that fused keypoints need, and that it or the folder lacks."""
    entries, names = read_manifest(directory), (*NAMES, WEIGHTS_NAME)
    return [name for name in names if name not in entries or not (directory / entries[name].file).exists()]


def reading_of(people: int, *, thorough: bool, live: bool = False) -> Reading:
    """How so many people of one frame are read."""
    if thorough:
        return "thorough"
    return "thunder" if people <= _PEOPLE_BY_THUNDER and not live else "lightning"


def moved(seen: FusedOutput, second: SecondKeypoints) -> PerceptionOutput:
    """Perception's own output of the last frame in the next one, but for depth, mask and rotations of joints, by how
    MoveNet's keypoints have moved since."""
    before, own, nothing = seen.second_keypoints_2d, seen.own, torch.zeros_like(seen.second_score)
    # A pair that MoveNet names the other way round has not moved so far.
    now = named_as(OwnKeypoints(before, nothing, nothing), second, torch.tensor(MIRRORED_KEYPOINTS))
    sure = (torch.minimum(seen.second_score, now.score) > _SURE)[..., None]
    step_BJ2 = (now.places - before) * sure
    body_B12 = step_BJ2[:, _TRUNK].sum(dim=1, keepdim=True) / sure[:, _TRUNK].sum(dim=1, keepdim=True).clamp_min(1)
    metres_B11 = own.camera[:, None, 2:].exp()
    across_BJ2 = (step_BJ2 - body_B12) * sure * metres_B11
    return replace(
        own,
        keypoints_2d=own.keypoints_2d + step_BJ2,
        joints_3d=own.joints_3d + functional.pad(across_BJ2, (0, 1)),
        camera=own.camera + functional.pad(body_B12[:, 0], (0, 1)),
    )


def alone(cut: Image, box: Box, crop: CropBox) -> Image:
    """A crop (S, S, 3) around a box (4,), black where the box with its margin ends."""
    half = _shown(box, crop)
    (left, top), (right, bottom) = (np.rint((0.5 + sign * half) * len(cut)).astype(int) for sign in (-1, 1))
    shown: ByteArray = np.zeros_like(cut)
    rows, columns = slice(max(top, 0), bottom), slice(max(left, 0), right)
    shown[rows, columns] = cut[rows, columns]
    return shown


def _shown(box: Box, crop: CropBox) -> FloatArray:
    """Half of the width and of the height (2,) that `alone` shows, crop units."""
    extent = box[2:] - box[:2]
    return np.asarray((extent / 2 + _AROUND * extent.max()) / crop.side, np.float32)


def in_crops(found: SecondKeypoints, seen: Sequence[CropBox], crops: Sequence[CropBox]) -> SecondKeypoints:
    """Keypoints in some crops, in the units of others around the same people."""
    pairs = list(zip(seen, crops, strict=True))
    rows = zip(pairs, found.places.numpy(), strict=True)
    places = np.stack([crop.to_units(own.to_pixels(each)) for (own, crop), each in rows])
    scale = torch.tensor([[own.side / crop.side] for own, crop in pairs])
    return replace(found, places=torch.from_numpy(places), spread=scale * found.spread, apart=scale * found.apart)


def mean_of(views: Sequence[SecondKeypoints]) -> SecondKeypoints:
    """Several views of the same people together: each keypoint of each counts by its squared score."""
    if len(views) == 1:
        return views[0]
    columns = zip(*(each.columns() for each in views), strict=True)
    places, score, spread, apart, _ = map(torch.stack, columns)
    weight = score.square() + _LEAST_WEIGHT
    weight = weight / weight.sum(dim=0)
    middle = (weight[..., None] * places).sum(dim=0)
    between = (weight * (places - middle).square().sum(dim=-1) / 2).sum(dim=0).sqrt()
    score, spread, apart = ((weight * each).sum(dim=0) for each in (score, spread, apart))
    return SecondKeypoints(middle, score, spread, apart, between)


# Logit of a mask beyond its crop.
_NOBODY = -20.0


def any_overlap(boxes: Sequence[Box]) -> bool:
    """Whether there is anybody to hide."""
    return any(_overlap(*pair) for pair in combinations(boxes, 2))


def hide_neighbours(
    cuts: Sequence[Image], seen: Sequence[CropBox], boxes: Sequence[Box], crops: Sequence[CropBox], mask_logits: Tensor
) -> None:
    """Makes black, in the cuts (S, S, 3) of people, what masks say is rather another one.

    Args:
        seen: the crops that are cut; `crops`: those of the masks.
        mask_logits: (B, h, h).
    """
    for row, (cut, own) in enumerate(zip(cuts, seen, strict=True)):
        others = [each for each in range(len(boxes)) if each != row and _overlap(boxes[row], boxes[each])]
        if not others:
            continue
        mine = np.maximum(_in_cut(mask_logits[row], crops[row], own, len(cut)), 0)
        for other in others:
            cut[_in_cut(mask_logits[other], crops[other], own, len(cut)) > mine] = 0


def without(image: Image, people: Sequence[tuple[Tensor, CropBox]]) -> Image:
    """A frame (H, W, 3) that is black where the masks (h, h), logits in crops, show people."""
    rest = image.copy()
    for mask_logits, crop in people:
        cells = len(mask_logits)
        turn = crop.axes.T * cells / crop.side
        rest[_warped(mask_logits, turn, cells / 2 - turn @ crop.centre, image.shape[:2]) > 0] = 0
    return rest


def _overlap(one: Box, other: Box) -> bool:
    return bool((np.minimum(one[2:], other[2:]) > np.maximum(one[:2], other[:2])).all())


def _in_cut(logits: Tensor, crop: CropBox, own: CropBox, size: int) -> FloatArray:
    """(S, S) the logits (h, h) of a mask in a crop, at the pixels of another one, which is rolled alike."""
    cells = len(logits) / crop.side
    step = own.side / size * cells
    corner = cells * ((np.array(own.centre) - crop.centre) @ crop.axes + (crop.side - own.side) / 2)
    return _warped(logits, step * np.eye(2), corner, (size, size))


def _warped(logits: Tensor, linear: Float64Array, corner: Float64Array, size: tuple[int, int]) -> FloatArray:
    """(H, W) logits (h, h) at the pixels of a picture of this size; (2, 2) and (2,) go from x, y there to cells."""
    # From centres of pixels to those of cells.
    matrix = np.concatenate([linear, (corner + linear.sum(axis=1) / 2 - 0.5)[:, None]], axis=1)
    method, (height, width) = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, size
    mask = cv2.warpAffine(logits.float().numpy(), matrix, (width, height), flags=method, borderValue=_NOBODY)
    return np.asarray(mask, np.float32)


EVIDENCE: Final = 8
_KINDS = tuple(dict.fromkeys(name.split("_")[-1] for name in COCO_KEYPOINTS))
_KIND_OF = tuple(_KINDS.index(name.split("_")[-1]) for name in COCO_KEYPOINTS)
# Range of log σ, so that no keypoint counts more than the annotations are exact.
_LOG_SIGMA = (-6.0, 0.0)
_MAX_LOGIT = 8.0
_LEAST_SCORE = 0.01
# Added to lengths, crop units, whose logarithm is evidence.
_LEAST = 3e-3
# Perception's σ, crop units, below which it is certain of left and right, and the distance by which two keypoints must
# be nearer to its own under each other's names.  Chosen on the people that the fusion is fitted to.
_CERTAIN_SIGMA, _EXCHANGED = 0.03, 0.05
# Standard deviation, crop units, at which two peaks of the mixture's density are one.
_PEAK = 0.02
_LOG_TAU = math.log(2 * math.pi)


class OwnKeypoints(NamedTuple):
    """Perception's `keypoints_2d` (B, J, 2), `keypoints_sigma` and `visible_logit` (B, J)."""

    places: Tensor
    sigma: Tensor
    visible: Tensor


class Mixture(NamedTuple):
    """The four hypotheses of the true place: log weights, means and variances, (B, J, 4), (B, J, 4, 2), (B, J, 4)."""

    log_weight: Tensor
    mean: Tensor
    variance: Tensor

    def log_density(self, places: Tensor, blur: float = 0.0) -> Tensor:
        """(B, J) at places (B, J, 2), of the mixture with a variance of `blur`² added."""
        variance = self.variance + blur**2
        squared = (self.mean - places[..., None, :]).square().sum(dim=-1)
        return torch.logsumexp(self.log_weight - 0.5 * squared / variance - variance.log() - _LOG_TAU, dim=-1)

    def densest(self) -> tuple[Tensor, Tensor]:
        """The place (B, J, 2) that fusion gives, and its standard deviation (B, J) of one coordinate."""
        densities = [self.log_density(self.mean[..., index, :], _PEAK) for index in range(3)]
        chosen = torch.stack(densities, dim=-1).argmax(dim=-1)
        index = chosen[..., None, None].expand(*chosen.shape, 1, 2)
        place = self.mean.gather(2, index)[..., 0, :]
        squared = (self.mean - place[..., None, :]).square().sum(dim=-1) / 2 + self.variance
        return place, (self.log_weight.exp() * squared).sum(dim=-1).sqrt()


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """Sizes, as the manifest records them."""

    evidence: int = EVIDENCE


class ReadingFusion(nn.Module):
    """The fusion with one kind of reading: perception's and MoveNet's keypoints → the mixture, and visibility."""

    kind_of: Tensor
    mirrored: Tensor

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        kinds, numbers = len(_KINDS), config.evidence
        self.log_sigma, self.log_sigma_of = _linear(2, kinds, numbers, -3.5)
        self.right, self.right_of = _linear(2, kinds, numbers, 2.0)
        self.visible, self.visible_of = _linear(1, kinds, numbers + 1, 0.0)
        # Logs of the standard deviations of a wrong place about another, and of the true place about two wrong ones.
        self.log_wrong, self.log_anywhere = nn.Parameter(torch.tensor(-1.5)), nn.Parameter(torch.tensor(-1.2))
        self.register_buffer("kind_of", torch.tensor(_KIND_OF), persistent=False)
        self.register_buffer("mirrored", torch.tensor(MIRRORED_KEYPOINTS), persistent=False)

    def forward(self, own: OwnKeypoints, second: SecondKeypoints) -> tuple[Mixture, Tensor]:
        """The hypotheses, and the log odds (B, J) that the keypoint is visible."""
        second = named_as(own, second, self.mirrored)
        numbers = evidence(own, second)
        low, high = _LOG_SIGMA
        variance = (2 * self._of(self.log_sigma, self.log_sigma_of, numbers).clamp(low, high)).exp()
        log_right = functional.logsigmoid(self._of(self.right, self.right_of, numbers))
        log_wrong = functional.logsigmoid(-self._of(self.right, self.right_of, numbers))
        squared = (own.places - second.places).square().sum(dim=-1)
        both = variance.sum(dim=0)
        elsewhere = -2 * self.log_wrong - _LOG_TAU
        weights = (
            log_right.sum(dim=0) - 0.5 * squared / both - both.log() - _LOG_TAU,
            log_right[0] + log_wrong[1] + elsewhere,
            log_wrong[0] + log_right[1] + elsewhere,
            log_wrong.sum(dim=0) + elsewhere,
        )
        places = torch.stack([own.places, second.places])
        precision = 1 / variance
        mean = (precision[..., None] * places).sum(dim=0) / precision.sum(dim=0)[..., None]
        anywhere = (2 * self.log_anywhere).exp() + squared / 4
        mixture = Mixture(
            torch.log_softmax(torch.stack(weights, dim=-1), dim=-1),
            torch.stack([mean, *places, places.mean(dim=0)], dim=-2),
            torch.stack([1 / precision.sum(dim=0), *variance, anywhere], dim=-1),
        )
        agreement = (squared.sqrt() + _LEAST).log()[..., None]
        visible = self._of(self.visible, self.visible_of, torch.cat([numbers, agreement], dim=-1))
        return mixture, visible[0]

    def _of(self, offsets: Tensor, weights: Tensor, numbers: Tensor) -> Tensor:
        """(N, B, J): linear in evidence (B, J, F), by offsets (N, kinds) and weights (N, F)."""
        return offsets[:, None, self.kind_of] + (numbers @ weights.T).movedim(-1, 0)


class KeypointFusion(nn.Module):
    """`ReadingFusion` of each kind of reading."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        self.readings = nn.ModuleDict({reading: ReadingFusion(config) for reading in READINGS})


class FusionGraph(nn.Module):
    """The fusion with one kind of reading in use: the columns of `OwnKeypoints` and of `SecondKeypoints` → the places
    (B, J, 2), their σ, and the log odds of being visible.
    """

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own, second = columns[: len(OwnKeypoints._fields)], columns[len(OwnKeypoints._fields) :]
        mixture, visible = self.fusion(OwnKeypoints(*own), SecondKeypoints(*second))
        return *mixture.densest(), visible

    @staticmethod
    def example() -> tuple[Tensor, ...]:
        """Inputs of one crop."""
        places, number = torch.zeros(1, len(COCO_KEYPOINTS), 2), torch.zeros(1, len(COCO_KEYPOINTS))
        return places, number, number, places, number, number, number, number


def named_as(own: OwnKeypoints, second: SecondKeypoints, mirrored_J: Tensor) -> SecondKeypoints:
    """MoveNet's keypoints with left and right exchanged in pairs that perception, which is certain, names otherwise.

    Of rendered people 94 % of such keypoints are right by perception's names and 21 % by Thunder's; of people in
    photographs, where it is hardly ever so certain, there are 0.2 %.

    Args:
        mirrored_J: numbers of the keypoints that have these names in a mirror image.
    """

    def other(values: Tensor) -> Tensor:
        return values.index_select(1, mirrored_J)

    def of_pair(values: Tensor) -> Tensor:
        return values + other(values)

    same = of_pair((own.places - second.places).norm(dim=-1))
    exchanged = of_pair((own.places - other(second.places)).norm(dim=-1))
    certain = of_pair(own.sigma) < 2 * _CERTAIN_SIGMA
    chosen = certain & (exchanged + _EXCHANGED < same)

    def named(column: Tensor) -> Tensor:
        return torch.where(chosen.reshape(*chosen.shape, *[1] * (column.ndim - 2)), other(column), column)

    return SecondKeypoints(*map(named, second.columns()))


def evidence(own: OwnKeypoints, second: SecondKeypoints) -> Tensor:
    """(B, J, F) what both networks say of their certainty about each keypoint and, on average, about the person."""
    score = second.score.clamp(_LEAST_SCORE, 1 - _LEAST_SCORE)
    # Not `Tensor.logit`, which OpenVINO does not know.
    score = (score / (1 - score)).log() / 2
    sigma = (own.sigma + _LEAST).log() + 3
    columns = (
        score,
        score.mean(dim=1, keepdim=True).expand_as(score),
        sigma,
        sigma.mean(dim=1, keepdim=True).expand_as(score),
        own.visible.clamp(-_MAX_LOGIT, _MAX_LOGIT) / 4,
        *((length + _LEAST).log() + 4 for length in (second.spread, second.apart, second.between)),
    )
    return torch.stack(columns, dim=-1)


def _linear(count: int, kinds: int, numbers: int, offset: float) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(torch.full((count, kinds), offset)), nn.Parameter(torch.zeros(count, numbers))
