"""Options of the networks' device, and the limit of its instructions."""

import os
import re
from dataclasses import dataclass

from common.io.command_line import option


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """The device that networks run on.

    Args:
        device: `auto` (the first CUDA GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
    """

    device: str = option("auto", help="where networks run: auto (a GPU if present), cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(f"unknown device {self.device!r}; choose auto, cpu, cuda or cuda:N")


def instructions_limit() -> str:
    """The instructions that `ONEDNN_MAX_CPU_ISA` limits OpenVINO and PyTorch to, in capitals; empty without a limit.

    It makes a machine compute as an older one does: `AVX512_CORE` is without VNNI.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return "" if limit in ("DEFAULT", "ALL") else limit
