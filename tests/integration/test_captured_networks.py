"""Every network that the daemons run on a GPU can be captured as a CUDA graph.

On fake CUDA tensors, which need no GPU: a tensor that `forward` makes on the host, a list of indices, a value that it
waits for or a shape that depends on values would end a capture, and is found in the exported program.
"""

import copy
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from common.body.model import BodyModel
from common.texture.atlas import AtlasLayout
from common.weights import inference
from receiver.engine.reconstructor import Reconstructor
from receiver.texture.atlas_completion import AtlasCompletion
from sender.clothing.stage import ClothingStage
from sender.perception.config import TrackingConfig
from sender.perception.stage import PerceptionStage
from sender.semantics.stage import SemanticsStage
from sender.wears.stage import WearsReader

ROWS = 4
DAEMONS = {"perception", "detector", "semantics", "clothing", "wears", "bones", "diffusion", "atlas_completion"}


def networks_of_both_daemons(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[nn.Module, Sequence[Tensor]]]:
    """Name → network and example inputs, of all that they hand to `in_use`."""
    found: dict[str, tuple[nn.Module, Sequence[Tensor]]] = {}

    def note(network: nn.Module, example: Sequence[Tensor], name: str, *_: object) -> None:
        found[name] = (network, example)

    with monkeypatch.context() as patch:
        patch.setattr(inference, "_compiled", note)
        PerceptionStage.load(TrackingConfig())
        for stage in (SemanticsStage, ClothingStage, WearsReader, Reconstructor):
            stage.load()
        AtlasCompletion.load(AtlasLayout.from_body(BodyModel.load()))
    return found


def faults(network: nn.Module, example: Sequence[Tensor]) -> Iterator[str]:
    """What of a network cannot be captured."""
    there, batch = copy.deepcopy(network), [one.expand(ROWS, *one.shape[1:]) for one in example]
    with FakeTensorMode(), torch.no_grad():
        for module in there.modules():
            for name, tensor in list(module.named_parameters(recurse=False)):
                module._parameters[name] = nn.Parameter(on_gpu(tensor), False)
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = on_gpu(buffer)
        inputs = tuple(on_gpu(one) for one in batch)
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


def on_gpu(tensor: Tensor) -> Tensor:
    """A fake one of the same shape."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


def test_all_networks_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = networks_of_both_daemons(monkeypatch)
    assert networks.keys() >= DAEMONS
    assert {name: found for name, network in networks.items() if (found := list(faults(*network)))} == {}


class Uncapturable(nn.Module):
    """What must not be in a network, one thing at a time."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> tuple[Tensor]:
        if self.kind == "constant":
            return (x + x.new_tensor([1.0, 2.0]),)
        if self.kind == "indices":
            return (x[:, [1, 0]],)
        if self.kind == "shape":
            return (x[x > 0],)
        return (x * x.sum().item(),)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("constant", "makes a tensor on the host"),
        ("indices", "makes a tensor on the host"),
        ("shape", "depends on values"),
        ("value", "waits for the device"),
    ],
)
def test_what_cannot_be_captured_is_found(kind: str, fault: str) -> None:
    assert any(fault in found for found in faults(Uncapturable(kind), [torch.zeros(1, 2)]))
