"""The detector's scores on the photographs that are held back from training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from common.arrays import BoolArray, FloatArray, Image
from common.weights.devices import device_of, fast_autocast
from sender.perception.inference.detector import Letterbox, letterboxed, peaks
from sender.perception.inference.predictor import as_bytes, unit
from sender.train.photographs.dataset import Photograph, PhotographDataset, Source
from sender.train.photographs.frames import PanoramaFrames

_IOU = 0.5
# Detections are kept from this score on, for the average precision.
_LOWEST_SCORE = 0.03
# Detections are counted from this score on.
_SCORE = 0.25
_BATCH = 16
_PANORAMA_VIEWS, _PANORAMA_SEED = 96, 1
# A detection with this share of its area in a crowd's box is not counted as false.
_IN_CROWD = 0.5
# Height from which people are counted as large; `openimages` are 416 pixels high.
_LARGE_PX: dict[Source, float] = {"people": 80.0, "openimages": 62.0}


@dataclass(frozen=True, slots=True)
class Matches:
    """The people of some photographs, and the detections.

    Args:
        height: (P,) of each person, pixels.
        person_score: (P,) of the detection that finds each person, 0 if there is none.
        score: (D,) of each detection.
        true: (D,) whether it finds a person.
        person_height: (D,) of the person it finds, or its own where it finds nobody.
        pictures: number of photographs.
    """

    height: FloatArray
    person_score: FloatArray
    score: FloatArray
    true: BoolArray
    person_height: FloatArray
    pictures: int

    def recall(self, score: float, low_px: float = 0.0) -> float:
        """Share of the people at least `low_px` high that are found with at least `score`."""
        counted = self.height >= low_px
        return float((self.person_score[counted] >= score).sum() / max(counted.sum(), 1))

    def false(self, score: float) -> float:
        """False detections of at least `score` in a picture."""
        return float((~self.true & (self.score >= score)).sum() / max(self.pictures, 1))

    def average_precision(self, low_px: float = 0.0) -> float:
        """Area under precision over recall, of the people at least `low_px` high; smaller ones are ignored."""
        counted = self.person_height >= low_px
        people = int((self.height >= low_px).sum())
        true = self.true[counted][np.argsort(-self.score[counted], kind="stable")]
        if not len(true) or not people:
            return 0.0
        precision = true.cumsum() / np.arange(1, len(true) + 1)
        # The precision at a recall is the best one at this recall or a higher one.
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(envelope[true].sum() / people)


def match(boxes_n4: FloatArray, crowds_m4: FloatArray, found_d4: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Assigns detections to people: best score first, each to the person of the largest IoU that is still free.

    Args:
        crowds_m4: boxes of crowds, in which unmatched detections are not counted.
        found_d4: detections, best first.

    Returns:
        The person (d,) of each detection, −1 for none, and whether it counts (d,).
    """
    iou = box_iou(torch.from_numpy(found_d4), torch.from_numpy(boxes_n4)).numpy().copy()
    person = np.full(len(found_d4), -1)
    for row in range(len(found_d4)):
        best = int(iou[row].argmax()) if len(boxes_n4) else -1
        if best >= 0 and iou[row, best] >= _IOU:
            person[row] = best
            iou[:, best] = 0.0
    return person, (person >= 0) | ~in_crowd(found_d4, crowds_m4)


def in_crowd(found_d4: FloatArray, crowds_m4: FloatArray) -> BoolArray:
    """(d,) detections of which more than half lies in a crowd's box."""
    return np.asarray((shares_inside(found_d4, crowds_m4) > _IN_CROWD).any(axis=1))


def shares_inside(found_d4: FloatArray, boxes_m4: FloatArray) -> FloatArray:
    """(d, m) share of each detection's area that lies in each box."""
    low = np.maximum(found_d4[:, None, :2], boxes_m4[None, :, :2])
    high = np.minimum(found_d4[:, None, 2:], boxes_m4[None, :, 2:])
    area = (found_d4[:, 2:] - found_d4[:, :2]).prod(axis=1).clip(1e-6)
    return np.asarray((high - low).clip(0).prod(axis=2) / area[:, None], np.float32)


Found = Callable[[Tensor], tuple[Tensor, ...]]
"""Heat maps and boxes of images 0…1, on the CPU."""


def in_evaluation(net: nn.Module) -> Found:
    """What a network in training finds, computed where it is."""
    net.eval()
    device = device_of(net)

    def found(images: Tensor) -> tuple[Tensor, ...]:
        with fast_autocast(device.type):
            return tuple(each.float().cpu() for each in net(images.to(device)))

    return found


@torch.no_grad()
def detections(net: Found, images: list[Image], size: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Boxes (d, 4) in pixels and scores (d,) in each of several pictures, best first."""
    for start in range(0, len(images), _BATCH):
        squares: list[tuple[Image, Letterbox]] = [
            letterboxed(image, (size, size)) for image in images[start : start + _BATCH]
        ]
        batch = as_bytes(np.stack([square for square, _ in squares]))
        heat, boxes = net(unit(batch))
        for row, (_, letterbox) in enumerate(squares):
            found, scores = peaks(heat[row].sigmoid(), boxes[row], _LOWEST_SCORE)
            height, width = images[start + row].shape[:2]
            limit = torch.tensor([width, height, width, height], dtype=torch.float32)
            yield torch.minimum(letterbox.to_pixels(found).clamp_min(0), limit).numpy(), scores.numpy()


def matches_in(net: Found, photographs: list[Photograph], size: int) -> Matches:
    """Detects and matches the people of photographs."""
    rows = []
    images = [photograph.image for photograph in photographs]
    for item, (found, scores) in zip(photographs, detections(net, images, size), strict=True):
        person, counts = match(item.boxes, item.crowds, found)
        tall = np.asarray(item.boxes[:, 3] - item.boxes[:, 1], np.float32)
        best = np.zeros(len(tall), np.float32)
        best[person[person >= 0]] = scores[person >= 0]
        own = np.where(person >= 0, np.append(tall, 0)[person], found[:, 3] - found[:, 1])
        rows.append((tall, best, scores[counts], person[counts] >= 0, own[counts]))
    height, person_score, score, true, person_height = map(np.concatenate, zip(*rows, strict=True))
    return Matches(height, person_score, score, true, person_height, len(photographs))


def photograph_scores(net: Found, photographs: PhotographDataset, size: int) -> dict[str, float]:
    """Recall, false detections and average precision on the sources of a data set, at the scores in their names."""
    scores: dict[str, float] = {}
    for source, low_px in _LARGE_PX.items():
        matches = matches_in(net, [photographs[index] for index in photographs.indices(source)], size)
        found = matches.recall(_SCORE, low_px)
        large = int((matches.height >= low_px).sum())
        scores |= {
            f"{source}_ap": matches.average_precision(),
            f"{source}_large_ap": matches.average_precision(low_px),
            f"{source}_large_found_{_SCORE}": found,
            f"{source}_large_found_{_SCORE}_standard_error": (found * (1 - found) / max(large, 1)) ** 0.5,
            f"{source}_false_{_SCORE}": matches.false(_SCORE),
        }
    views = PanoramaFrames(photographs, np.random.default_rng(_PANORAMA_SEED), size)
    nobody = list(detections(net, [views.view() for _ in range(_PANORAMA_VIEWS)], size))
    scores[f"panoramas_false_{_SCORE}"] = float(np.mean([(score >= _SCORE).sum() for _, score in nobody]))
    return {name: round(value, 4) for name, value in scores.items()}
