import subprocess
import sys

PROGRAM = """
import sys
import torch
from common.weights.transformer import Block
import receiver.composition, sender.composition
assert not {"torch._dynamo", "triton", "sympy", "onnx"} & set(sys.modules)
import torch._dynamo
assert torch._dynamo.disable is not None and torch._dynamo.__file__
from torchvision.ops import roi_align
print(tuple(roi_align(torch.rand(1, 3, 8, 8), torch.tensor([[0, 0, 0, 4, 4.0]]), 2).shape), Block(16, 2).attn.num_heads)
"""


def test_daemons_do_not_import_the_compiler_and_it_is_there_afterwards() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert ended.stdout == "(1, 3, 2, 2) 2\n", ended.stderr
