import subprocess
import sys

import pytest
import torch

from common.weights.transformer import Attention, Block, DropPath

# What a daemon imports takes most of its start.
DAEMONS = """
import sys
import receiver.composition, sender.composition
unused = {"torch._dynamo", "triton", "sympy", "onnx", "torchvision", "fastapi", "uvicorn"}
assert not unused & set(sys.modules), unused & set(sys.modules)
"""


def test_daemons_import_neither_compiler_nor_models_nor_the_page() -> None:
    subprocess.run([sys.executable, "-c", DAEMONS], check=True)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_fused_or_not(*, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    attention, x = Attention(16, 2), torch.randn(3, 5, 16, generator=generator)
    mask = torch.randn(1, 2, 5, 5, generator=generator) if masked else None
    fused = attention(x, mask)
    attention.fused = False
    torch.testing.assert_close(attention(x, mask), fused)


def test_attention_is_that_of_pytorch() -> None:
    ours, theirs, x = Attention(16, 2), torch.nn.MultiheadAttention(16, 2, batch_first=True), torch.randn(3, 5, 16)
    names = {"qkv.weight": "in_proj_weight", "qkv.bias": "in_proj_bias"}
    own = {f"proj.{name}": value for name, value in theirs.out_proj.named_parameters()}
    ours.load_state_dict(own | {name: getattr(theirs, other) for name, other in names.items()})
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_paths_are_left_out_in_training_only() -> None:
    drop, x = DropPath(0.25), torch.ones(4000, 1, 2)
    assert torch.equal(drop.eval()(x), x)
    left = drop.train()(x)
    torch.testing.assert_close(left.unique(), torch.tensor([0.0, 4 / 3]))
    assert torch.equal(left[..., 0], left[..., 1]) and abs(left.mean() - 1) < 0.05


def test_block_changes_its_input_by_two_paths() -> None:
    block, x = Block(16, 2), torch.randn(3, 5, 16)
    for last in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.ones_(last.bias)
    torch.testing.assert_close(block(x), x + 2)
