"""People of test photographs after a noisy channel: `python -m tests.bench.channel.people --photos DIR --trained DIR`.

A picture is the square around an annotated person, 256² pixels; people lower than 100 pixels are left out.
Annotations are those of `tests.bench.photos`.  The image channel with the decoder of sessions (`--decoder auto`), with
the plain one, and with 2 and 4 steps of diffusion has the bandwidth ratio of --rate; DeepJSCC has the one that it was
trained for, which its name tells.  Figures at each SNR on AWGN:

  perceptual_4     distance in the features of our perception network, mean (`tests.bench.channel.perceptual`)
  frechet_4        Fréchet distance of those features between all pictures and all originals: how far detail is from
                   what pictures have, wherever it is
  psnr_4           mean, dB
  keypoints_4      mean distance of perception's keypoints from those that it finds in the original, in per cent of the
                   picture's side; keypoints that it does not see in the original are left out

--sheet FILE writes some people side by side.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from common.arrays import Float64Array, Image
from common.channel.diffusion import load_decoder
from common.channel.state import ChannelState
from common.channel.transmission import Completion, load_network, psnr_db
from common.errors import SourceError
from common.imaging.picture_file import read_picture, write_picture
from common.training.picture_cache import picture_files
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from tests.bench import report
from tests.bench.channel.__main__ import Figures
from tests.bench.channel.perceptual import Distance, PerceptualDistance
from tests.bench.channel.systems import Condition, System, TrainedBaseline, TrainedChannel, trained_baselines
from tests.bench.photo_scores import image_id, read_annotations

SNRS_DB = (1, 4, 7, 10)
_SIDE_PX = 256
_LEAST_HEIGHT_PX = 100
_QUICK_PEOPLE = 3
_STEPS = (2, 4)
_SHEET_SNRS_DB = (1, 10)
_SHEET_PEOPLE = 6
_LABEL_PX = 22


def people_of(folder: Path, annotations: Path) -> list[Image]:
    """Squares (256, 256, 3) around the annotated people of a folder's photographs.

    Raises:
        SourceError: there are none, or the annotations cannot be read.
    """
    people = read_annotations(annotations)
    found = []
    for file in picture_files([folder]):
        picture = read_picture(file)
        for person in people.get(image_id(file.name) or -1, []):
            if person.height_px >= _LEAST_HEIGHT_PX:
                found.append(CropBox.around(person.box).cut(picture, _SIDE_PX))
    if not found:
        raise SourceError(
            f"{folder}: no annotated people of {_LEAST_HEIGHT_PX} pixels; name the folder and its annotations"
        )
    return found


def systems_at(rate: Fraction, folders: Sequence[Path]) -> dict[str, tuple[System, Fraction]]:
    """Systems by name, with the bandwidth ratio of each."""
    channel, decoder = load_network(), load_decoder()
    found: dict[str, tuple[System, Fraction]] = {
        "bodywire": (TrainedChannel(channel, Completion(decoder)), rate),
        "plain decoder": (TrainedChannel(channel), rate),
    }
    for steps in _STEPS:
        found[f"diffusion, {steps} steps"] = TrainedChannel(channel, Completion(decoder, steps)), rate
    for network in trained_baselines(folders):
        found[f"deepjscc, {network.config.rate}"] = TrainedBaseline(network), network.config.rate
    return found


class KeypointDistance:
    """Distance of the keypoints that perception finds in two pictures of a person."""

    def __init__(self) -> None:
        self._perception = Perception.load()

    def __call__(self, picture: Image, original: Image) -> float:
        """Mean over the keypoints that it sees in the original, in per cent of the side."""
        output = self._perception.observe([picture, original])
        found, wanted = output.keypoints_2d.float().numpy()
        seen = output.visible_logit[1].float().numpy() > 0
        away: Float64Array = np.linalg.norm(found - wanted, axis=1)[seen].astype(np.float64)
        return 100 * float(away.mean()) if len(away) else float("nan")


def measure(
    systems: Mapping[str, tuple[System, Fraction]], people: Sequence[Image], seed: int
) -> tuple[dict[str, Figures], dict[tuple[str, int], list[Image]]]:
    """Mean figures of each system, and its pictures by SNR."""
    perceptual = PerceptualDistance()
    measures: dict[str, Distance] = {"perceptual": perceptual, "psnr": psnr_db, "keypoints": KeypointDistance()}
    values: dict[str, dict[str, list[float]]] = {name: {} for name in systems}
    pictures: dict[tuple[str, int], list[Image]] = {}
    for number, original in enumerate(people):
        report.progress(f"person {number + 1} of {len(people)}")
        for name, (system, rate) in systems.items():
            for snr_db in SNRS_DB:
                sent = system.send(original, Condition(ChannelState(snr_db), rate), seed + number)
                assert sent is not None and sent.rate <= rate * (1 + 1e-9)
                pictures.setdefault((name, snr_db), []).append(sent.picture)
                for measure_name, distance in measures.items():
                    key = f"{measure_name}_{snr_db}"
                    values[name].setdefault(key, []).append(distance(sent.picture, original))
    means = {name: {key: _mean(each) for key, each in own.items()} for name, own in values.items()}
    for (name, snr_db), each in pictures.items():
        means[name][f"frechet_{snr_db}"] = perceptual.frechet(each, people)
    return means, pictures


def _mean(values: Sequence[float]) -> float:
    """Of the finite values; NaN if there are none."""
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def sheet(people: Sequence[Image], pictures: Mapping[tuple[str, int], Sequence[Image]]) -> Image:
    """A row for each person: the original, and what each system made of it at two SNRs."""
    chosen = range(0, len(people), max(len(people) // _SHEET_PEOPLE, 1))[:_SHEET_PEOPLE]
    columns = [("original", people)]
    for snr_db in _SHEET_SNRS_DB:
        columns += [(f"{name}, {snr_db} dB", each) for (name, level), each in pictures.items() if level == snr_db]
    return labelled_sheet(columns, chosen)


def labelled_sheet(columns: Sequence[tuple[str, Sequence[Image]]], chosen: Sequence[int]) -> Image:
    """The chosen pictures of each column below its title, side by side."""
    drawn = []
    for title, each in columns:
        label = np.full((_LABEL_PX, _SIDE_PX, 3), 255, np.uint8)
        cv2.putText(label, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        drawn.append(np.vstack([label, *(each[number] for number in chosen)]))
    return np.hstack(drawn)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel.people", __doc__, 1)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="folder of test photographs")
    parser.add_argument(
        "--annotations", type=Path, metavar="FILE", help="COCO keypoints (keypoints_approx.json in --photos)"
    )
    parser.add_argument(
        "--trained", type=Path, nargs="+", default=[], metavar="DIR", help="folders of trained DeepJSCC"
    )
    parser.add_argument("--rate", type=Fraction, default=Fraction(1, 24), help="bandwidth ratio (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a picture of people side by side")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    people = people_of(options.photos, options.annotations or options.photos / "keypoints_approx.json")
    people = people[: _QUICK_PEOPLE if options.quick else None]
    figures, pictures = measure(systems_at(options.rate, options.trained), people, options.seed)
    report.publish(options, figures, f"{len(people)} people", people=len(people))
    if options.sheet is not None:
        write_picture(options.sheet, sheet(people, pictures))


if __name__ == "__main__":
    sys.exit(main())
