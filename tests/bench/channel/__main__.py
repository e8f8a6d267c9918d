"""Quality of pictures after a simulated noisy channel: `python -m tests.bench.channel --pictures DIR`.

Systems: the image channel with the package's weights; the same weights with equal lengths; its diffusion decoder; with
--refine, with symbols that the sender refines for each picture; with --trained, DeepJSCC and ablations that
`common.training.image_channel --export --weights DIR` wrote there; and JPEG, WebP and AVIF behind an ideal code at
capacity.  A bandwidth ratio is channel uses per colour value of a pixel; side information and pilots count.  Figures
are means over the pictures of PSNR in dB, of MS-SSIM, and on AWGN of the distance in the features of our perception
network (`tests.bench.perceptual`, smaller is better), with --lpips also of LPIPS.

  psnr_4db, ms_ssim_4db       AWGN at this SNR, bandwidth ratio 1/16
  perceptual_4db              likewise
  psnr_10db_at_1_24           AWGN, 10 dB, bandwidth ratio 1/24
  psnr_4db_believed_7         AWGN at 4 dB; the sender assumes 7 dB, the receiver knows the SNR
  psnr_rayleigh_10db          block fading, known gains; "pilots": estimated from 2 known symbols in each block of 64
  psnr_loss_20_10db           10 dB, and a fifth of the packets of 64 symbols is lost; other losses likewise

The check sends Gaussian noise, for which rate-distortion theory gives a bound, and fails if a system beats it: that
would be information past the channel.
"""

import argparse
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
from tests.bench.channel.systems import Condition, System, coded_files, trained_systems
from tests.bench.charts import Line, Panel, draw
from tests.bench.ms_ssim import ms_ssim
from tests.bench.perceptual import Distance, distances

SNRS_DB = (1, 4, 7, 10, 13)
BASE_RATE = Fraction(1, 16)
_OTHER_RATES = (Fraction(1, 24), Fraction(1, 12))
_MISMATCH_DB = (4, 10)
_BELIEVED_DB = 7
_PILOTS = 2
_LOSSES = (0.1, 0.2, 0.4)
_QUICK_PICTURES = 2
_NOISE_DEVIATION = 40.0

Figures = dict[str, float]


def conditions() -> dict[str, Condition]:
    """All conditions by the end of their figures' names."""
    found = {f"{snr}db": Condition(ChannelState(snr), BASE_RATE) for snr in SNRS_DB}
    for rate in _OTHER_RATES:
        for snr in (1, 10):
            found[f"{snr}db_at_1_{rate.denominator}"] = Condition(ChannelState(snr), rate)
    for snr in _MISMATCH_DB:
        found[f"{snr}db_believed_{_BELIEVED_DB}"] = Condition(ChannelState(snr), BASE_RATE, _BELIEVED_DB)
    found["rayleigh_10db"] = Condition(ChannelState(10, "rayleigh"), BASE_RATE)
    found["rayleigh_10db_pilots"] = Condition(ChannelState(10, "rayleigh", pilots=_PILOTS), BASE_RATE)
    for loss in _LOSSES:
        state = ChannelState(10, "erasure", loss=loss)
        found[f"loss_{round(100 * loss)}_10db"] = Condition(state, BASE_RATE)
    return found


def measure(
    systems: Mapping[str, System],
    pictures: Sequence[Image],
    seed: int,
    perceptual: Mapping[str, Distance] | None = None,
) -> dict[str, Figures]:
    """Mean figures of each system; `perceptual` are further distances, by the begin of their figures' names."""
    values: dict[str, dict[str, list[float]]] = {name: {} for name in systems}
    for number, original in enumerate(pictures):
        report.progress(f"picture {number + 1} of {len(pictures)}")
        for name, system in systems.items():
            for key, condition in conditions().items():
                sent = system.send(original, condition, seed + number)
                if sent is not None:
                    assert sent.rate <= condition.rate * (1 + 1e-9), f"{name} exceeds the budget at {key}"
                    values[name].setdefault(f"psnr_{key}", []).append(psnr_db(sent.picture, original))
                    values[name].setdefault(f"ms_ssim_{key}", []).append(ms_ssim(sent.picture, original))
                    for measure_name, distance in (perceptual or {}).items() if _is_plain(condition) else ():
                        found = distance(sent.picture, original)
                        values[name].setdefault(f"{measure_name}_{key}", []).append(found)
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
    for measure_name, title in (("psnr", "PSNR, dB"), ("ms_ssim", "MS-SSIM")):
        lines = {}
        for name, values in figures.items():
            up = np.array([values[f"{measure_name}_{snr}db"] for snr in SNRS_DB])
            lines[name] = Line(np.array(SNRS_DB, np.float64), up)
        title_line = f"{title} on AWGN, bandwidth ratio {BASE_RATE}"
        found.append(Panel(title_line, "SNR, dB", title, lines))
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = report.flags("channel", (__doc__ or "").partition("\n\n")[2], seed=1)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="also LPIPS, with torchvision's weights of AlexNet")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write channel.png there")
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    files = picture_files([options.pictures])[: _QUICK_PICTURES if options.quick else None]
    systems = {**trained_systems(options.trained, options.refine), **coded_files()}
    margins = check_bound(systems, options.seed)
    figures = measure(systems, [read_picture(path) for path in files], options.seed, distances(options.lpips))
    for name, margin in margins.items():
        figures[name]["noise_below_bound_db"] = margin
    print(f"{len(files)} pictures; {report.machine_line()}\n")
    print(report.transposed(figures))
    if options.plots is not None:
        draw(options.plots / "channel.png", panels(figures))
    report.write_json(options.json, "channel", options.seed, figures, pictures=len(files))


if __name__ == "__main__":
    raise SystemExit(report.run("tests.bench.channel", lambda: main(parse())))
