"""Random channels of the training."""

import torch

from common.training.channel_states import SNR_RANGE_DB, random_gains, random_mean_lengths, random_snr_db, sent
from tests.support.tiny_image_channel import tiny_network


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_snr_is_uniform_in_its_range() -> None:
    snr_db = random_snr_db(4000, seeded())
    assert SNR_RANGE_DB[0] <= float(snr_db.min()) < -0.9 and 12.9 < float(snr_db.max()) <= SNR_RANGE_DB[1]
    assert abs(float(snr_db.mean()) - 6.0) < 0.3


def test_most_crops_meet_no_fading_and_all_gains_have_power_one_or_less() -> None:
    gains = random_gains((2000, 4, 4), seeded())
    plain = (gains == 1).flatten(1).all(1).float().mean()
    lossy = ((gains == 0).flatten(1).any(1)).float().mean()
    assert 0.8 < float(plain) < 0.87
    assert 0.03 < float(lossy) < 0.0625
    assert 0.9 < float(gains.abs().square().mean()) < 1.03


def test_lengths_are_between_equal_and_by_information() -> None:
    bits = torch.tensor([10.0, 100.0, 190.0]).repeat(500)
    lengths = random_mean_lengths(bits, 48.0, seeded()).reshape(500, 3)
    few, middle, many = lengths.unbind(1)
    assert (many.mean() > middle.mean() > few.mean()).item()
    # Half of them keep the rate, the others vary by a factor of up to two.
    assert float(middle.min()) >= 24.0 and float(middle.max()) <= 96.0
    assert 0.4 < float((middle == 48.0).float().mean()) < 0.6


@torch.no_grad()
def test_noise_changes_pictures_less_at_high_snr() -> None:
    network = tiny_network()
    crops = torch.rand(2, 3, 32, 32, generator=seeded())
    source = network.source(crops)
    lengths = torch.full((2, 2, 2), 48)
    gains = torch.ones(lengths.shape, dtype=torch.complex64)

    def spread(snr_db: float) -> float:
        level = torch.full((2,), snr_db)
        first, second = (
            sent(network, source, level, lengths, gains, torch.Generator().manual_seed(seed)).pictures
            for seed in (1, 2)
        )
        return float((first - second).abs().mean())

    assert spread(30.0) < 0.5 * spread(0.0)
