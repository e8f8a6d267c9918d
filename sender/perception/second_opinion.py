"""MoveNet as a second opinion on the keypoints of people whom perception has seen.

MoveNet takes the person in the middle of a crop, and among several easily another one: the crop is black beyond the
person's box with a margin.  Of 243 held-back people this makes PCK@0.05, 0.10 of Thunder .653, .808 instead of .634,
.767.  Who is rather another person, by perception's masks, is hidden, too: of two people before four cameras, of whom
one walks behind the other in one picture, joints are 84 mm off instead of 89.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Final, Literal, Self

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Box, ByteArray, Float64Array, FloatArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import WEIGHTS_DIRECTORY, read_manifest
from common.weights.threads import available_cores
from sender.perception.crop import CropBox, View
from sender.perception.keypoint_fusion import (
    KIND,
    READINGS,
    WEIGHTS_NAME,
    FusionConfig,
    FusionGraph,
    KeypointFusion,
    OwnKeypoints,
    Reading,
    SecondKeypoints,
    named_as,
)
from sender.perception.movenet import MARGIN, NAMES, MoveNet, MoveNetKeypoints
from sender.perception.perception_network import FusedOutput, PerceptionOutput

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
    """(H, W) logits (h, h) at the pixels of a picture of this size.

    Args:
        linear, corner: (2, 2) and (2,) from x, y in the picture to cells.
    """
    # From centres of pixels to those of cells.
    matrix = np.concatenate([linear, (corner + linear.sum(axis=1) / 2 - 0.5)[:, None]], axis=1)
    method, (height, width) = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, size
    mask = cv2.warpAffine(logits.float().numpy(), matrix, (width, height), flags=method, borderValue=_NOBODY)
    return np.asarray(mask, np.float32)


logger = logging.getLogger(__name__)

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
        hides = any_overlap(boxes)
        second = self.read("lightning", image, boxes, crops, view, seen.mask_logits if hides else None)
        return self._of_both("lightning", moved(seen, second), second)

    def _of_both(self, kind: Reading, output: PerceptionOutput, second: SecondKeypoints) -> FusedOutput:
        own = OwnKeypoints(output.keypoints_2d, output.keypoints_sigma, output.visible_logit)
        places, sigma, visible = self._fusion(kind)(*own, *second.columns())
        return FusedOutput.of(output, places, sigma, visible, second.score, second.places)

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
                views.append(in_crops(unmirrored(found) if mirror else found, seen, crops))
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
    """Perception's own output of the last frame in the next one, by how MoveNet's keypoints have moved since.

    Depth, mask and the rotations of joints stay.
    """
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


def unmirrored(seen: MoveNetKeypoints) -> MoveNetKeypoints:
    """What mirror images show, mirrored back."""
    order = list(MIRRORED_KEYPOINTS)
    places = np.stack([1 - seen.places[:, order, 0], seen.places[:, order, 1]], axis=-1)
    return MoveNetKeypoints(places, seen.score[:, order], seen.spread[:, order], seen.apart[:, order])


def in_crops(found: MoveNetKeypoints, seen: Sequence[CropBox], crops: Sequence[CropBox]) -> SecondKeypoints:
    """Keypoints in some crops, in the units of others around the same people."""
    pairs = list(zip(seen, crops, strict=True))
    places = [crop.to_units(own.to_pixels(rows)) for (own, crop), rows in zip(pairs, found.places, strict=True)]
    scale = torch.tensor([[own.side / crop.side] for own, crop in pairs])
    score, spread, apart = (torch.from_numpy(each) for each in (found.score, found.spread, found.apart))
    return SecondKeypoints(
        torch.from_numpy(np.stack(places)), score, scale * spread, scale * apart, torch.zeros_like(score)
    )


def mean_of(views: Sequence[SecondKeypoints]) -> SecondKeypoints:
    """Several views of the same people together: each keypoint of each counts by its squared score."""
    if len(views) == 1:
        return views[0]
    weight = torch.stack([each.score.square() + _LEAST_WEIGHT for each in views])
    weight = weight / weight.sum(dim=0)

    def mean(name: Literal["score", "spread", "apart"]) -> Tensor:
        total: Tensor = (weight * torch.stack([getattr(each, name) for each in views])).sum(dim=0)
        return total

    places = torch.stack([each.places for each in views])
    middle = (weight[..., None] * places).sum(dim=0)
    between = (weight * (places - middle).square().sum(dim=-1) / 2).sum(dim=0).sqrt()
    return SecondKeypoints(middle, mean("score"), mean("spread"), mean("apart"), between)
