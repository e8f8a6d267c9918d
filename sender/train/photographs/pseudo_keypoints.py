"""Self-training: what the package's networks say of training photographs, for what annotations leave out.

Everybody of `openimages`, who have boxes only, is read as stills are: by perception, in both views and several sizes,
and by MoveNet.  The certainty is the standard deviation of the fused keypoint, which includes how far they disagree.
What is said of visibility tells nothing among keypoints that are certain, so that it is not written.

Hard negatives are the places in which the detector proposes somebody and nobody is: they hardly overlap an annotated
box or a crowd, and the verifier, which has learned from other photographs, is certain, since annotations leave people
out.  They are crops without a person for perception, and background for the detector, whose loss otherwise leaves out
what might be somebody.

The folder that it writes has a link to the pixels of the other, and an index of its own.

Examples:
  python -m sender.train.photographs.pseudo_keypoints --photographs photographs --out photographs-pseudo
"""

import argparse
import json
from pathlib import Path

import numpy as np

from common.arrays import FloatArray
from common.errors import UsageError, exit_code_of
from common.io.command_line import parser_of
from common.io.files import atomic_write
from sender.perception.detect import Detector
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, predict_in_boxes
from sender.train.crops import people_of
from sender.train.photographs.dataset import (
    INDEX,
    PIXELS,
    PSEUDO,
    Photograph,
    PhotographDataset,
    read_json,
    shares_inside,
)

# People with a shorter longer side of the box are not read.
_MIN_SIDE_PX = 48
# Keypoints of a larger standard deviation, crop units, are left out: of the held-back ones, 0.774 are kept, of which
# 0.955 are within 0.10; by perception alone, 0.649 and 0.901.
_MOST_SIGMA = 0.067
# People whose mean standard deviation is larger, crop units, get no keypoint: their boxes may hold somebody else.
_MOST_MEAN_SIGMA = 0.15
# People read together, which bounds the memory of the maps.
_PEOPLE_AT_ONCE = 8
# Below this score the detector hardly proposes a place; people are not proposed there either.
_MIN_SCORE = 0.08
_MAX_PROPOSALS = 8
# Largest share of a proposal inside an annotated box.
_MAX_SHARED = 0.1
_MAX_PRESENCE = 0.25
_MIN_PROPOSAL_PX = 24


def read(perception: Perception, item: Photograph) -> FloatArray:
    """(n, 17, 3) of the people of a photograph, in their boxes; 0 of small ones, and where nothing is certain."""
    everybody, size = np.zeros((len(item.boxes), 17, 3), np.float32), item.image.shape[1::-1]
    large = np.flatnonzero((item.boxes[:, 2:] - item.boxes[:, :2]).max(axis=1, initial=0) >= _MIN_SIDE_PX)
    for start in range(0, len(large), _PEOPLE_AT_ONCE):
        people = large[start : start + _PEOPLE_AT_ONCE]
        seen = predict_in_boxes(perception, item.image, list(item.boxes[people]), thorough=True)
        places_and_sigma = seen.output.keypoints_2d, seen.output.keypoints_sigma
        for person, crop, places, sigma in zip(people, seen.crops, *places_and_sigma, strict=True):
            everybody[person] = certain(crop.to_pixels(places.numpy()), sigma.numpy(), size)
    return everybody


def certain(places_J2: FloatArray, sigma_J: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """(17, 3) x, y and label, `PSEUDO`; 0 where a keypoint is not certain enough, or the person is not.

    Args:
        places_J2: pixels of the photograph, whose width and height are `size`.
        sigma_J: standard deviations, crop units.
    """
    kept = ((places_J2 >= 0) & (places_J2 < size)).all(axis=1)
    kept &= (sigma_J <= _MOST_SIGMA) & (sigma_J.mean() <= _MOST_MEAN_SIGMA)
    labelled = np.concatenate([places_J2, np.full((len(places_J2), 1), PSEUDO)], axis=1)
    return np.asarray(labelled * kept[:, None], np.float32)


class FalseProposals:
    """Finds the places of a photograph where nobody is, with the package's networks."""

    def __init__(self, perception: Perception) -> None:
        self._perception = perception
        self._detector, self._verifier = Detector.load(), Verifier.load()
        self._detector.threshold = _MIN_SCORE

    def of(self, item: Photograph) -> FloatArray:
        """(k, 4) boxes of a photograph, in its pixels, the detector's surest first."""
        found = self._detector.find(item.image)
        boxes = np.array([each.box for each in found], np.float32).reshape(-1, 4)
        large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= _MIN_PROPOSAL_PX
        apart = (shares_inside(boxes, np.concatenate([item.boxes, item.crowds])) <= _MAX_SHARED).all(axis=1)
        free = np.flatnonzero(large & apart)[:_MAX_PROPOSALS]
        if not len(free):
            return boxes[:0]
        output = predict_in_boxes(self._perception, item.image, list(boxes[free])).output
        presence = self._verifier.presence(output, [found[row].score for row in free])
        return boxes[free[presence <= _MAX_PRESENCE]]


def convert(photographs: Path, out: Path, perception: Perception) -> None:
    """Writes the folder with keypoints for the people of `openimages`, and places where nobody is.

    Args:
        photographs: folder of `sender.train.photographs.dataset`.
        out: folder to write to; an earlier one is replaced.

    Raises:
        SourceError: `photographs` is missing, damaged or of another format.
        UsageError: both are one folder.
    """
    if out.resolve() == photographs.resolve():
        raise UsageError("--out is the folder of --photographs: name another one")
    dataset, false = PhotographDataset(photographs, "train"), FalseProposals(perception)
    document = read_json(photographs / INDEX)
    entries = [entry for entry in document["photographs"] if entry["split"] == "train"]
    for index in dataset.indices("openimages"):
        keypoints = read(perception, dataset[index])
        if keypoints.any():
            entries[index]["keypoints"] = keypoints.astype(np.float64).round(1).tolist()
    for index in (*dataset.indices("people"), *dataset.indices("openimages")):
        entries[index]["nobody"] = false.of(dataset[index]).round(1).tolist()
    out.mkdir(parents=True, exist_ok=True)
    (out / PIXELS).unlink(missing_ok=True)
    (out / PIXELS).symlink_to((photographs / PIXELS).resolve())
    atomic_write(out / INDEX, json.dumps(document).encode())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.photographs.pseudo_keypoints", __doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of sender.train.photographs.dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    convert(options.photographs, options.out, Perception.load())
    usable = len(people_of(PhotographDataset(options.out, "train"), source="openimages"))
    print(f"{usable} people of {options.out} have keypoints enough to be trained on")


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.photographs.pseudo_keypoints", main))
