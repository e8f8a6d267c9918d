"""Where networks compute and in which precision: decided here, for both daemons, the trainings and the benches."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from common.errors import UsageError
from common.weights.threads import instructions_limit

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
    """A context in which matrix products and convolutions run in bf16, if wanted and if that is fast on the device."""
    return torch.autocast(device, torch.bfloat16, enabled=wanted and (device != "cpu" or fast_in_bf16()))


def fast_in_bf16() -> bool:
    """Whether this machine's CPU convolves faster in bf16 than in float32: where it has tiles (AMX).

    With the instructions of AVX-512 alone bf16 may take longer than float32: 1.8 times as long on an Intel Xeon.
    Without them it is emulated.
    """
    return torch.cpu._is_amx_tile_supported() and _may_use("AMX")


def int8_weight_bits() -> int:
    """Bits of the weights that this machine's CPU multiplies by 8-bit inputs exactly, and faster than in float32.

    8 with VNNI, with which convolutions and matrix products are twice as fast.  7 with AVX2 or AVX-512 alone, which add
    two products in 16 bits and gain in convolutions only: matrix products are written as convolutions.  0 without both.
    """
    if torch.cpu._is_vnni_supported() and _may_use("VNNI", "BF16", "FP16", "AVX10", "AMX"):
        return 8
    return 7 if torch.cpu._is_avx2_supported() and _may_use("AVX2", "AVX512", "AVX10") else 0


def _may_use(*names: str) -> bool:
    """Whether the limit is none, or names one of these."""
    limit = instructions_limit()
    return not limit or any(name in limit for name in names)
