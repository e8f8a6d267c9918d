"""Channel uses that follow the channel: `python -m tests.bench.channel.adaptation --people DIR`.

Equal quality.  Squares of 256² pixels around people, as in `tests.bench.channel.importance`, over AWGN.  The wanted
PSNR of a picture is what it has at 1 dB with the bandwidth ratio 1/16.

  adaptive                   `Transmitter.quality_db`: as few symbols as reach it
  fixed                      1/16 at every SNR: designed for the worst one
  fixed, equal mean          a fixed rate with as many channel uses as `adaptive` has on average
  webp at capacity           the fewest bytes of WebP that reach it, behind an ideal code
  webp, LDPC                 the same bytes behind a real code (`tests.bench.channel.separation`), if Sionna is there
  uses_4                     mean channel uses at 4 dB over those of `fixed`; `uses_mean`: over the SNRs
  psnr_db_4, least_db        mean PSNR; the mean at the worst SNR
  reached                    pictures whose quality the codec can reach
  lost_share                 pictures that have a block with an error, share over all SNRs

Fading.  Five pictures of the demo clip a second, over `sender --channel fading:7dB`.  The sender knows the SNR of the
picture before, measured with an error of 0.5 dB, and wants 30 dB; the receiver knows the channel.  `margin` is what
sessions do: the root mean square of the changes from picture to picture so far is taken off.  `fixed` has as many
channel uses as `margin`.

  uses                       mean channel uses a picture, in bandwidth ratios of 1/16
  psnr_db, tenth_db          mean, and of the worst tenth of the pictures at most
  missed                     share of the pictures that are more than 0.5 dB below what was wanted
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common.arrays import Float64Array, Image
from common.channel.fading import SlowFading
from common.channel.model import ImageChannel
from common.channel.physical import capacity_bits, carry
from common.channel.state import ChannelState
from common.channel.transmission import Transmitter, decode, load_network, psnr_db
from sender.capture.open import DEMO_CLIP
from sender.jscc.channel_estimate import ChannelEstimate
from sender.perception.inference.predictor import Perception
from tests.bench import report
from tests.bench.channel.importance import people_of
from tests.bench.channel.separation import best_scheme, missing_sionna, send_file
from tests.bench.channel.sequence import frames, middle
from tests.bench.charts import Line, Panel, draw
from tests.bench.rivals.stills import Still
from tests.bench.rivals.stills import decode as decode_still

SNRS_DB = (1, 4, 7, 10, 13)
FIXED = Fraction(1, 16)
_MOST = Fraction(1, 6)
_FPS, _EVERY = 5.0, 6
_MEAN_DB = 7.0
_MEASUREMENT_ERROR_DB = 0.5
_WANTED_DB = 30.0
_TOLERANCE_DB = 0.5

Figures = dict[str, float]


class Sent(NamedTuple):
    """Channel uses over those of the fixed rate, and PSNR in dB."""

    uses: float
    psnr_db: float


def send(network: ImageChannel, transmitter: Transmitter, picture: Image, snr_db: float, seed: int) -> Sent:
    """A picture over AWGN of the true SNR, whatever the transmitter believes."""
    signal = transmitter.encode(picture)
    received = carry(ChannelState(snr_db), signal.symbols, torch.Generator().manual_seed(seed))
    return Sent(signal.rate() / float(FIXED), psnr_db(decode(network, signal, received), picture))


def coded_bits(encode: Callable[[int], tuple[int, Image]], picture: Image, wanted_db: float) -> float:
    """Fewest bits of a codec that reach a PSNR; NaN if none do (`encode`: quality → bytes, picture)."""
    low, high = 1, 100
    while low < high:
        between = (low + high) // 2
        low, high = (low, between) if psnr_db(encode(between)[1], picture) >= wanted_db else (between + 1, high)
    size, decoded = encode(low)
    return 8.0 * size if psnr_db(decoded, picture) >= wanted_db else float("nan")


def coders(picture: Image) -> dict[str, Callable[[int], tuple[int, Image]]]:
    """Encoders of the codecs."""

    def webp(quality: int) -> tuple[int, Image]:
        data = Still("WebP", 1, quality).encode(picture)
        return len(data), decode_still(data)

    return {"webp at capacity": webp}


def equal_quality(network: ImageChannel, pictures: Sequence[Image], seed: int) -> dict[str, Figures]:
    """See the module."""
    sent: dict[str, list[list[Sent]]] = {"adaptive": [], "fixed": [], "fixed, equal mean": []}
    bits: dict[str, list[float]] = {}
    values = np.array([picture.size for picture in pictures], np.float64)
    for number, picture in enumerate(pictures):
        report.progress(f"picture {number + 1} of {len(pictures)}")
        fixed = _over(network, picture, FIXED, seed + number)
        wanted_db = fixed[0].psnr_db
        adaptive = _over(network, picture, _MOST, seed + number, wanted_db)
        mean_rate = Fraction(float(np.mean([each.uses for each in adaptive]))).limit_denominator(1000) * FIXED
        equal = _over(network, picture, mean_rate, seed + number)
        for name, found in (("adaptive", adaptive), ("fixed", fixed), ("fixed, equal mean", equal)):
            sent[name].append(found)
        for name, encode in coders(picture).items():
            bits.setdefault(name, []).append(coded_bits(encode, picture, wanted_db))
    figures = {name: _by_snr(np.array(found)) for name, found in sent.items()}
    for name, each in bits.items():
        uses = [np.array(each) / capacity_bits(ChannelState(snr_db)) for snr_db in SNRS_DB]
        figures[name] = _of_codec(np.array(uses) / values)
    missing = missing_sionna()
    if missing is None:
        figures["webp, LDPC"] = behind_code(bits["webp at capacity"], values, seed)
    else:
        report.progress(f"skipped: {missing}")
    return figures


def behind_code(bits: Sequence[float], values: Float64Array, seed: int) -> Figures:
    """Files of so many bits behind the most efficient real code of each SNR; `values` of the pictures' pixels."""
    generator, uses, lost = torch.Generator().manual_seed(seed), [], []
    for snr_db in SNRS_DB:
        report.progress(f"LDPC at {snr_db} dB")
        scheme = best_scheme(snr_db, seed)
        sent = [send_file(math.ceil(each), scheme, snr_db, generator) for each in bits if math.isfinite(each)]
        lost += [not each.arrived for each in sent]
        uses.append([each.uses for each in sent])
    reached = values[np.isfinite(bits)]
    return _of_codec(np.array(uses) / reached) | {"lost_share": float(np.mean(lost))}


