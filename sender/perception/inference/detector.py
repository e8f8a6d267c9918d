"""The person detector: a small network that predicts centres and boxes in the whole frame (after CenterNet, 2019).

Shapes: B frames, N side of the letterboxed frame, H = N/8 cells a side.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import Final, Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import Box, Float64Array, FloatArray, Image
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import later
from common.weights.manifest import WEIGHTS_DIRECTORY, find_entry
from common.weights.threads import side_by_side
from sender.perception.inference.crop import rolled_axes
from sender.perception.inference.predictor import as_bytes, unit
from sender.perception.network.keypoints import cell_centres
from sender.perception.network.stem import Refinement, Residual, convolution
from sender.perception.tracking.boxes import intersections_over_union

WEIGHTS_NAME = "detector"
STRIDE = 8
KIND = "detector-centre-1"
LETTERBOX_GREY = 114
_NMS_IOU = 0.5
# The sides of frames are multiples of this, the largest stride.
_CELL_PX = 32
USUAL: Final = (1.0,)
LARGER: Final = (1.2,)
BOTH: Final = USUAL + LARGER
"""Scales of the frame that the detector reads, over the one that it is trained for.

The larger one takes 1.4 times as long and finds other people, most of them small: with both, a photograph's people are
found best.
"""

PROPOSAL_SCORE = 0.15
"""Least score of a proposal: so low that few people are missed, because the verifier rejects most false ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """A proposal: a box that may show a person.

    Args:
        box: (4,) left, top, right, bottom in pixels of the frame.
        score: 0…1.
    """

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Sizes of the network, as the manifest records them.

    Args:
        size: N in pixels, a multiple of 32.
        width: channels at stride 8.
        refinements: residual blocks added at each of the strides 16 and 32; they can be added to trained weights.
    """

    size: int = 256
    width: int = 64
    refinements: int = 0

    def __post_init__(self) -> None:
        if self.size % _CELL_PX or self.width < 1 or self.refinements < 0:
            raise ValueError(
                f"the detector's input size must be a multiple of 32 pixels, its width positive: {asdict(self)}"
            )


class DetectorNet(nn.Module):
    """Frames (B, 3, N, N), 0…1 or bytes → centre logits (B, H, H) and boxes (B, 4, H, H).

    Boxes are left, top, right, bottom in units of N.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        c = config.width
        self.eighth = nn.Sequential(
            convolution(3, 24, 2), convolution(24, 32, 2), convolution(32, c, 2), Residual(c), Residual(c)
        )
        self.sixteenth = nn.Sequential(convolution(c, 2 * c, 2), Residual(2 * c), Residual(2 * c))
        self.thirtysecond = nn.Sequential(convolution(2 * c, 3 * c, 2), Residual(3 * c), Residual(3 * c))
        self.refine_16 = nn.Sequential(*(Refinement(2 * c) for _ in range(config.refinements)))
        self.refine_32 = nn.Sequential(*(Refinement(3 * c) for _ in range(config.refinements)))
        self.from_16 = convolution(2 * c, c, kernel=1)
        self.from_32 = convolution(3 * c, c, kernel=1)
        # Global context, added at every position, for people as tall as the frame.
        self.scene = nn.Linear(3 * c, c)
        self.mix = nn.Sequential(convolution(c, c), convolution(c, c))
        self.heat = nn.Conv2d(c, 1, 1)
        self.extent = nn.Conv2d(c, 4, 1)
        nn.init.constant_(self.heat.bias, -4.6)  # type: ignore[arg-type]
        nn.init.constant_(self.extent.bias, -2.0)  # type: ignore[arg-type]

    def forward(self, image_B3NN: Tensor) -> tuple[Tensor, Tensor]:
        eighth = self.eighth(unit(image_B3NN) * 4.0 - 2.0)
        sixteenth = self.refine_16(self.sixteenth(eighth))
        coarse = self.refine_32(self.thirtysecond(sixteenth))
        context = self.from_32(coarse) + self.scene(coarse.mean(dim=(-2, -1)))[:, :, None, None]
        merged = _upsampled(_upsampled(context) + self.from_16(sixteenth)) + eighth
        mixed = self.mix(merged)
        heat, extent = self.heat(mixed).float()[:, 0], functional.softplus(self.extent(mixed).float())
        centres = cell_centres(heat).T.unflatten(1, heat.shape[-2:])
        return heat, torch.cat([centres - extent[:, :2], centres + extent[:, 2:]], dim=1)


