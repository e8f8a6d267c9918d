"""What a daemon imports takes most of its start."""

import subprocess
import sys

import pytest

DAEMONS = """
import sys
import torch
from common.weights.transformer import Block
import receiver.composition, sender.composition
receiver.composition.ReceiverConfig()
unused = {"torch._dynamo", "triton", "sympy", "onnx", "timm.models", "torchvision.models", "fastapi", "uvicorn"}
assert not unused & set(sys.modules), unused & set(sys.modules)
"""
AFTERWARDS = """
import torch._dynamo
assert torch._dynamo.disable is not None and torch._dynamo.__file__
from torchvision.ops import roi_align
print(tuple(roi_align(torch.rand(1, 3, 8, 8), torch.tensor([[0, 0, 0, 4, 4.0]]), 2).shape), Block(16, 2).attn.num_heads)
from timm.models.vision_transformer import Block as Theirs
theirs, ours, x = Theirs(16, 2, qkv_bias=True), Block(16, 2), torch.rand(3, 5, 16)
ours.load_state_dict(theirs.state_dict())
mask = torch.randn(1, 2, 5, 5)
print(torch.equal(ours(x, attn_mask=mask), theirs(x, attn_mask=mask)))
"""


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True).stdout


def test_daemons_import_neither_compiler_nor_models_nor_the_page() -> None:
    run(DAEMONS)


@pytest.mark.slow
def test_what_daemons_do_not_import_is_there_afterwards() -> None:
    assert run(DAEMONS + AFTERWARDS) == "(1, 3, 2, 2) 2\nTrue\n"
