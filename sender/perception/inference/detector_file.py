"""A person detector that the user brings in a file, `--detector`: .onnx, .xml (with its .bin) or .tflite, by OpenVINO.

It reads one picture, channels first or last, of bytes or floating-point numbers, all 0…255: blue first (as OpenCV), in
a .tflite red first.  Its output has one of two forms:

    boxes  (N, 5…7)     after suppression: x0, y0, x1, y1, score[, class], where another output of N numbers may be the
                        classes, or SSD's image, class, score, x0, y0, x1, y1; in pixels of the input or in 0…1.
                        The frame is stretched, as such networks are trained.
    grid   (A, 5 + C)   YOLOX's (Ge et al., 2021): x, y, width, height, objectness, classes of all A cells at the
                        strides 8, 16, 32 (and 64), decoded or not.  The frame is letterboxed.

Classes 0 and 1 of boxes are people, because some count the background; of the grid it is the first class.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from common.arrays import Image
from common.errors import UsageError
from common.weights.inference import from_users_file
from sender.perception.inference.detector import (
    LETTERBOX_GREY,
    PROPOSAL_SCORE,
    USUAL,
    Detection,
    detections,
    letterboxed,
    suppressed,
)

if TYPE_CHECKING:
    from common.weights.graph import CompiledGraph

# Side of the input where the file leaves it open, pixels: that of most published networks.
_SIDE_PX = 640
_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
# A frame is letterboxed where stretching would change people's proportions by more: 16:9 in a square is 1.78.
_MOST_STRETCH = 1.8
# In all cells of a grid that is not decoded, centres lie within a few cells of 0; decoded, the median is that of the
# picture.
_DECODED_PX = 8
# Boxes of which no coordinate is larger are in units of the input: nobody is two pixels large.
_UNITS = 2.0
# Most boxes of a picture: each costs time. YOLOX's are as many before suppression.
_MOST_BOXES = 50


class DetectorFile:
    """Proposes boxes of people in a frame, as `Detector` does; there is one scale.

    Args:
        network: (1, 3, H, W) or (1, H, W, 3) → outputs of one of the two forms.
        shape: of its input.
        red_first: the order of the channels.
        name: of the file, for messages.

    Raises:
        ValueError: its outputs have neither form.
    """

    def __init__(
        self, network: "CompiledGraph", shape: tuple[int, ...], *, red_first: bool = False, name: str = ""
    ) -> None:
        self._network, self._red_first, self._name = network, red_first, name
        self._channels_first = shape[1] == 3
        height, width = shape[2:] if self._channels_first else shape[1:3]
        self._size = width, height
        self._cells: Tensor | None = None
        self._decoded = True
        self._learn_form(self._outputs(np.full((height, width, 3), LETTERBOX_GREY, np.uint8)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The network of a file; raises UsageError if it cannot be used."""
        try:
            network, shape = from_users_file(path, _SIDE_PX)
            return cls(network, shape, red_first=path.suffix.lower() == ".tflite", name=str(path))
        except ValueError as error:
            raise UsageError(f"--detector {path}: {error}") from error

    @torch.inference_mode()
    def find(self, image: Image, scales: Sequence[float] = USUAL, roll: float = 0.0) -> tuple[Detection, ...]:
        """See `Detector.find`; `scales` changes nothing. Raises UsageError if the network fails."""
        try:
            return self._find(image, roll)
        # OpenVINO has no common class of errors.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise UsageError(f"--detector {self._name}: it fails at a picture: {reason}: leave it out") from error

    def _find(self, image: Image, roll: float) -> tuple[Detection, ...]:
        width, height = self._size
        stretch = (image.shape[1] / image.shape[0]) / (width / height)
        if self._cells is None and not roll and 1 / _MOST_STRETCH < stretch < _MOST_STRETCH:
            picture = np.asarray(cv2.resize(image, self._size, interpolation=cv2.INTER_AREA), np.uint8)
            boxes, scores = self._people(self._outputs(picture))
            boxes = boxes * torch.tensor(2 * image.shape[1::-1])
        else:
            picture, letterbox = letterboxed(image, self._size, roll)
            boxes, scores = self._people(self._outputs(picture))
            boxes = letterbox.to_pixels(boxes)
        return detections(boxes, scores, image)

    def _outputs(self, picture: Image) -> tuple[Tensor, ...]:
        """The network's outputs for a picture of its size."""
        ordered = np.ascontiguousarray(picture if self._red_first else picture[..., ::-1])
        return self._network(torch.from_numpy(ordered.transpose(2, 0, 1) if self._channels_first else ordered)[None])

    def _people(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) in units of the input, and scores (N,), best first."""
        if not _table(outputs).numel():
            return torch.zeros(0, 4), torch.zeros(0)
        boxes, scores = self._rows(outputs)
        likely = (scores >= PROPOSAL_SCORE) & boxes.isfinite().all(dim=1)
        boxes, scores = boxes[likely], scores[likely].clamp_max(1.0)
        if self._cells is not None:
            return suppressed(boxes, scores)
        scores, order = scores.sort(descending=True)
        return boxes[order[:_MOST_BOXES]], scores[:_MOST_BOXES]

    def _rows(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """All boxes (N, 4) of people in units of the input, and scores (N,)."""
        table = _table(outputs)
        if table.shape[1] != self._columns:
            raise ValueError(f"its output has {table.shape[1]} numbers a box, and had {self._columns}")
        if self._cells is not None:
            return self._of_grid(table, self._cells)
        if table.shape[1] == 7:
            kinds, scores, boxes = table[:, 1], table[:, 2] * (table[:, 0] >= 0), table[:, 3:]
        else:
            boxes, scores = table[:, :4], table[:, 4]
            apart = [output.flatten() for output in outputs if output.dim() < 3 and output.numel() == len(table)]
            kinds = table[:, 5] if table.shape[1] == 6 else apart[0] if apart else torch.zeros_like(scores)
            if len(boxes) and boxes.max() > _UNITS:
                boxes = boxes / torch.tensor(2 * self._size)
        person = kinds < 2
        return boxes[person], scores[person]

    def _of_grid(self, table_AX: Tensor, cells_A3: Tensor) -> tuple[Tensor, Tensor]:
        """Cells are (column, row, stride)."""
        centres, sizes = table_AX[:, :2], table_AX[:, 2:4]
        if not self._decoded:
            centres, sizes = (centres + cells_A3[:, :2]) * cells_A3[:, 2:], sizes.exp() * cells_A3[:, 2:]
        boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1) / torch.tensor(2 * self._size)
        return boxes, table_AX[:, 4] * table_AX[:, 5]

    def _learn_form(self, outputs: Sequence[Tensor]) -> None:
        """Which form the outputs for a grey picture have."""
        table, grids = _table(outputs), [_cells(*self._size, strides) for strides in _STRIDES]
        self._columns = table.shape[1]
        if self._columns > 5:
            self._cells = next((cells for cells in grids if len(cells) == len(table)), None)
        if self._cells is not None:
            self._decoded = float(table[:, :2].abs().median()) > _DECODED_PX
        elif table.shape[1] not in (5, 6, 7):
            shapes = ", ".join(str(list(output.shape)) for output in outputs)
            raise ValueError(
                f"its output {shapes} is neither N × (x0, y0, x1, y1, score[, class]) nor YOLOX's grid of "
                f"{len(grids[0])} cells"
            )
        scores = self._rows(outputs)[1]
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(f"its scores are no probabilities: {scores.min():g} to {scores.max():g}")


def _table(outputs: Sequence[Tensor]) -> Tensor:
    """The output of most axes as a table: all but two of them have a length of 1."""
    largest = max(outputs, key=Tensor.dim)
    return largest.float().reshape(-1, max(largest.shape[-1], 1) if largest.dim() else 1)


def _cells(width: int, height: int, strides: Sequence[int]) -> Tensor:
    """(A, 3) column, row and stride of the cells of a grid."""
    parts = []
    for stride in strides:
        row, column = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        parts.append(torch.stack([column, row, torch.full_like(row, stride)], dim=-1).flatten(0, 1))
    return torch.cat(parts).float()
