"""Options of the networks' device."""

import re
from dataclasses import dataclass

from common.io.options import option


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
