"""The operations of MediaPipe's own in its networks, of which OpenVINO knows none.

    landmarks ─ Landmarks2TransformMatrix ─┬───────────────────────────────────┐
    maps ──────────────────────────────────┴─ TransformTensorBilinear ─ layers ─┴─ TransformLandmarks

A part of the face (lips, an eye) is cut from the maps where the landmarks say that it is, upright by its corners, and
what is found there is laid back.  Grishchenko et al., *Attention mesh: high-fidelity face mesh prediction in
real-time*, 2020; `mediapipe/util/tflite/operations`, second versions.

Convolution2DTransposeBias enlarges maps without overlap, by the side of its kernel.

Imports OpenVINO, so that only `common.weights.graph` may import it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from openvino import opset13

_UNKNOWN = "TFFrameworkNode"
# Attributes of these operations in MediaPipe's networks: side of a cut part, and its size over that of its points' box.
_SIDE, _MARGIN = 16, 1.5

Part = tuple[Sequence[int], tuple[int, int]]
"""Points of a part among the landmarks, and its two corners."""


def add_operations(graph: Any, parts: Sequence[Part]) -> None:
    """Puts operations that OpenVINO has in the place of MediaPipe's.

    Args:
        graph: of which the frontend has converted what it knows.
        parts: in the order of the file.

    Raises:
        ValueError: there are other operations, or other parts.
    """
    unknown = [each for each in graph.get_ordered_ops() if each.get_type_name() == _UNKNOWN]
    # The frontend names operations after their places in the file.
    unknown.sort(key=lambda each: int(each.get_friendly_name()))
    left = list(parts)
    for operation in unknown:
        inputs = operation.input_values()
        if len(inputs) == 1 and left:
            made = _matrix(inputs[0], *left.pop(0))
        elif len(inputs) == 2 and len(inputs[0].get_partial_shape()) == 4:
            made = _cut(*inputs)
        elif len(inputs) == 2 and len(inputs[0].get_partial_shape()) == 3:
            made = _laid_back(*inputs)
        elif len(inputs) == 3:
            made = _enlarged(*inputs)
        else:
            raise ValueError(f"the network has another operation, {operation.get_friendly_name()}")
        for reader in operation.output(0).get_target_inputs():
            reader.replace_source_output(made.output(0))
    if left:
        raise ValueError("the network has fewer parts")
    graph.validate_nodes_and_infer_types()


def _matrix(landmarks: Any, points: Sequence[int], corners: tuple[int, int]) -> Any:
    """Landmarks2TransformMatrix: (1, 4, 4) from places in a part to those in the maps, of landmarks (1, 468, 3)."""
    places = opset13.gather(opset13.squeeze(landmarks, _whole([0])), _whole([0, 1]), _whole(1))
    first, last = (opset13.gather(places, _whole([corner]), _whole(0)) for corner in corners)
    line = opset13.subtract(last, first)
    length = opset13.sqrt(opset13.reduce_sum(opset13.multiply(line, line), _whole([1]), keep_dims=True))
    cosine, sine = (opset13.gather(opset13.divide(line, length), _whole([axis]), _whole(1)) for axis in (0, 1))
    # Its columns are the axes of the part.
    axes = opset13.concat([opset13.concat([cosine, opset13.negative(sine)], 1), opset13.concat([sine, cosine], 1)], 0)
    upright = opset13.matmul(opset13.gather(places, _whole(points), _whole(0)), axes, False, False)
    low, high = (reduce(upright, _whole([0]), keep_dims=True) for reduce in (opset13.reduce_min, opset13.reduce_max))
    middle = opset13.matmul(axes, opset13.multiply(opset13.add(low, high), _real(0.5)), False, True)
    scaled = opset13.multiply(axes, opset13.multiply(opset13.subtract(high, low), _real(_MARGIN / _SIDE)))
    to_middle = opset13.matmul(scaled, _real([[_SIDE / 2], [_SIDE / 2]]), False, False)
    rows = opset13.concat([scaled, _real([[0], [0]]), opset13.subtract(middle, to_middle)], 1)
    return opset13.unsqueeze(opset13.concat([rows, _real([[0, 0, 1, 0], [0, 0, 0, 1]])], 0), _whole(0))


def _cut(maps: Any, matrix: Any) -> Any:
    """TransformTensorBilinear: a part (1, 16, 16, C) of maps (1, H, W, C), by the middles of pixels."""
    _, height, width, _ = (length.get_length() for length in maps.get_partial_shape())
    linear, shift = _affine(matrix)
    rows, columns = np.mgrid[:_SIDE, :_SIDE] + 0.5
    middles = _real(np.stack([columns.ravel(), rows.ravel()], axis=1))
    places = opset13.add(opset13.matmul(middles, linear, False, True), opset13.subtract(shift, _real(0.5)))
    # From −1 to 1 between the middles of the outermost pixels.
    relative = opset13.subtract(opset13.multiply(places, _real([[2 / (width - 1), 2 / (height - 1)]])), _real(1))
    grid = opset13.reshape(relative, _whole([1, _SIDE, _SIDE, 2]), False)
    sampling = {"align_corners": True, "mode": "bilinear", "padding_mode": "zeros"}
    part = opset13.grid_sample(opset13.transpose(maps, _whole([0, 3, 1, 2])), grid, sampling)
    return opset13.transpose(part, _whole([0, 2, 3, 1]))


def _laid_back(landmarks: Any, matrix: Any) -> Any:
    """TransformLandmarks: landmarks (1, N, 2) of a part, where they are in the picture."""
    linear, shift = _affine(matrix)
    return opset13.add(opset13.matmul(landmarks, linear, False, True), shift)


def _enlarged(maps: Any, kernel: Any, bias: Any) -> Any:
    """Convolution2DTransposeBias: maps (1, k H, k W, O) of maps (1, H, W, C), by a kernel (O, k, k, C)."""
    _, height, width, _ = (length.get_length() for length in kernel.get_partial_shape())
    layers, rest = opset13.transpose(maps, _whole([0, 3, 1, 2])), [height, width]
    large = opset13.convolution_backprop_data(layers, opset13.transpose(kernel, _whole([3, 0, 1, 2])), strides=rest)
    return opset13.add(opset13.transpose(large, _whole([0, 2, 3, 1])), bias)


def _affine(matrix: Any) -> tuple[Any, Any]:
    """The linear part (2, 2) and the shift (1, 2) of a matrix (1, 4, 4)."""
    rows = opset13.gather(opset13.squeeze(matrix, _whole([0])), _whole([0, 1]), _whole(0))
    shift = opset13.transpose(opset13.gather(rows, _whole([3]), _whole(1)), _whole([1, 0]))
    return opset13.gather(rows, _whole([0, 1]), _whole(1)), shift


def _whole(values: npt.ArrayLike) -> Any:
    return opset13.constant(np.asarray(values, np.int64))


def _real(values: npt.ArrayLike) -> Any:
    return opset13.constant(np.asarray(values, np.float32))
