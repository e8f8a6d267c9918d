"""People after a noisy channel, with and without importance: `python -m tests.bench.channel.importance --people DIR`.

The largest annotated person of each photograph that perception's training held back, as a square of 256² pixels; the
folder has COCO's format.  All systems have the same weights and channel uses:

  importance          lengths of least expected error, weighted by what perception sees of the person
  without importance  the same without weights
  lengths by entropy  those of LRISC, which version 1 had

  psnr_db_4_at_1_24   of the whole picture, AWGN of 4 dB, bandwidth ratio 1/24; "rayleigh": block fading, gains known
  mask_db_…           PSNR within perception's mask of the original
  pck05_…             share of the labelled keypoints that perception finds in the picture within 0.05 of the person's
                      side; the row `original` has that of the pictures before the channel
  lost05_…            the same against what perception finds in the original: share of the keypoints that it locates
                      there and that the channel moves by more than 0.05

--sheet FILE writes some people side by side.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common.arrays import BoolArray, ByteArray, FloatArray, Image
from common.channel.model import ImageChannel
from common.channel.physical import carry
from common.channel.signal_blob import Window
from common.channel.state import ChannelState
from common.channel.transmission import Transmitter, decode, load_network, psnr_db
from common.errors import SourceError
from common.imaging.picture_file import read_picture, write_picture
from sender.jscc.importance import importance_of
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.network.output import PerceptionOutput
from sender.perception.stage import ObservedPerson
from sender.train.photographs import held_out
from tests.bench import report
from tests.bench.channel.entropy_lengths import load_entropy_lengths
from tests.bench.channel.people import labelled_sheet
from tests.bench.photo_scores import AnnotatedPerson, image_id, read_annotations

RATES = Fraction(1, 24), Fraction(1, 48)
CHANNELS = (*(ChannelState(snr) for snr in (1, 4, 7, 10)), ChannelState(10, "rayleigh"))
SIDE_PX = 256
_LEAST_HEIGHT_PX = 100
_NEAR = 0.05
_SHEET_PEOPLE = 6
_SHEET_KEY = "4_at_1_48"

Figures = dict[str, float]


@dataclass(frozen=True, eq=False)
class Person:
    """A person of a photograph, and what perception sees of them in it.

    Args:
        image: (256, 256, 3) the square around them.
        keypoints: (17, 2) annotated, in shares of the square's side.
        labelled: (17,) which are annotated.
        side: of the box around the labelled keypoints, in shares of the square's side.
        seen: perception's output.
    """

    image: Image
    keypoints: FloatArray
    labelled: BoolArray
    side: float
    seen: PerceptionOutput

    @property
    def mask(self) -> BoolArray:
        """(256, 256) where perception sees the person."""
        logits = self.seen.mask_logits.float()[:, None]
        return torch.nn.functional.interpolate(logits, (SIDE_PX, SIDE_PX), mode="bilinear")[0, 0].numpy() > 0

    @property
    def importance(self) -> ByteArray | None:
        """Levels of the picture's latent positions."""
        observed = ObservedPerson(0, 1.0, CropBox(0, 0, SIDE_PX), self.seen)
        return importance_of(Window(0, 0, 0, SIDE_PX, SIDE_PX), (SIDE_PX, SIDE_PX), [observed])

    def found(self, perceived: PerceptionOutput) -> BoolArray:
        """(labelled,) whether keypoints are where they are annotated."""
        away = np.linalg.norm(_keypoints(perceived) - self.keypoints, axis=1)[self.labelled]
        return np.asarray(away < _NEAR * self.side)

    def lost(self, perceived: PerceptionOutput) -> BoolArray:
        """(located,) whether keypoints are elsewhere than perception locates them in the original."""
        away = np.linalg.norm(_keypoints(perceived) - _keypoints(self.seen), axis=1)[self.seen.located[0].numpy()]
        return np.asarray(away > _NEAR * self.side)


def _keypoints(output: PerceptionOutput) -> FloatArray:
    return np.asarray(output.keypoints_2d[0].float().numpy())


def people_of(folder: Path, perception: Perception, most: int | None) -> list[Person]:
    """The largest person of each held-back photograph.

    Raises:
        SourceError: there is none, or a file cannot be read.
    """
    annotations = read_annotations(folder / "keypoints.json")
    people: list[Person] = []
    for name in sorted(held_out([path.name for path in (folder / "images").glob("*.jpg")])):
        annotated = [each for each in annotations.get(image_id(name) or -1, []) if each.height_px >= _LEAST_HEIGHT_PX]
        if annotated and (most is None or len(people) < most):
            largest = max(annotated, key=lambda each: each.side_px)
            people.append(_person(read_picture(folder / "images" / name), largest, perception))
    found = [person for person in people if person.mask.any()]
    if not found:
        raise SourceError(f"{folder}: no held-back photographs of people of {_LEAST_HEIGHT_PX} pixels")
    return found


