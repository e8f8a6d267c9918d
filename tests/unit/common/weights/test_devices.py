import pytest
import torch

from common.weights import devices


@pytest.mark.parametrize(
    ("instructions", "tiles", "bf16_s", "fast"),
    [(False, False, 1.0, False), (True, True, 9.0, True), (True, False, 1.0, True), (True, False, 9.0, False)],
)
def test_a_cpu_computes_in_bf16_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, tiles: bool, bf16_s: float, fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(devices, "_convolution_s", {torch.bfloat16: bf16_s, torch.float32: 4.0}.__getitem__)
    devices.fast_in_bf16.cache_clear()
    try:
        assert devices.fast_in_bf16() is fast
        assert devices.fast_autocast()._enabled is fast
    finally:
        devices.fast_in_bf16.cache_clear()
