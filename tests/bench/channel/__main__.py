"""Quality of pictures after a simulated noisy channel: `python -m tests.bench.channel --pictures DIR`.

Systems: the image channel with the package's weights; the same weights with equal lengths; its diffusion decoder; with
--refine, with symbols that the sender refines for each picture; with --trained, DeepJSCC and ablations that
`common.training.image_channel --export --weights DIR` wrote there; and JPEG, WebP and AVIF behind an ideal code at
capacity.  A bandwidth ratio is channel uses per colour value of a pixel; side information and pilots count.  Figures
are means over the pictures of PSNR in dB, of MS-SSIM, and on AWGN of the distance in the features of our perception
network (`tests.bench.channel.perceptual`, smaller is better).

  psnr_db_4, ms_ssim_4      AWGN at this SNR, bandwidth ratio 1/16
  perceptual_4              likewise
  channel_uses_per_pixel    mean at 10 dB, bandwidth ratio 1/16
  psnr_db_10_at_1_24        AWGN, 10 dB, bandwidth ratio 1/24
  psnr_db_4_believed_7      AWGN at 4 dB; the sender assumes 7 dB, the receiver knows the SNR
  psnr_db_10_rayleigh       block fading, known gains; "pilots": estimated from 2 known symbols in each block of 64
  psnr_db_10_loss_20        10 dB, and a fifth of the packets of 64 symbols is lost; other losses likewise

The check sends Gaussian noise, for which rate-distortion theory gives a bound, and fails if a system beats it: that
would be information past the channel.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.arrays import Image
from common.channel.physical import capacity_bits
from common.channel.state import ChannelState
from common.channel.transmission import psnr_db
from common.errors import BodywireError
from common.imaging.picture_file import read_picture
from common.training.picture_cache import picture_files
from tests.bench import report
from tests.bench.channel.perceptual import Distance, PerceptualDistance
from tests.bench.channel.systems import Condition, System, coded_files, trained_systems
from tests.bench.charts import Line, Panel, draw
from tests.bench.ms_ssim import ms_ssim

SNRS_DB = (1, 4, 7, 10, 13)
BASE_RATE = Fraction(1, 16)
_OTHER_RATES = (Fraction(1, 24), Fraction(1, 12))
_MISMATCH_DB = (4, 10)
_BELIEVED_DB = 7
_PILOTS = 2
_LOSSES = (0.1, 0.2, 0.4)
_QUICK_PICTURES = 2
# The condition whose channel uses are reported.
_COUNTED = "10"
_NOISE_DEVIATION = 40.0

Figures = dict[str, float]


def conditions() -> dict[str, Condition]:
    """All conditions by the end of their figures' names."""
    found = {f"{snr}": Condition(ChannelState(snr), BASE_RATE) for snr in SNRS_DB}
    for rate in _OTHER_RATES:
        for snr in (1, 10):
            found[f"{snr}_at_1_{rate.denominator}"] = Condition(ChannelState(snr), rate)
    for snr in _MISMATCH_DB:
        found[f"{snr}_believed_{_BELIEVED_DB}"] = Condition(ChannelState(snr), BASE_RATE, _BELIEVED_DB)
    found["10_rayleigh"] = Condition(ChannelState(10, "rayleigh"), BASE_RATE)
    found["10_rayleigh_pilots"] = Condition(ChannelState(10, "rayleigh", pilots=_PILOTS), BASE_RATE)
    for loss in _LOSSES:
        state = ChannelState(10, "erasure", loss=loss)
        found[f"10_loss_{round(100 * loss)}"] = Condition(state, BASE_RATE)
    return found


