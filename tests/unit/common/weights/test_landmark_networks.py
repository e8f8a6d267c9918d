"""MediaPipe's networks: what they take and give, on blank pictures; and machines that lack them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.weights import landmark_networks
from common.weights.landmark_networks import Name, load_network


@pytest.mark.skipif(not landmark_networks.DIRECTORY.is_dir(), reason="built without MediaPipe's networks")
@pytest.mark.parametrize(
    ("name", "side", "sizes"),
    [
        ("face_landmark_with_attention", 192, [468 * 3, 80 * 2, 71 * 2, 71 * 2, 5 * 2, 5 * 2, 1]),
        ("hand_landmark_full", 224, [63, 1, 1, 63]),
        ("hand_landmark_lite", 224, [63, 1, 1, 63]),
        ("hand_recrop", 256, [4]),
        ("selfie_segmentation", 256, [256 * 256]),
    ],
)
def test_network_gives_what_it_is_read_for(name: Name, side: int, sizes: list[int]) -> None:
    network = load_network(name)
    assert network is not None
    outputs = network(torch.full((1, side, side, 3), 0.5))
    assert [output.numel() for output in outputs] == sizes
    assert all(output.isfinite().all() for output in outputs)


@pytest.mark.parametrize("content", [None, b"no network"])
def test_missing_or_damaged_network_is_none(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmark_networks, "DIRECTORY", tmp_path)
    if content is not None:
        (tmp_path / "hand_recrop.tflite").write_bytes(content)
    assert load_network("hand_recrop") is None


def test_maps_are_enlarged_as_by_a_transposed_convolution() -> None:
    openvino = pytest.importorskip("openvino")
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
