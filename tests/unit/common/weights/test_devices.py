import pytest
import torch

from common.weights import devices


@pytest.mark.parametrize("tiles", [False, True])
def test_a_cpu_computes_in_bf16_only_where_that_is_faster(monkeypatch: pytest.MonkeyPatch, tiles: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert devices.fast_autocast()._enabled is tiles


@pytest.mark.parametrize(
    ("limit", "bits", "bf16"),
    [("", 8, True), ("avx512_core_vnni", 8, False), ("AVX512_CORE", 7, False), ("AVX2", 7, False), ("SSE41", 0, False)],
)
def test_a_limit_of_instructions_makes_an_older_processor(
    limit: str, bits: int, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("amx_tile", "vnni", "avx2"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert (devices.int8_weight_bits(), devices.fast_in_bf16()) == (bits, bf16)
