"""Every network that the daemons run on a GPU can be captured as a CUDA graph.

On fake CUDA tensors, which need no GPU: a tensor that `forward` makes on the host, a list of indices, a value that it
waits for or a shape that depends on values would end a capture, and is found in the exported program.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from common.weights.inference import NetworkInUse
from receiver.engine.reconstructor import Reconstructor
from sender.attributes.kind_reader import KindReader
from sender.config import TrackingConfig
from sender.perception.perception_stage import PerceptionStage
from sender.semantics.semantics_stage import SemanticsStage
from tests.support.training.pretended_gpu import is_on_gpu, pretended_gpu

pytestmark = pytest.mark.slow

ROWS = 4
NAMES = {
    *("perception", "nanodet", "movenet_lightning", "movenet_thunder", "pose_errors", "wears"),
    *("keypoint_fusion lightning", "keypoint_fusion thunder", "keypoint_fusion thorough"),
    *("people", "diffusion", "lifting"),
}


def networks_of_both_daemons(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, nn.Module, Sequence[Tensor]]]:
    """Name, network and inputs of all that they capture at the start."""
    found: list[tuple[str, nn.Module, Sequence[Tensor]]] = []

    def note(used: NetworkInUse, *inputs: Tensor, run: Any = NetworkInUse.__call__) -> tuple[Tensor, ...]:
        assert used._captured is not None
        found.append((used._captured._name, used.network, inputs))
        outputs: tuple[Tensor, ...] = run(used, *inputs)
        return outputs

    with pretended_gpu(monkeypatch) as gpu, monkeypatch.context() as patch:
        patch.setattr(NetworkInUse, "__call__", note)
        PerceptionStage.load(TrackingConfig(), gpu)
        for stage in (SemanticsStage, KindReader, Reconstructor):
            stage.load(device=gpu)
    return found


def faults(network: nn.Module, example: Sequence[Tensor]) -> Iterator[str]:
    """What of a network cannot be captured."""
    batch = [one.expand(ROWS, *one.shape[1:]) for one in example]
    with FakeTensorMode(), torch.no_grad(), mock.patch.object(Tensor, "__deepcopy__", in_its_place):
        with mock.patch.object(nn.Parameter, "__deepcopy__", in_its_place):
            there = copy.deepcopy(network)
        inputs = tuple(torch.empty(one.shape, dtype=one.dtype, device="cuda") for one in batch)
        program = torch.export.export(there, inputs, strict=False)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, torch.SymInt | torch.SymFloat | torch.SymBool):
                yield f"{node.target} waits for the device"
            if isinstance(one, Tensor) and one.device.type != "cuda":
                yield f"{node.target} makes a tensor on the host"
            if isinstance(one, Tensor) and not all(isinstance(side, int) for side in one.shape):
                yield f"the shape of {node.target} depends on values"


def in_its_place(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """A fake copy, on the device where the tensor is, or pretends to be."""
    place = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda" if is_on_gpu(tensor) else "cpu")
    memo[id(tensor)] = copied = nn.Parameter(place, False) if isinstance(tensor, nn.Parameter) else place
    return copied


def test_all_networks_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = networks_of_both_daemons(monkeypatch)
    assert {name for name, *_ in networks} == NAMES
    assert [(name, fault) for name, network, inputs in networks for fault in faults(network, inputs)] == []