def _upsampled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame was turned and letterboxed.

    Args:
        size: width and height of the picture that it was put into.
        turn: (2, 3) pixels of that picture → pixels of the frame.
        scale: pixels of that picture over those of the frame.
    """

    size: tuple[int, int]
    turn: Float64Array
    scale: float

    def to_pixels(self, boxes_N4: Tensor) -> Tensor:
        """Boxes, 0…1 → pixels of the frame; they stay upright where the frame was turned, around their centres."""
        boxes = boxes_N4 * torch.tensor(2 * self.size)
        turn = torch.from_numpy(self.turn).to(boxes)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 @ turn[:, :2].T + turn[:, 2]
        half = (boxes[:, 2:] - boxes[:, :2]) / (2 * self.scale)
        return torch.cat([middle - half, middle + half], dim=1)


def letterboxed(image: Image, size: tuple[int, int], roll: float = 0.0) -> tuple[Image, Letterbox]:
    """A frame scaled into a grey picture, its aspect ratio kept.

    Args:
        size: width and height of the picture.
        roll: radians clockwise that the frame is turned back by.
    """
    height, width = image.shape[:2]
    axes = rolled_axes(roll)
    scale = float((size / (np.abs(axes) @ [width, height])).min())
    small_size = [max(1, round(length * scale)) for length in (width, height)]
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    # In whole pixels, so that a frame that is level is copied as it is.
    half = np.array(size) // 2
    middle = half - (size - np.array(small_size)) // 2
    to_small = np.concatenate([axes, (middle - axes @ half)[:, None]], axis=1)
    at_centres = to_small.copy()
    at_centres[:, 2] += axes.sum(axis=1) / 2 - 0.5
    flags, grey = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (LETTERBOX_GREY,) * 3
    picture = cv2.warpAffine(small, at_centres, size, flags=flags, borderValue=grey)
    return np.asarray(picture, np.uint8), Letterbox(size, to_small / scale, scale)


def peaks(heat_HW: Tensor, boxes_4HW: Tensor, threshold: float, limit: int = 50) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and scores (N,) at the local maxima of a heat map, after non-maximum suppression; best first.

    Args:
        heat_HW: probabilities.
        boxes_4HW: the box that each cell predicts.
        limit: most local maxima, before non-maximum suppression.
    """
    neighbourhood_max = functional.max_pool2d(heat_HW[None, None], 3, stride=1, padding=1)[0, 0]
    row, column = torch.nonzero((heat_HW == neighbourhood_max) & (heat_HW >= threshold), as_tuple=True)
    return suppressed(boxes_4HW[:, row, column].T, heat_HW[row, column], limit)


def suppressed(boxes_N4: Tensor, scores_N: Tensor, limit: int = 50) -> tuple[Tensor, Tensor]:
    """Boxes and scores, best first, without those that overlap a better one; at most `limit` are compared."""
    kept = unsuppressed(boxes_N4, scores_N, limit)
    return boxes_N4[kept], scores_N[kept]


def unsuppressed(boxes_N4: Tensor, scores_N: Tensor, limit: int = 50) -> Tensor:
    """The rows of those that `suppressed` keeps, best first."""
    best = scores_N.argsort(descending=True)[:limit]
    overlaps, kept = intersections_over_union(boxes_N4[best].numpy()) > _NMS_IOU, list[int]()
    for row in range(len(best)):
        if not overlaps[row, kept].any():
            kept.append(row)
    return best[kept]


