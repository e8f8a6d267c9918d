"""How large the error of a latent position will be, from what the hyperprior says of it, its length and its SNR.

Both ends can compute it, and so the lengths that make the whole error least.  log₂ of the mean squared error of a
position's 16×16 pixels is a polynomial in four features: the entropy of the latents, its ratio to that at a quantiser
step of 4, the length, and the SNR.  It is of third degree, and linear in the first two, so that it has sane values for
pictures unlike those that `python -m sender.train.image_channel` fitted it to.
"""

import json
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

import common
from common.channel.state import LENGTHS
from common.errors import WeightsError
from common.imaging.entropy import Statistics, expected_bits

ERRORS_FILE: Final = Path(common.__file__).parent / "weights" / "channel_errors.json"
_COARSE_STEP: Final = 4.0
_DEGREE: Final = 3
# Mean and standard deviation of the features on photographs, about.
_CENTRES: Final = (6.7, 2.0, 4.7, 0.6)
_SPREADS: Final = (0.4, 0.5, 1.5, 0.5)
# Further away from its centre, a feature is cut: a polynomial does not extrapolate.
_REACH: Final = 3.0
SNR_RANGE_DB: Final = (-1.0, 13.0)
"""Of the fit; other SNRs count as the nearest of it."""
_MONOMIALS: Final = tuple(
    chosen
    for degree in range(_DEGREE + 1)
    for chosen in combinations_with_replacement(range(len(_CENTRES)), degree)
    if sum(feature < 2 for feature in chosen) <= 1
)
TERMS: Final = len(_MONOMIALS)


@cache
def load_coefficients(path: Path = ERRORS_FILE) -> Tensor:
    """(TERMS,) of the polynomial, in double precision.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        coefficients = json.loads(path.read_text(encoding="utf-8"))["coefficients"]
        return torch.tensor(coefficients, dtype=torch.float64).reshape(TERMS)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} is missing or broken; reinstall the package") from error


def error_curves(statistics: Statistics, snr_db: Tensor) -> Tensor:
    """Expected mean squared error (B, len(LENGTHS), H, W) of pixels, 0…1, at each length and the mean SNR (B,)."""
    own, coefficients = features(statistics), load_coefficients().to(snr_db.device)
    level_db = snr_db[:, None, None].expand(own.shape[:3])
    at_lengths = [terms(own, torch.full_like(level_db, length), level_db) @ coefficients for length in LENGTHS]
    return torch.stack(at_lengths, dim=1).exp2()


def features(statistics: Statistics) -> Tensor:
    """(B, H, W, 2) in double precision: log₂ of each position's entropy in bits, and of its ratio to the coarse one."""
    scale = statistics.scale.double()
    fine, coarse = (
        torch.log2(1 + expected_bits(Statistics(statistics.mean, scale / step))) for step in (1.0, _COARSE_STEP)
    )
    return torch.stack((fine, fine - coarse), dim=-1)


def terms(own: Tensor, lengths: Tensor, snr_db: Tensor) -> Tensor:
    """(…, TERMS) monomials; of `features` (…, 2), lengths (…) and SNR (…)."""
    of_channel = torch.log2(lengths.double()), snr_db.double().clamp(*SNR_RANGE_DB) / 10
    raw = torch.cat((own, torch.stack(of_channel, dim=-1)), dim=-1)
    centred = ((raw - raw.new_tensor(_CENTRES)) / raw.new_tensor(_SPREADS)).clamp(-_REACH, _REACH)
    return torch.stack([centred[..., list(chosen)].prod(-1) for chosen in _MONOMIALS], dim=-1)
