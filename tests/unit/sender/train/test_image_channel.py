"""The training of the image channel, with tiny networks."""

import copy
from pathlib import Path

import pytest
import torch

import sender.train.image_channel as training
from common.channel import image_codec
from common.channel.image_codec import ERRORS_FILE, Source, load_coefficients
from common.training.run import parse
from common.weights.loader import load_weights
from common.weights.manifest import read_manifest
from sender.train.image_channel import (
    ImageChannelTraining,
    random_mean_lengths,
)
from tests.support.pictures.random_pictures import picture_flags
from tests.support.training.tiny_image_channel import tiny_network
from tests.support.training.training_examples import train_on_gpu


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name, value in (("crop_px", 32), ("validation_crops", 2), ("error_crops", 2)):
        monkeypatch.setattr(ImageChannelTraining, name, value)
    return picture_flags(tmp_path)


def recipe(*more: str) -> ImageChannelTraining:
    options = parse(ImageChannelTraining, ["--photographs", "x", *more])
    made = ImageChannelTraining(options, torch.device("cpu"))
    made.generator = torch.Generator().manual_seed(0)
    return made


def test_goes_on_from_shipped_weights(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tiny_network().requires_grad_(False)
    monkeypatch.setattr(image_codec, "load_network", lambda: copy.deepcopy(shipped))
    more = ["--shipped", "--rate", "1e-6"]
    _, document = train_on_gpu(monkeypatch, ImageChannelTraining, tmp_path, *flags, *more)
    assert (document["samples"], document["pictures"]) == (8, 33)
    exported = load_weights("image_channel", directory=tmp_path / "weights")
    for name, weights in shipped.state_dict().items():
        torch.testing.assert_close(exported[name].float(), weights.float(), rtol=1e-2, atol=1e-3)
    assert read_manifest(tmp_path / "weights")["image_channel"].recipe["shipped"] is True
    assert torch.isfinite(load_coefficients(tmp_path / "weights" / ERRORS_FILE.name)).all()


def test_every_weight_gets_a_gradient_and_is_optimised_once() -> None:
    network, made = tiny_network().train(), recipe()
    made.share = 0.5
    loss, terms = made.step(network, torch.rand(4, 3, 32, 32))
    loss.backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert set(terms) == {"psnr", "digital", "bpp"}


def test_lengths_are_equal_at_first_and_adapted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    network, made = tiny_network(), recipe()
    encode = network.encode

    def observed(source: Source, snr_db: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append(lengths)
        return encode(source, snr_db, lengths)

    monkeypatch.setattr(network, "encode", observed)
    for made.share in (0.1, 0.5):
        made.step(network, torch.rand(4, 3, 64, 64))
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


def test_lengths_are_between_equal_and_by_information() -> None:
    bits = torch.tensor([10.0, 100.0, 190.0]).repeat(500)
    few, middle, many = random_mean_lengths(bits, 48.0, torch.Generator().manual_seed(0)).reshape(500, 3).unbind(1)
    assert (many.mean() > middle.mean() > few.mean()).item()
    # Half of them keep the rate, the others vary by a factor of up to two.
    assert float(middle.min()) >= 24.0 and float(middle.max()) <= 96.0
    assert 0.4 < float((middle == 48.0).float().mean()) < 0.6
