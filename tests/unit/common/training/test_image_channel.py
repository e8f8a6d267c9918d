"""The training of the image channel, with tiny networks."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import common.training.image_channel as training
from common.channel import deepjscc, transmission
from common.channel.deepjscc import DeepJsccConfig
from common.channel.model import ImageChannelConfig, Source
from common.errors import UsageError
from common.imaging.picture_file import write_picture
from common.weights.loader import load_weights
from common.weights.manifest import read_manifest
from tests.support.tiny_image_channel import TINY, tiny_network


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags for a training of tiny networks on 42 pictures, of which two are held back."""
    monkeypatch.setattr(training, "ImageChannelConfig", tiny_config)
    monkeypatch.setattr(training, "DeepJsccConfig", lambda symbols: DeepJsccConfig(4, symbols))
    monkeypatch.setattr(training, "CROP_PX", 32)
    monkeypatch.setattr(training, "_VALIDATION_CROPS", 2)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(42):
        write_picture(pictures / f"{number:02d}.png", rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return ["--data", str(pictures), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--batch", "4"]


def tiny_config(**removals: bool) -> ImageChannelConfig:
    return replace(TINY, **removals)  # type: ignore[arg-type]


def weights_flags(tmp_path: Path) -> list[str]:
    return ["--export", "--weights", str(tmp_path / "weights")]


def test_trains_resumes_and_exports(folders: list[str], tmp_path: Path) -> None:
    training.train(training.parse([*folders, "--steps", "2"]))
    training.train(training.parse([*folders, "--steps", "4", "--resume", *weights_flags(tmp_path)]))
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (scores["steps"], scores["samples"], scores["pictures"]) == (4, 16, 40)
    assert transmission.load_network(directory=tmp_path / "weights").config == TINY


def test_goes_on_from_shipped_weights_with_adapted_lengths(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tiny_network().requires_grad_(False)
    monkeypatch.setattr(transmission, "load_network", lambda: copy.deepcopy(shipped))
    flags = [*folders, "--steps", "1", "--shipped", "--rate", "1e-6", *weights_flags(tmp_path)]
    training.train(training.parse(flags))
    exported = load_weights("image_channel", directory=tmp_path / "weights")
    for name, weights in shipped.state_dict().items():
        torch.testing.assert_close(exported[name].float(), weights.float(), rtol=1e-2, atol=1e-3)
    assert read_manifest(tmp_path / "weights")["image_channel"].recipe["shipped"] is True


def test_ablation_of_shipped_weights_lacks_what_it_is_named_after(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transmission, "load_network", tiny_network)
    flags = [*folders, "--steps", "1", "--shipped", "--without", "lengths", *weights_flags(tmp_path)]
    training.train(training.parse(flags))
    entry = read_manifest(tmp_path / "weights")["image_channel_without_lengths"]
    assert (entry.architecture["lengths"], entry.architecture["snr"]) == (False, True)


@pytest.mark.parametrize("other", [["--deepjscc"], ["--without", "hyperprior"]])
def test_shipped_weights_are_of_an_image_channel_with_hyperprior(
    folders: list[str], other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        training.parse([*folders, "--shipped", *other])
    assert "--shipped is for an image channel with hyperprior" in capsys.readouterr().err


def test_ablation_is_exported_under_its_own_name_and_cannot_be_resumed_as_whole(
    folders: list[str], tmp_path: Path
) -> None:
    flags = [*folders, "--steps", "1"]
    training.train(training.parse([*flags, "--without", "hyperprior", *weights_flags(tmp_path)]))
    config = transmission.load_network("image_channel_without_hyperprior", tmp_path / "weights").config
    assert not config.hyperprior and not config.lengths and config.snr
    with pytest.raises(UsageError, match="--without hyperprior"):
        training.train(training.parse([*flags, "--resume"]))


@pytest.mark.parametrize(("symbols", "name"), [("3", "deepjscc_16"), ("2", "deepjscc_24")])
def test_baseline_trains_and_exports(folders: list[str], tmp_path: Path, symbols: str, name: str) -> None:
    flags = ["--deepjscc", "--symbols", symbols, *weights_flags(tmp_path)]
    training.train(training.parse([*folders, "--steps", "2", *flags]))
    assert deepjscc.load_network(name, tmp_path / "weights").config == DeepJsccConfig(4, int(symbols))


def test_every_weight_gets_a_gradient_and_is_optimised_once() -> None:
    network = tiny_network().train()
    step = training.ChannelStep(network, torch.Generator().manual_seed(0))
    loss, terms = step(torch.rand(4, 3, 32, 32), 0.5)
    loss.backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    groups = training.optimiser_of(network, 1e-3).param_groups
    weights = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(weights) == sorted(id(weight) for weight in network.parameters())
    assert set(terms) == {"loss", "psnr", "digital", "bpp"}


def test_lengths_are_equal_at_first_and_adapted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    network = tiny_network()
    encode = network.encode

    def observed(source: Source, snr_db: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append(lengths)
        return encode(source, snr_db, lengths)

    monkeypatch.setattr(network, "encode", observed)
    step = training.ChannelStep(network, torch.Generator().manual_seed(0))
    for progress in (0.1, 0.5):
        step(torch.rand(4, 3, 64, 64), progress)
    assert (seen[0] == 48).all()
    assert seen[1].unique().numel() > 2


def test_loss_of_the_reference_error_has_the_slope_of_the_squared_error() -> None:
    originals = torch.zeros(1, 3, 4, 4)
    pictures = torch.full_like(originals, training._REFERENCE_ERROR**0.5).requires_grad_()
    loss, psnr_db = training.crop_losses(pictures, originals)
    (slope,) = torch.autograd.grad(loss, pictures)
    (squared,) = torch.autograd.grad(pictures.square().mean(), pictures)
    assert torch.allclose(slope, squared, rtol=1e-4)
    assert float(psnr_db) == pytest.approx(28.0, abs=1e-3)
