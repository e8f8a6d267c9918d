"""What each part of the image channel is for: `python -m tests.bench.channel.removals --people DIR`.

People as in `tests.bench.channel.importance`, at equal channel uses, AWGN.  `bodywire` is what sessions send; each row
below leaves one part out, with the same weights.  Figures are means over the SNRs, and behind each removal the
difference that it makes, ± one standard error over the people:

  without SNR conditioning  encoder and decoder are told 7 dB, whatever the SNR is; lengths follow the true one
  equal lengths             neither the hyperprior nor importance decides how many symbols a position gets
  without importance        lengths of least expected error
  without diffusion         the plain decoder

  psnr_db, mask_db    of the whole picture, and within perception's mask of the original; higher is better
  perceptual          distance in the features of perception (`tests.bench.channel.perceptual`); lower is better
  lost05              share of the keypoints that the channel moves by more than 0.05 of the person's side
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common.arrays import Float64Array
from common.channel.diffusion import load_decoder
from common.channel.model import ImageChannel
from common.channel.physical import carry
from common.channel.state import ChannelState
from common.channel.transmission import Completion, Transmitter, decode, load_network, psnr_db
from sender.perception.inference.predictor import Perception
from tests.bench import measures, report
from tests.bench.channel.importance import Person, masked_psnr_db, people_of
from tests.bench.channel.perceptual import PerceptualDistance

SNRS_DB = (1, 4, 10)
FIGURES = ("psnr_db", "mask_db", "perceptual", "lost05")


class System(NamedTuple):
    """The image channel without one of its parts."""

    network: ImageChannel
    completion: Completion | None
    important: bool = True


def systems() -> dict[str, System]:
    """See the module."""
    completion = Completion(load_decoder())
    blind, equal = load_network(), load_network()
    blind.config = replace(blind.config, snr=False)
    equal.config = replace(equal.config, lengths=False)
    return {
        "bodywire": System(load_network(), completion),
        "without SNR conditioning": System(blind, completion),
        "equal lengths": System(equal, completion, important=False),
        "without importance": System(load_network(), completion, important=False),
        "without diffusion": System(load_network(), None),
    }


class Scores:
    """Measures what arrives of a person."""

    def __init__(self, perception: Perception, rate: Fraction) -> None:
        self._perception, self._rate, self._perceptual = perception, rate, PerceptualDistance()

    def of(self, system: System, person: Person, snr_db: int, seed: int) -> list[float]:
        """The `FIGURES`."""
        channel, importance = ChannelState(snr_db), person.importance if system.important else None
        signal = Transmitter(system.network, channel, self._rate).encode(person.image, importance)
        received = carry(channel, signal.symbols, torch.Generator().manual_seed(seed))
        picture = decode(system.network, signal, received, system.completion)
        lost = person.lost(self._perception.observe([picture]))
        return [
            psnr_db(picture, person.image),
            masked_psnr_db(picture, person.image, person.mask),
            self._perceptual(picture, person.image),
            float(lost.mean()) if lost.size else float("nan"),
        ]


def differences(found: dict[str, Float64Array]) -> dict[str, dict[str, float]]:
    """Means of (people, figures), and of what each removal changes, of the people that have the figure."""
    whole, table = found["bodywire"], {}
    for name, own in found.items():
        table[name] = dict(zip(FIGURES, np.nanmean(own, axis=0).tolist(), strict=True))
        if own is whole:
            continue
        for figure, change in zip(FIGURES, (own - whole).T, strict=True):
            known = change[np.isfinite(change)]
            table[name][f"{figure}_change"] = float(known.mean())
            table[name][f"{figure}_standard_error"] = measures.standard_error(known)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel.removals", __doc__, 1)
    parser.add_argument("--people", type=Path, required=True, metavar="DIR", help="photographs with keypoints")
    parser.add_argument("--rate", type=Fraction, default=Fraction(1, 24), help="bandwidth ratio (default: %(default)s)")
    report.add_amount(parser, "--most", "people", 40, 10)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    perception, compared = Perception.load(), systems()
    people, scores = people_of(options.people, perception, options.most), Scores(perception, options.rate)
    found: dict[str, list[Float64Array]] = {name: [] for name in compared}
    for number, person in enumerate(people):
        report.progress(f"person {number + 1} of {len(people)}")
        for name, system in compared.items():
            each = [scores.of(system, person, snr_db, options.seed + number) for snr_db in SNRS_DB]
            found[name].append(np.mean(each, axis=0))
    figures = differences({name: np.array(own) for name, own in found.items()})
    report.publish(options, figures, f"{len(people)} people, bandwidth ratio {options.rate}", people=len(people))


if __name__ == "__main__":
    sys.exit(main())