def _of_codec(uses: Float64Array) -> Figures:
    """Of (SNRs, pictures) channel uses per value of a pixel; NaN where the codec does not reach the quality."""
    means = np.nanmean(uses, axis=1) / float(FIXED)
    figures = {f"uses_{snr_db}": float(value) for snr_db, value in zip(SNRS_DB, means, strict=True)}
    return figures | {"uses_mean": float(means.mean()), "reached": float(np.isfinite(uses).mean())}


def _over(
    network: ImageChannel, picture: Image, rate: Fraction, seed: int, wanted_db: float | None = None
) -> list[Sent]:
    """A picture at each of the SNRs."""
    found = []
    for snr_db in SNRS_DB:
        transmitter = Transmitter(network, ChannelState(snr_db), rate, quality_db=wanted_db)
        found.append(send(network, transmitter, picture, snr_db, seed))
    return found


def _by_snr(found: Float64Array) -> Figures:
    """Of (pictures, SNRs, 2) channel uses and PSNR."""
    uses, quality = found.mean(0).T
    figures = {f"uses_{snr_db}": float(value) for snr_db, value in zip(SNRS_DB, uses, strict=True)}
    figures |= {f"psnr_db_{snr_db}": float(value) for snr_db, value in zip(SNRS_DB, quality, strict=True)}
    return figures | {"uses_mean": float(uses.mean()), "least_db": float(quality.min())}


def fading_snrs_db(count: int, seed: int) -> Float64Array:
    """(count,) SNRs of pictures."""
    fading = SlowFading(_MEAN_DB, seed)
    return np.array([fading.snr_db(number / _FPS) for number in range(count)])


