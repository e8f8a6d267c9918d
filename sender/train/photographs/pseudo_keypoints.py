"""Self-training: perception's own keypoints, where it is certain, for people of photographs that have boxes only.

Perception reads everybody of the training photographs of `openimages` as it reads stills: both views, several sizes.
The certainty is the standard deviation of a keypoint's mean heat map, which includes how far views and sizes disagree.
Pictures of `openimages` are stretched to squares, where perception is a little worse: 0.055 is as exact there as 0.067.
What it says of visibility tells nothing among keypoints that are certain, so that it is not written.
Places of all training photographs where the detector is wrong are written too (`false_proposals`).
The folder that it writes has the pixels of the other (a hard link where the disk allows it) and an index of its own.

Examples:
  python -m sender.train.photographs.pseudo_keypoints --photographs photographs --out photographs-pseudo
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.errors import UsageError, exit_code_of
from common.io.atomic_write import atomic_replacement, atomic_write
from common.io.command_line import parser_of
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.inference.zoom_augmentation import predict_zoomed
from sender.train.photographs.crops import people_of
from sender.train.photographs.dataset import INDEX, PIXELS, PSEUDO, Photograph, PhotographDataset, read_json
from sender.train.photographs.false_proposals import FalseProposals

# People with a shorter longer side of the box are not read.
_MIN_SIDE_PX = 48
# Keypoints of a larger standard deviation, crop units, are left out: of the held-back ones, 0.649 are kept, of which
# 0.901 are within 0.10.
_MOST_SIGMA = 0.067
# People whose mean standard deviation is larger, crop units, get no keypoint: their boxes may hold somebody else.
_MOST_MEAN_SIGMA = 0.15
# People read together, which bounds the memory of the maps.
_PEOPLE_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Reading:
    """What perception reads of one person.

    Args:
        places: (17, 2) pixels of the photograph.
        sigma: (17,) standard deviation of each keypoint, crop units.
        inside: (17,) whether it lies in the photograph.
    """

    places: FloatArray
    sigma: FloatArray
    inside: BoolArray

    def keypoints(self) -> FloatArray:
        """(17, 3) x, y and label, `PSEUDO`; 0 where it is not certain enough, or the person is not."""
        kept = self.inside & (self.sigma <= _MOST_SIGMA) & (self.sigma.mean() <= _MOST_MEAN_SIGMA)
        labelled = np.concatenate([self.places, np.full((len(self.places), 1), PSEUDO)], axis=1)
        return np.asarray(labelled * kept[:, None], np.float32)


def large_people(item: Photograph) -> list[int]:
    """The people of a photograph whose boxes are large enough to be read."""
    sides = (item.boxes[:, 2:] - item.boxes[:, :2]).max(axis=1, initial=0)
    return [int(person) for person in np.flatnonzero(sides >= _MIN_SIDE_PX)]


def read(perception: Perception, item: Photograph, people: Sequence[int]) -> Iterator[Reading]:
    """Reads people of a photograph in their boxes, with both views and several sizes of the crop."""
    size = np.array(item.image.shape[1::-1])
    for start in range(0, len(people), _PEOPLE_AT_ONCE):
        crops = [CropBox.around(item.boxes[person]) for person in people[start : start + _PEOPLE_AT_ONCE]]
        output = predict_zoomed(perception, item.image, crops)
        for crop, places, sigma in zip(crops, output.keypoints_2d, output.keypoints_sigma, strict=True):
            pixels = crop.to_pixels(places.numpy())
            inside = np.asarray(((pixels >= 0) & (pixels < size)).all(axis=1))
            yield Reading(pixels, sigma.numpy(), inside)


def labelled_entry(entry: dict[str, Any], people: Sequence[int], keypoints: Sequence[FloatArray]) -> dict[str, Any]:
    """An entry of the index with the keypoints (17, 3) of some of its people; unchanged if none is labelled."""
    if not any(one.any() for one in keypoints):
        return entry
    everybody = np.zeros((len(entry["boxes"]), 17, 3))
    for person, one in zip(people, keypoints, strict=True):
        everybody[person] = one
    return {**entry, "keypoints": everybody.round(1).tolist()}


def convert(photographs: Path, out: Path, perception: Perception) -> tuple[int, int]:
    """Writes the folder with keypoints for the people of `openimages`; gives the numbers of these and of keypoints.

    Args:
        photographs: folder of `sender.train.photographs.dataset`.
        out: folder to write to; an earlier one is replaced.

    Raises:
        SourceError: `photographs` is missing, damaged or of another format.
        UsageError: both are one folder.
    """
    if out.resolve() == photographs.resolve():
        raise UsageError("--out is the folder of --photographs: name another one")
    dataset = PhotographDataset(photographs, "train")
    document = read_json(photographs / INDEX)
    rows = [row for row, entry in enumerate(document["photographs"]) if entry["split"] == "train"]
    counts = np.zeros(2, int)
    for index in dataset.indices("openimages"):
        item = dataset[index]
        people = large_people(item)
        keypoints = [seen.keypoints() for seen in read(perception, item, people)]
        entry = document["photographs"][rows[index]]
        document["photographs"][rows[index]] = labelled_entry(entry, people, keypoints)
        counts += [sum(one.any() for one in keypoints), sum(int((one[:, 2] > 0).sum()) for one in keypoints)]
    false = FalseProposals(perception)
    for index in (*dataset.indices("people"), *dataset.indices("openimages")):
        document["photographs"][rows[index]]["nobody"] = false.of(dataset[index]).round(1).tolist()
    out.mkdir(parents=True, exist_ok=True)
    with atomic_replacement(out / PIXELS) as partial:
        _link(photographs / PIXELS, partial)
    atomic_write(out / INDEX, json.dumps(document).encode())
    return int(counts[0]), int(counts[1])


def _link(source: Path, target: Path) -> None:
    """A hard link, which takes no space, or a copy where there can be none."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.photographs.pseudo_keypoints", __doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    perception = Perception.load()
    count, keypoints = convert(options.photographs, options.out, perception)
    usable = len(people_of(PhotographDataset(options.out, "train"), source="openimages"))
    print(f"{keypoints} keypoints of {count} people in {options.out}; {usable} of them can be trained on")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.photographs.pseudo_keypoints", main))
