"""Training lowers the loss, on crops of photographs and of atlases."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.arrays import ByteArray
from common.channel.transmission import load_network
from common.errors import SourceError
from common.imaging.entropy import rounded
from common.picture_codec.mask import CONTEXTS, MaskCodec
from common.picture_codec.network import PictureCodecConfig, PictureCodecNetwork, Prediction
from common.picture_codec.weights import load_network as load_trained
from common.training import picture_codec
from common.training.codec_crops import atlas_crop, mixed_crops, read_atlases
from common.training.optimisers import muon_and_adamw
from common.training.picture_cache import PictureCache
from common.training.picture_codec import mask_frequencies, ms_ssim
from common.training.run import parse
from tests.bench import ms_ssim as reference
from tests.support.training_examples import flags_of_examples, train_on_gpu


@pytest.fixture(scope="module")
def atlas() -> ByteArray:
    row, column = np.mgrid[:512, :512]
    colours = np.stack([128 + 100 * np.sin(row / 20), column // 2, 255 - row // 2], axis=-1)
    known = np.hypot(row - 256, column - 256) < 200
    return np.dstack([colours, 255 * known]).astype(np.uint8)


def photographs() -> PictureCache:
    values = np.random.default_rng(0).integers(0, 256, 3 * 300 * 300 + 3 * 140 * 140, np.uint8)
    return PictureCache(values, np.array([[300, 300], [140, 140]]), np.array([0, 3 * 300 * 300]))


def test_batches_have_as_many_pixels_at_all_sizes(atlas: ByteArray) -> None:
    batches = mixed_crops(photographs(), [atlas], 8, np.random.default_rng(0))
    shapes = {tuple(next(batches).pictures.shape) for _ in range(40)}
    assert shapes == {(32, 3, 64, 64), (8, 3, 128, 128), (2, 3, 256, 256)}


def test_crops_of_atlases_say_what_is_known(atlas: ByteArray) -> None:
    crop = atlas_crop(atlas, 64, np.random.default_rng(1))
    assert crop.shape == (64, 64, 4) and set(np.unique(crop[..., 3])) <= {0, 255}


def test_folder_without_atlases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no atlases"):
        read_atlases([tmp_path])


def test_ms_ssim_is_that_of_the_bench() -> None:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (192, 200, 3), np.uint8)
    noisy = np.clip(original + rng.normal(0, 20, original.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(each).permute(2, 0, 1)[None].float() / 255 for each in (noisy, original))
    found = float(ms_ssim(x, y, torch.ones(1, 1, 192, 200)))
    assert found == pytest.approx(reference.ms_ssim(noisy, original), abs=2e-4)


def test_ms_ssim_ignores_unknown_pixels() -> None:
    torch.manual_seed(0)
    original = torch.rand(2, 3, 64, 64)
    known = torch.zeros(2, 1, 64, 64)
    known[0, :, :, :40] = 1
    changed = torch.where(known > 0, original, 0.0)
    assert ms_ssim(changed, original, known).tolist() == pytest.approx([1, 1])


def test_masks_like_those_of_the_fit_are_short(atlas: ByteArray) -> None:
    ones = mask_frequencies([atlas])
    assert ones.shape == (CONTEXTS,)
    mask = np.ascontiguousarray(atlas[:128, 128:256, 3] > 0)
    assert len(MaskCodec(ones).encode(mask)) < 60


def test_trains_on_photographs_and_atlases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atlas: ByteArray) -> None:
    torch.manual_seed(0)
    network = PictureCodecNetwork(PictureCodecConfig((16, 16, 16), 8, 4, 8))
    monkeypatch.setattr(picture_codec, "network_from_image_channel", lambda: network)
    monkeypatch.setattr(picture_codec, "read_pictures", lambda *_: (photographs(), photographs()))
    monkeypatch.setattr(picture_codec, "read_atlases", lambda _folders: [atlas])
    monkeypatch.setattr(picture_codec, "_VALIDATION_BATCHES", 1)
    monkeypatch.setattr(picture_codec, "_VALIDATION_QUALITIES", (0.5,))
    folders = ["--data", "x", "--cache", "x", "--atlases", "x", "--validation", "x", "--batch", "4", "--rate", "5e-3"]
    training = picture_codec.PictureCodecTraining
    train_on_gpu(monkeypatch, training, tmp_path, *folders, steps=1)
    assert load_trained(directory=tmp_path / "weights").config == network.config
    assert all(parse(training, flags).atlases for flags in flags_of_examples(picture_codec))


def test_step_lowers_the_loss(atlas: ByteArray) -> None:
    torch.manual_seed(0)
    network = PictureCodecNetwork(PictureCodecConfig((16, 16, 16), 8, 4, 8))
    crops = next(mixed_crops(photographs(), [atlas], 4, np.random.default_rng(0)))
    (optimiser,) = muon_and_adamw(network, 5e-3)
    losses = []
    for _ in range(12):
        loss, _ = picture_codec.step_loss(network, crops, torch.full((len(crops.known),), 0.5))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_start_is_the_image_channel() -> None:
    network = picture_codec.network_from_image_channel()
    channel = load_network()
    assert channel.hyperprior is not None
    z = rounded(3 * torch.randn(1, channel.config.hyper_latents, 2, 2, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        found: Prediction = network.hyper_synthesis(z)
        mean, log_scale = channel.hyperprior.synthesis(z).chunk(2, dim=1)
    assert (found.mean - mean).abs().mean() < 0.1 * mean.abs().mean() + 0.02
    assert (found.scale.log() - log_scale.clamp(-2.25, 5)).abs().mean() < 0.1