def believed_db(snrs_db: Float64Array, seed: int, *, margin: bool) -> Float64Array:
    """(count,) what the sender believes of each picture's SNR, from those before."""
    measured = snrs_db + _MEASUREMENT_ERROR_DB * np.random.default_rng(seed + 1).normal(size=len(snrs_db))
    if not margin:
        return np.array([_MEAN_DB, *measured[:-1]])
    estimate, believed = ChannelEstimate(_MEAN_DB), []
    for number, snr_db in enumerate(measured):
        believed.append(estimate.assumed(number / _FPS).snr_db)
        estimate.sent(number, number / _FPS)
        estimate.measured(number, float(snr_db))
    return np.array(believed)


def fading(network: ImageChannel, pictures: Sequence[Image], seed: int) -> tuple[dict[str, Figures], dict[str, Line]]:
    """See the module; also the channel uses over the time."""
    true = fading_snrs_db(len(pictures), seed)
    beliefs = {
        "fading, margin": believed_db(true, seed, margin=True),
        "fading, no margin": believed_db(true, seed, margin=False),
        "fading, SNR known": true,
    }
    found: dict[str, Float64Array] = {}
    for name, believed in beliefs.items():
        report.progress(name)
        senders = [Transmitter(network, ChannelState(each), _MOST, quality_db=_WANTED_DB) for each in believed]
        found[name] = _sequence(network, senders, pictures, true, seed)
    rate = Fraction(float(found["fading, margin"][:, 0].mean())).limit_denominator(1000) * FIXED
    report.progress("fading, fixed")
    senders = [Transmitter(network, ChannelState(each), rate) for each in beliefs["fading, margin"]]
    found["fading, fixed"] = _sequence(network, senders, pictures, true, seed)
    times = np.arange(len(pictures)) / _FPS
    lines = {name: Line(times, values[:, 0]) for name, values in found.items() if "margin" in name or "fixed" in name}
    lines["SNR"] = Line(times, true, right=True)
    return {name: _of_sequence(values) for name, values in found.items()}, lines


def _sequence(
    network: ImageChannel, senders: Sequence[Transmitter], pictures: Sequence[Image], snrs_db: Float64Array, seed: int
) -> Float64Array:
    """(pictures, 2) channel uses and PSNR."""
    each = zip(senders, pictures, snrs_db, strict=True)
    return np.array([send(network, one, picture, float(snr), seed + at) for at, (one, picture, snr) in enumerate(each)])


def _of_sequence(values: Float64Array) -> Figures:
    uses, quality = values.T
    return {
        "uses": float(uses.mean()),
        "psnr_db": float(quality.mean()),
        "tenth_db": float(np.quantile(quality, 0.1)),
        "missed": float((quality < _WANTED_DB - _TOLERANCE_DB).mean()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel.adaptation", __doc__, 1)
    parser.add_argument("--people", type=Path, required=True, metavar="DIR", help="photographs with keypoints")
    report.add_amount(parser, "--most", "photographs", 24, 6)
    report.add_amount(parser, "--pictures", "pictures of the sequence", 50, 15)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw uses over the SNR and over time")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    network = load_network()
    people = people_of(options.people, Perception.load(), options.most)
    figures = equal_quality(network, [person.image for person in people], options.seed)
    clip = [middle(each) for each in islice(frames(DEMO_CLIP), 0, options.pictures * _EVERY, _EVERY)]
    faded, lines = fading(network, clip, options.seed)
    print(report.table(faded) + "\n")
    report.publish(options, figures, f"{len(people)} people")
    report.write_json(options, figures | faded, people=len(people), pictures=len(clip))
    if options.plot is not None:
        over = {
            name: Line(np.array(SNRS_DB, np.float64), np.array([own[f"uses_{snr}"] for snr in SNRS_DB]))
            for name, own in figures.items()
        }
        draw(
            options.plot,
            [
                Panel("Channel uses for equal quality", "SNR, dB", "of those at 1/16", over),
                Panel("Fading channel, 30 dB wanted", "time, s", "of those at 1/16", lines, "SNR, dB"),
            ],
        )


if __name__ == "__main__":
    sys.exit(main())