def measure(
    systems: Mapping[str, System], pictures: Sequence[Image], seed: int, distance: Distance
) -> dict[str, Figures]:
    """Mean figures of each system; see the module."""
    values: dict[str, dict[str, list[float]]] = {name: {} for name in systems}
    for number, original in enumerate(pictures):
        report.progress(f"picture {number + 1} of {len(pictures)}")
        for name, system in systems.items():
            for key, condition in conditions().items():
                sent = system.send(original, condition, seed + number)
                if sent is None:
                    continue
                assert sent.rate <= condition.rate * (1 + 1e-9), f"{name} exceeds the budget at {key}"
                found = {"psnr_db": psnr_db(sent.picture, original), "ms_ssim": ms_ssim(sent.picture, original)}
                if _is_plain(condition):
                    found["perceptual"] = distance(sent.picture, original)
                for measure_name, value in found.items():
                    values[name].setdefault(f"{measure_name}_{key}", []).append(value)
                if key == _COUNTED:
                    values[name].setdefault("channel_uses_per_pixel", []).append(3 * sent.rate)
    return {name: {key: float(np.mean(each)) for key, each in figures.items()} for name, figures in values.items()}


def _is_plain(condition: Condition) -> bool:
    """Whether the channel is AWGN of the SNR that the sender assumes: perceptual distances take long."""
    return condition.channel.kind == "awgn" and condition.believed_db is None


def noise_picture(seed: int, side_px: int = 256) -> Image:
    """Independent Gaussian colour values around grey, of standard deviation 40."""
    values = np.random.default_rng(seed).normal(128.0, _NOISE_DEVIATION, (side_px, side_px, 3))
    return values.round().clip(0, 255).astype(np.uint8)


def noise_bound_db(condition: Condition) -> float:
    """Largest PSNR of `noise_picture` that any system can have.

    A Gaussian value of variance σ² that gets R bits has an error of at least σ² 2^(−2R) (Shannon 1959).
    """
    bits = float(condition.rate) * capacity_bits(condition.channel)
    return float(20 * np.log10(255 / _NOISE_DEVIATION) + 20 * np.log10(2) * bits)


def check_bound(systems: Mapping[str, System], seed: int) -> Figures:
    """Distance of each system from the bound in dB, the smallest over the SNRs.

    Raises:
        BodywireError: a system beats the bound.
    """
    picture = noise_picture(seed)
    margins: Figures = {}
    for name, system in systems.items():
        for snr in SNRS_DB:
            condition = Condition(ChannelState(snr), BASE_RATE)
            sent = system.send(picture, condition, seed)
            if sent is not None:
                margin = noise_bound_db(condition) - psnr_db(sent.picture, picture)
                margins[name] = min(margin, margins.get(name, margin))
    beaten = [name for name, margin in margins.items() if margin < 0]
    if beaten:
        raise BodywireError(f"better than Shannon's bound, so information passes the channel: {', '.join(beaten)}")
    return margins


def panels(figures: Mapping[str, Figures]) -> list[Panel]:
    """PSNR and MS-SSIM over the SNR."""
    found = []
    for measure_name, title in (("psnr_db", "PSNR, dB"), ("ms_ssim", "MS-SSIM")):
        lines = {}
        for name, values in figures.items():
            up = np.array([values[f"{measure_name}_{snr}"] for snr in SNRS_DB])
            lines[name] = Line(np.array(SNRS_DB, np.float64), up)
        title_line = f"{title} on AWGN, bandwidth ratio {BASE_RATE}"
        found.append(Panel(title_line, "SNR, dB", title, lines))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel", __doc__, 1)
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR", help="folder of test pictures")
    parser.add_argument(
        "--trained", type=Path, nargs="+", default=[], metavar="DIR", help="folders of exported weights"
    )
    parser.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="STEPS",
        help="also the image channel with symbols refined at the sender",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write channel.png there")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    files = picture_files([options.pictures])[: _QUICK_PICTURES if options.quick else None]
    systems = {**trained_systems(options.trained, options.refine), **coded_files()}
    margins = check_bound(systems, options.seed)
    figures = measure(systems, [read_picture(path) for path in files], options.seed, PerceptualDistance())
    for name, margin in margins.items():
        figures[name]["noise_below_bound_db"] = margin
    report.publish(options, figures, f"{len(files)} pictures", pictures=len(files))
    if options.plots is not None:
        draw(options.plots / "channel.png", panels(figures))


if __name__ == "__main__":
    sys.exit(main())
