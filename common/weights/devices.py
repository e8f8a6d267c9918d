"""Where networks compute and in which precision: decided here, for both daemons, the trainings and the benches."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from common.errors import UsageError

CPU = torch.device("cpu")


def resolve_device(name: str) -> torch.device:
    """The device that `--device` names: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError: this machine lacks the GPU that was asked for.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda", 0) if gpus else CPU
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise UsageError(f"--device {name}: this machine has {gpus} CUDA GPUs; choose auto or cpu")
    return device


def device_of(module: nn.Module) -> torch.device:
    """The device that a module's parameters and buffers are on; the CPU if it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return CPU


def to_numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """An array on the host with the shape of a tensor on any device; floating-point values become float32."""
    host = tensor.detach().cpu()
    return np.asarray((host.float() if host.is_floating_point() else host).numpy())


def fast_autocast(device: str = "cpu", *, wanted: bool = True) -> torch.autocast:
    """A context in which matrix products and convolutions run in bf16, if wanted and if this machine computes in it.

    Emulated bf16 is slower than float32, so a CPU without AVX-512 BF16 stays in float32.
    """
    return torch.autocast(device, torch.bfloat16, enabled=wanted and (device != "cpu" or computes_in_bf16()))


def computes_in_bf16() -> bool:
    """Whether this machine's CPU has instructions for bf16."""
    return bool(torch.cpu._is_avx512_bf16_supported())
