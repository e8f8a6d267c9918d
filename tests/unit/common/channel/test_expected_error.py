"""Expected errors of positions: as good as the shipped network's own, and never without bounds."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from common.channel.image_codec import TERMS, error_curves, load_coefficients, load_network
from common.channel.state import LENGTHS
from common.errors import WeightsError
from sender.train.image_channel import fitted, sent
from tests.support.processes.demo_clip import demo_pictures


def pictures_of_clip() -> torch.Tensor:
    """(2, 3, 128, 128) of the demo clip."""
    frame = np.asarray(Pictures.open(io.BytesIO(demo_pictures(1)[0])))
    crops = frame[150:278, 250:378], frame[300:428, 250:378]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def test_expected_quality_is_within_three_decibels_of_the_shipped_network() -> None:
    network, pictures = load_network(), pictures_of_clip()
    source = network.source(pictures)
    for snr_db, length in ((1.0, 24), (10.0, 24), (4.0, 64)):
        lengths, level_db = torch.full((2, 8, 8), length), torch.full((2,), snr_db)
        gains = torch.ones(2, 8, 8, dtype=torch.complex64)
        arrived = sent(network, source, level_db, lengths, gains, torch.Generator().manual_seed(1))
        curves = error_curves(source.statistics, level_db)
        measured = float((arrived.clamp(0, 1) - pictures).square().mean())
        ratio_db = 10 * math.log10(float(curves[:, LENGTHS.index(length)].mean()) / measured)
        assert abs(ratio_db) < 3.0
        assert (curves[:, -1] < curves[:, 0]).all()


@pytest.mark.parametrize("content", ["", "{}", '{"coefficients": [1.0]}', '{"coefficients": []}'])
def test_damaged_file_is_an_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    path.write_text(content)
    with pytest.raises(WeightsError, match="reinstall"):
        load_coefficients(path)


def test_fit_finds_the_polynomial_that_errors_come_from() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4000, TERMS, generator=generator, dtype=torch.float64) / 6
    wanted = torch.randn(TERMS, generator=generator, dtype=torch.float64)
    # Gamma with shape 4 and mean 1.
    spread = -torch.rand(4000, 4, generator=generator, dtype=torch.float64).log().mean(1)
    found = fitted([(rows, (rows @ wanted).exp2() * spread)])
    assert float((rows @ (found - wanted)).square().mean().sqrt()) < 0.15
