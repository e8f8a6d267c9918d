import subprocess
import sys

PROGRAM = """
import sys
import torch
from common.weights.transformer import Block
import receiver.composition, sender.composition
assert not {"torch._dynamo", "triton", "sympy", "onnx", "timm.models", "torchvision.models"} & set(sys.modules)
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


def test_daemons_import_neither_compiler_nor_models_which_are_there_afterwards() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert ended.stdout == "(1, 3, 2, 2) 2\nTrue\n", ended.stderr
