"""Frames to train the verifier on: photographs with person boxes, and composed frames.

The photographs are those of `openimages`, which perception is not trained on: it is more certain of people it has seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from common.arrays import FloatArray, Image
from common.synthetic.dataset.shards import CropDataset
from sender.train.detector_frames import FrameComposer
from sender.train.photographs import Photograph, PhotographDataset, Source

Generator = np.random.Generator

# The pictures of `openimages` were stretched to squares.  Most photographs have 4:3 or 3:4; log of width over height.
_LOG_ASPECTS, _ASPECT_SHARES, _ASPECT_NOISE = (0.29, -0.29, 0.0), (0.6, 0.3, 0.1), 0.08
_GREY_SHARE = 0.07


@dataclass(frozen=True, slots=True)
class VerifierFrame:
    """A frame and who is in it.

    Args:
        image: (H, W, 3) RGB.
        people: (n, 4) boxes, pixels.
        crowds: (m, 4) boxes in which there may be more people.
    """

    image: Image
    people: FloatArray
    crowds: FloatArray


def composed_frames(datasets: Sequence[CropDataset], rng: Generator, size: int, count: int) -> Iterator[VerifierFrame]:
    """`count` frames of `size` pixels with rendered people and distractors."""
    composer = FrameComposer(datasets, rng, size)
    nobody = np.zeros((0, 4), np.float32)
    for _ in range(count):
        image, people = composer.frame()
        yield VerifierFrame(image, people, nobody)


def photograph_frames(photographs: PhotographDataset, source: Source, rng: Generator) -> Iterator[VerifierFrame]:
    """Every photograph of a source once; those of `openimages` with likely proportions, some mirrored or grey."""
    for index in photographs.of(source):
        item = photographs[index]
        yield varied(item, rng) if source == "openimages" else VerifierFrame(item.image, item.boxes, item.crowds)


def varied(item: Photograph, rng: Generator) -> VerifierFrame:
    """A photograph with random proportions, mirrored in half of the cases, sometimes grey."""
    aspect = rng.choice(_LOG_ASPECTS, p=_ASPECT_SHARES) + rng.normal(0, _ASPECT_NOISE)
    height, width = item.image.shape[:2]
    size = round(width * np.exp(aspect / 2)), round(height * np.exp(-aspect / 2))
    image = np.asarray(cv2.resize(item.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    stretch = np.tile(np.array([size[0] / width, size[1] / height], np.float32), 2)
    boxes, crowds = item.boxes * stretch, item.crowds * stretch
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        boxes, crowds = (mirrored_boxes(array, size[0]) for array in (boxes, crowds))
    if rng.random() < _GREY_SHARE:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    return VerifierFrame(image, boxes, crowds)


def mirrored_boxes(boxes_n4: FloatArray, width: int) -> FloatArray:
    """Boxes (n, 4) in the mirror image of a picture of `width` pixels."""
    return np.asarray(boxes_n4[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0], np.float32)
