"""Reading of MoveNet's TensorFlow.js files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.errors import UsageError
from sender.perception.movenet.network import MoveNetConfig, MoveNetNet
from sender.train.movenet import members, nodes, state_of, tensors_of


def test_tensors_are_read_in_the_order_of_the_manifest() -> None:
    first, second = np.array([[0.5, -2.0]], "<f2"), np.array([7], "<i4")
    weights = [
        {"name": "a", "shape": [1, 2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "b", "shape": [], "dtype": "int32"},
    ]
    content = first.tobytes() + second.tobytes()
    found = tensors_of([{"weights": weights}], content)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [[0.5, -2.0]], "b": 7.0}
    with pytest.raises(ValueError, match="1 bytes"):
        tensors_of([{"weights": weights}], content + b"\0")
    with pytest.raises(ValueError, match="a is stored as uint8"):
        tensors_of([{"weights": [{"name": "a", "shape": [1], "dtype": "uint8"}]}], b"\0")


def test_every_layer_has_its_node() -> None:
    net = MoveNetNet(MoveNetConfig())
    tensors: dict[str, Tensor] = {}
    for layer, weights, bias in nodes():
        convolution = net.get_submodule(layer)
        assert isinstance(convolution, nn.Conv2d)
        kernel = convolution.weight
        depthwise = kernel.shape[1] == 1 and kernel.shape[2] == 3
        tensors[weights] = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(2, 3, 1, 0)
        assert (bias is None) == (convolution.bias is None)
        if bias is not None and convolution.bias is not None:
            tensors[bias] = convolution.bias
    state = state_of(tensors)
    for name, tensor in net.state_dict().items():
        assert torch.equal(state.pop(name), tensor), name
    assert not state
    with pytest.raises(ValueError, match="no tensor"):
        state_of({})


def test_another_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tgz").write_bytes(b"x")
    with pytest.raises(UsageError, match="SHA-256 differs"):
        members(tmp_path / "other.tgz", ["movenet-thunder"])
