"""MediaPipe's operations of OpenVINO's, beside PyTorch's."""

import numpy as np
import pytest
import torch

openvino = pytest.importorskip("openvino")


def test_maps_are_enlarged_as_by_a_transposed_convolution() -> None:
    from openvino import opset13

    from common.weights.mediapipe_operations import _enlarged

    rng = np.random.default_rng(0)
    maps, kernel, bias = (rng.normal(size=size).astype(np.float32) for size in ((1, 3, 5, 4), (2, 2, 2, 4), (2,)))
    parameter = opset13.parameter(maps.shape, np.float32)
    graph = openvino.Model(
        [_enlarged(parameter.output(0), *(opset13.constant(each).output(0) for each in (kernel, bias)))], [parameter]
    )
    (found,) = openvino.Core().compile_model(graph, "CPU")([maps]).values()
    as_torch = torch.from_numpy(maps).movedim(3, 1), torch.from_numpy(kernel).permute(3, 0, 1, 2)
    expected = torch.nn.functional.conv_transpose2d(*as_torch, torch.from_numpy(bias), stride=2).movedim(1, 3)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-2)
