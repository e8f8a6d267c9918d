from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from common.doctor import networks
from common.doctor.finding import Verdict, run_check
from common.weights.config import DeviceConfig
from common.weights.loader import save_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for name in ("detector", "decode"):
        save_weights(name, {"weight": torch.ones(3)}, {"kind": "test"}, {}, {}, directory=tmp_path)
    return tmp_path


def test_weights_with_their_checksums(weights: Path) -> None:
    assert networks.check_weights(weights).found.startswith("2 files")


def test_damaged_and_missing_weights_are_named(weights: Path) -> None:
    (weights / "detector.safetensors.gz").write_bytes(b"damaged")
    (weights / "decode.safetensors.gz").unlink()
    finding = networks.check_weights(weights)
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 6)
    assert "detector.safetensors.gz is damaged" in finding.found
    assert "decode.safetensors.gz cannot be read (No such file or directory)" in finding.found


def test_no_weights(tmp_path: Path) -> None:
    (finding,) = run_check("weights", lambda: networks.check_weights(tmp_path))
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 6)


def test_versions_are_those_of_the_command_line() -> None:
    assert networks.check_versions("sender").found.startswith("sender ")


def test_device() -> None:
    assert networks.check_device(DeviceConfig("cpu")).found.startswith("the CPU by ")
    (finding,) = run_check("device", lambda: networks.check_device(DeviceConfig("cuda:99")))
    assert (finding.verdict, finding.exit_code) == (Verdict.PROBLEM, 2)


def test_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA H100", total_memory=80_000_000_000)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert networks.check_device(DeviceConfig()).found == "cuda:0: NVIDIA H100, 80 GB"
