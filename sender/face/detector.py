"""Large faces of a whole frame, by MediaPipe's detector for short range.

    frame ─ letterboxed, 128² ─ 896 anchors ─ boxes, scores, points ─ regions

Bazarevsky et al., *BlazeFace: sub-millisecond neural face detection on mobile GPUs*, 2019.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.weights.landmark_networks import load_network
from sender.face.region import region_of_keypoints
from sender.perception.crop import CropBox
from sender.perception.detect import letterboxed, unsuppressed

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

_SIDE_PX: Final = 128
# Of the two grids of anchors: cells a side, and anchors a cell.
_GRIDS: Final = ((16, 2), (8, 6))
# Right and left eye and nose among the points of a face.
_RIGHT_EYE, _LEFT_EYE, _NOSE = range(3)
_BOX: Final = 4
_NMS_IOU: Final = 0.5
LEAST_SCORE: Final = 0.5
"""MediaPipe's own threshold."""


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face that was found.

    Args:
        region: where `sender.face.landmarks` may look for its landmarks.
        score: 0…1.
    """

    region: CropBox
    score: float


class FaceDetector:
    """The network; threads may call it at once."""

    def __init__(self, network: "CompiledGraph") -> None:
        self._network = network
        self._centres = _centres()

    @classmethod
    def load(cls) -> Self | None:
        """None where the network is missing."""
        network = load_network("face_detection_short_range")
        return None if network is None else cls(network)

    @torch.inference_mode()
    def find(self, image: Image) -> list[FoundFace]:
        """The faces of a frame (H, W, 3), RGB, best first."""
        square, letterbox = letterboxed(image, (_SIDE_PX, _SIDE_PX))
        numbers, logits = self._network(torch.from_numpy(square)[None].float() / 127.5 - 1)
        scores = logits[0, :, 0].sigmoid()
        kept = scores >= LEAST_SCORE
        points = numbers[0, kept].unflatten(1, (-1, 2)) / _SIDE_PX
        # The box's size is no point: it is from no anchor.
        points[:, [0, *range(2, points.shape[1])]] += self._centres[kept][:, None]
        middle, half = points[:, 0], points[:, 1] / 2
        boxes, scores = torch.cat([middle - half, middle + half], dim=1), scores[kept]
        found = []
        for row in unsuppressed(boxes, scores, _NMS_IOU).tolist():
            marks = _in_frame(points[row, 2:].numpy(), letterbox.turn)
            found.append(FoundFace(region_of_keypoints(marks[[_NOSE, _LEFT_EYE, _RIGHT_EYE]]), float(scores[row])))
        return found


def _centres() -> torch.Tensor:
    """(896, 2) of the anchors, 0…1."""
    grids = []
    for cells, anchors in _GRIDS:
        line = (torch.arange(cells) + 0.5) / cells
        y, x = torch.meshgrid(line, line, indexing="ij")
        grids.append(torch.stack([x, y], dim=-1).reshape(-1, 2).repeat_interleave(anchors, dim=0))
    return torch.cat(grids)


def _in_frame(points: FloatArray, turn: np.ndarray) -> FloatArray:
    """Points (N, 2), 0…1 of the letterboxed frame, in its pixels."""
    return np.asarray(_SIDE_PX * points @ turn[:, :2].T + turn[:, 2], np.float32)
