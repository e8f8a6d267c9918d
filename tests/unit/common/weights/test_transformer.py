"""What a daemon imports takes most of its start."""

import subprocess
import sys

DAEMONS = """
import sys
import torch
from common.weights.transformer import Block
import receiver.composition, sender.composition
receiver.composition.ReceiverConfig()
unused = {"torch._dynamo", "triton", "sympy", "onnx", "timm.models", "torchvision.models", "fastapi", "uvicorn"}
assert not unused & set(sys.modules), unused & set(sys.modules)
"""


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True).stdout


def test_daemons_import_neither_compiler_nor_models_nor_the_page() -> None:
    run(DAEMONS)
