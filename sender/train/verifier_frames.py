"""Photographs to train the verifier on, with person boxes: each picture once, with the proportions it may have had.

Those of `openimages` are used, which perception is not trained on: it is more certain of people it has seen.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from common.arrays import FloatArray
from sender.train.detector_frames import Frame
from sender.train.photograph_frames import randomly_grey
from sender.train.photographs import Photograph, PhotographDataset, Source

Generator = np.random.Generator

# The pictures of `openimages` were stretched to squares.  Most photographs have 4:3 or 3:4; log of width over height.
_LOG_ASPECTS, _ASPECT_SHARES, _ASPECT_NOISE = (0.29, -0.29, 0.0), (0.6, 0.3, 0.1), 0.08


def photograph_frames(photographs: PhotographDataset, source: Source, rng: Generator) -> Iterator[Frame]:
    """Every photograph of a source once; those of `openimages` with likely proportions, some mirrored or grey."""
    for index in photographs.indices(source):
        item = photographs[index]
        yield varied(item, rng) if source == "openimages" else Frame(item.image, item.boxes, item.crowds)


def varied(item: Photograph, rng: Generator) -> Frame:
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
    return Frame(randomly_grey(rng, image), boxes, crowds)


def mirrored_boxes(boxes_n4: FloatArray, width: int) -> FloatArray:
    """Boxes (n, 4) in the mirror image of a picture of `width` pixels."""
    return np.asarray(boxes_n4[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0], np.float32)