def _person(photograph: Image, annotated: AnnotatedPerson, perception: Perception) -> Person:
    crop = CropBox.around(annotated.box)
    image = crop.cut(photograph, SIDE_PX)
    keypoints = crop.to_units(annotated.keypoints.astype(np.float32))
    return Person(image, keypoints, annotated.labelled, annotated.side_px / crop.side, perception.observe([image]))


class System(NamedTuple):
    """A network, and whether its lengths follow importance."""

    network: ImageChannel
    important: bool


def systems() -> dict[str, System]:
    """See the module."""
    network = load_network()
    return {
        "importance": System(network, True),
        "without importance": System(network, False),
        "lengths by entropy": System(load_entropy_lengths(), False),
    }


def sent(system: System, person: Person, channel: ChannelState, rate: Fraction, seed: int) -> Image:
    """The picture that arrives."""
    importance = person.importance if system.important else None
    signal = Transmitter(system.network, channel, rate).encode(person.image, importance)
    assert signal.rate() <= rate
    return decode(system.network, signal, carry(channel, signal.symbols, torch.Generator().manual_seed(seed)))


def masked_psnr_db(picture: Image, original: Image, mask: BoolArray) -> float:
    """PSNR of the pixels within a mask."""
    return psnr_db(picture[mask], original[mask])


def measure(
    people: Sequence[Person], perception: Perception, seed: int
) -> tuple[dict[str, Figures], dict[str, list[Image]]]:
    """Mean figures of each system, and its pictures in the condition of the sheet."""
    values: dict[str, dict[str, list[float]]] = {name: {} for name in ("original", *systems())}
    pictures: dict[str, list[Image]] = {"original": [person.image for person in people]}
    compared = systems()
    for number, person in enumerate(people):
        report.progress(f"person {number + 1} of {len(people)}")
        values["original"].setdefault("pck05", []).extend(person.found(person.seen))
        for name, system in compared.items():
            for rate in RATES:
                for channel in CHANNELS:
                    key = key_of(channel, rate)
                    picture = sent(system, person, channel, rate, seed + number)
                    if key == _SHEET_KEY:
                        pictures.setdefault(name, []).append(picture)
                    for figure, found in _scores(person, picture, perception).items():
                        values[name].setdefault(f"{figure}_{key}", []).extend(found)
    return {name: {key: float(np.mean(each)) for key, each in own.items()} for name, own in values.items()}, pictures


def _scores(person: Person, picture: Image, perception: Perception) -> dict[str, Sequence[float]]:
    perceived = perception.observe([picture])
    return {
        "psnr_db": [psnr_db(picture, person.image)],
        "mask_db": [masked_psnr_db(picture, person.image, person.mask)],
        "pck05": person.found(perceived).astype(float).tolist(),
        "lost05": person.lost(perceived).astype(float).tolist(),
    }


def key_of(channel: ChannelState, rate: Fraction) -> str:
    """The end of the names of a condition's figures."""
    kind = "" if channel.kind == "awgn" else f"_{channel.kind}"
    return f"{channel.snr_db:g}{kind}_at_1_{rate.denominator}"


def add_means(figures: Mapping[str, Figures]) -> None:
    """Adds the mean of every figure over all conditions."""
    for own in figures.values():
        for name in ("psnr_db", "mask_db", "pck05", "lost05"):
            found = [value for key, value in own.items() if key.startswith(f"{name}_")]
            if found:
                own[f"{name}_mean"] = math.fsum(found) / len(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel.importance", __doc__, 1)
    parser.add_argument("--people", type=Path, required=True, metavar="DIR", help="photographs with keypoints")
    report.add_amount(parser, "--most", "people", 1000, 12)
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a picture of people side by side")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    perception = Perception.load()
    people = people_of(options.people, perception, options.most)
    figures, pictures = measure(people, perception, options.seed)
    add_means(figures)
    report.publish(options, figures, f"{len(people)} people", people=len(people))
    if options.sheet is not None:
        chosen = range(0, len(people), max(len(people) // _SHEET_PEOPLE, 1))[:_SHEET_PEOPLE]
        write_picture(options.sheet, labelled_sheet(list(pictures.items()), chosen))


if __name__ == "__main__":
    sys.exit(main())
