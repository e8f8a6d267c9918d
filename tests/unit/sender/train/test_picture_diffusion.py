"""The training of the diffusion decoder, with tiny networks."""

from pathlib import Path

import pytest
import torch

import sender.train.picture_diffusion as training
from common.channel import diffusion
from common.channel.diffusion import KIND, WEIGHTS_NAME, DiffusionDecoder, DiffusionDecoderConfig
from common.channel.model import Reconstruction
from common.weights.loader import load_recorded
from sender.perception.inference.detector import DetectorConfig, DetectorNet
from tests.support.random_pictures import picture_flags
from tests.support.tiny_diffusion_decoder import tiny_decoder
from tests.support.tiny_image_channel import TINY, tiny_network
from tests.support.training_examples import train_on_gpu


def tiny_features() -> training.DetectorFeatures:
    torch.manual_seed(0)
    return training.DetectorFeatures(DetectorNet(DetectorConfig(size=32, width=8)).eval())


class TinyDetector:
    """Stands in for the shipped detector."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = DetectorNet(DetectorConfig(size=32, width=8)).eval()

    @classmethod
    def load(cls) -> "TinyDetector":
        return cls()


def test_goes_on_from_shipped_weights_and_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tiny_decoder()
    monkeypatch.setattr(diffusion, "load_decoder", tiny_decoder)
    monkeypatch.setattr(training, "load_network", tiny_network)
    monkeypatch.setattr(training, "Detector", TinyDetector)
    monkeypatch.setattr(training.PictureDiffusionTraining, "crop_px", 32)
    monkeypatch.setattr(training.PictureDiffusionTraining, "validation_crops", 2)
    flags = [*picture_flags(tmp_path), "--shipped", "--rate", "1e-6"]
    _, document = train_on_gpu(monkeypatch, training.PictureDiffusionTraining, tmp_path, *flags)
    assert (document["samples"], document["pictures"]) == (8, 33)
    exported = load_recorded(WEIGHTS_NAME, KIND, DiffusionDecoderConfig, DiffusionDecoder, tmp_path / "weights")
    assert exported.config == DiffusionDecoderConfig(TINY.widths, TINY.latents)
    for name, weights in shipped.state_dict().items():
        torch.testing.assert_close(exported.state_dict()[name], weights, rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_new_network_starts_as_the_plain_decoder() -> None:
    channel = tiny_network()
    network = training.new_network(channel)
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    state = training.received(channel, crops, torch.Generator().manual_seed(0))
    estimate = network(crops, state.pictures.clamp(0, 1), state, torch.ones(2))
    assert torch.allclose(estimate, state.pictures, atol=1e-4)


def test_features_tell_blur_from_the_original_and_give_a_gradient() -> None:
    features = tiny_features()
    original = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(original, 3, stride=1, padding=1).requires_grad_(True)
    assert float(features.distance(original, original)) == pytest.approx(0, abs=1e-6)
    distance = features.distance(blurred, original)
    assert float(distance.detach()) > 0.01
    (gradient,) = torch.autograd.grad(distance, blurred)
    assert bool(gradient.abs().sum() > 0)


def test_loss_is_least_for_the_original() -> None:
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grid = (2, 2, 2)
    state = Reconstruction(
        (crops + 0.1).clamp(0, 1), torch.zeros(2, TINY.latents, 2, 2), torch.full(grid, 7.0), torch.full(grid, 48)
    )

    class Exact(torch.nn.Module):
        def forward(self, *_: object) -> torch.Tensor:
            return crops

    losses = []
    for network in (Exact(), tiny_decoder()):
        generator = torch.Generator().manual_seed(1)
        loss, _ = training.step_loss(network, state, crops, tiny_features(), generator)  # type: ignore[arg-type]
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses[1] > 0.1