def detections(boxes_N4: Tensor, scores_N: Tensor, image: Image) -> tuple[Detection, ...]:
    """Boxes in pixels of a frame, clipped to it, with their scores."""
    height, width = image.shape[:2]
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    pixels = torch.minimum(boxes_N4.clamp_min(0), limit).numpy()
    return tuple(Detection(box, score) for box, score in zip(_non_empty(pixels), scores_N.tolist(), strict=True))


class Detector:
    """Proposes boxes of people in a frame.

    Most proposals that score below 0.5 are false; `sender.perception.inference.verifier` rejects those.

    Args:
        net: trained; or its config, and what builds it when it is needed.
        networks: the network in use, by the side of the letterboxed frame; other sides run by PyTorch.
    """

    def __init__(
        self,
        net: DetectorNet | tuple[DetectorConfig, Callable[[], DetectorNet]],
        threshold: float = PROPOSAL_SCORE,
        networks: Mapping[int, NetworkInUse] | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.config, self._build = net if isinstance(net, tuple) else (net.config, lambda: net)
        self.threshold = threshold
        self.networks = networks or {}
        self._plain = NetworkInUse(lambda: self.net, "bf16", device)
        # A GPU takes one network after the other anyway.
        self._over = side_by_side if device.type == "cpu" else starmap

    @classmethod
    def load(cls, directory: Path = WEIGHTS_DIRECTORY, device: torch.device = CPU) -> Self:
        """The shipped network; raises WeightsError where its weights are missing, damaged or of another version."""
        entry = find_entry(WEIGHTS_NAME, directory)
        config, build = later(WEIGHTS_NAME, KIND, DetectorConfig, DetectorNet, directory)
        detector = cls((config, build), device=device)
        detector.networks = {
            side: in_use(
                lambda: detector.net,
                (_example(side),),
                WEIGHTS_NAME,
                entry.precision,
                device,
                entry.int8,
                stored=entry,
            )
            for side in (_side(config, scale) for scale in BOTH)
        }
        return detector

    @cached_property
    def net(self) -> DetectorNet:
        """The network itself."""
        return self._build().to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.inference_mode()
    def find(self, image: Image, scales: Sequence[float] = USUAL, roll: float = 0.0) -> tuple[Detection, ...]:
        """Proposals in a frame (H, W, 3) uint8 RGB, highest score first; boxes are clipped to the frame.

        Args:
            scales: `USUAL`, `LARGER` or `BOTH`.
            roll: of the camera, radians clockwise in the frame.  The frame is turned back; the boxes stay upright.
        """
        sides = [_side(self.config, scale) for scale in scales]
        at_scales = self._over(self._found, [(image, side, roll) for side in sides])
        boxes, scores = (torch.cat(parts) for parts in zip(*at_scales, strict=True))
        if len(sides) > 1:
            boxes, scores = suppressed(boxes, scores)
        return detections(boxes, scores, image)

    @torch.inference_mode()
    def _found(self, image: Image, side: int, roll: float) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) in pixels of the frame and scores (N,) at one scale."""
        square, letterbox = letterboxed(image, (side, side), roll)
        heat, boxes = self.networks.get(side, self._plain)(as_bytes(square[None]))
        found, scores = peaks(heat[0].sigmoid(), boxes[0], self.threshold)
        return letterbox.to_pixels(found), scores


def _example(side: int) -> Tensor:
    return torch.zeros(1, 3, side, side, dtype=torch.uint8)


def _side(config: DetectorConfig, scale: float) -> int:
    """Side of the letterboxed frame at a scale, pixels."""
    return _CELL_PX * round(scale * config.size / _CELL_PX)


def _non_empty(boxes_N4: FloatArray) -> Sequence[Box]:
    """Boxes at least one pixel wide and high."""
    return list(np.maximum(boxes_N4, np.concatenate([boxes_N4[:, :2], boxes_N4[:, :2] + 1], axis=1)))
