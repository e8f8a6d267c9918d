"""Half precision where the processor computes in it, and nowhere else: emulated, it is slower than float32."""

import torch


def fast_autocast(device: str = "cpu", *, wanted: bool = True) -> torch.autocast:
    """A context in which matrix products and convolutions run in bf16, if that is wanted and faster on this machine."""
    fast = device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())
    return torch.autocast(device, torch.bfloat16, enabled=wanted and fast)
