import pytest
import torch

from common.weights import devices


@pytest.mark.parametrize("tiles", [False, True])
def test_a_cpu_computes_in_bf16_only_where_that_is_faster(monkeypatch: pytest.MonkeyPatch, tiles: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert devices.fast_autocast()._enabled is tiles
