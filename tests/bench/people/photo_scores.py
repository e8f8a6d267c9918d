"""Annotated people of photographs in COCO's format, and how well published keypoints match them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.arrays import BoolArray, Box, Float64Array, FloatArray
from common.body.anatomy import COCO_KEYPOINTS
from common.errors import SourceError

# Margin around the labelled keypoints, over their extent, where an annotation has no box: they are inside of the body.
_KEYPOINT_MARGIN = 0.1
# A published person matches an annotated one up to this mean keypoint error, in box sides.
_MATCH_MAX_ERROR = 0.3
# Left and right of the trunk; who shows them closer together, in box sides, is seen from the side.
_SIDES = [[COCO_KEYPOINTS.index(f"{side}_{part}") for side in ("left", "right")] for part in ("shoulder", "hip")]
_FROM_SIDE = 0.08
# Minimum box height of the people in `large_…`.
_LARGE_PX = 80


@dataclass(frozen=True)
class AnnotatedPerson:
    """One person of a photograph.

    Args:
        keypoints: (17, 2) pixels.
        labelled: (17,) which of them are annotated.
        box: (4,) pixels; annotated, or around the keypoints.
    """

    keypoints: Float64Array
    labelled: BoolArray
    box: Box

    @property
    def side_px(self) -> float:
        """Longer side of the box around the labelled keypoints."""
        return float(np.ptp(self.keypoints[self.labelled], axis=0).max())

    @property
    def height_px(self) -> float:
        """Height of the box around the labelled keypoints."""
        return float(np.ptp(self.keypoints[self.labelled, 1]))

    def errors(self, found: FloatArray) -> Float64Array:
        """(K,) distances of the labelled keypoints from published ones (17, 2), in box sides."""
        distance = np.linalg.norm(found - self.keypoints, axis=1)[self.labelled]
        return np.asarray(distance / self.side_px)

    def faces_as(self, found: FloatArray) -> bool | None:
        """Whether published keypoints (17, 2) turn the same side to the camera; None for who is seen from the side."""
        pairs = [pair for pair in _SIDES if self.labelled[pair].all()]
        if not pairs:
            return None
        true, published = (
            np.mean([points[left] - points[right] for left, right in pairs], axis=0)
            for points in (self.keypoints, found)
        )
        return bool(true @ published > 0) if np.linalg.norm(true) > _FROM_SIDE * self.side_px else None


def read_annotations(path: Path) -> dict[int, list[AnnotatedPerson]]:
    """Image id → its people; people with fewer than three labelled keypoints are left out.

    Raises:
        SourceError: the file cannot be read or has no COCO keypoints.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries: list[dict[str, Any]] = document["annotations"] if isinstance(document, dict) else document
        people: dict[int, list[AnnotatedPerson]] = {}
        for entry in entries:
            rows = np.asarray(entry["keypoints"], dtype=np.float64).reshape(17, 3)
            labelled = rows[:, 2] > 0
            if labelled.sum() < 3 or not np.ptp(rows[labelled, :2], axis=0).any():
                continue
            person = AnnotatedPerson(rows[:, :2], labelled, _box_of(entry.get("bbox"), rows[labelled, :2]))
            people.setdefault(int(entry["image_id"]), []).append(person)
        return people
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} holds no COCO keypoints: {error}") from error


def _box_of(bbox: Sequence[float] | None, points_N2: Float64Array) -> Box:
    """The annotated box (left, top, width, height), or one around the labelled keypoints, as (4,) corners."""
    if bbox is not None:
        left, top, width, height = (float(value) for value in bbox)
        return np.array([left, top, left + width, top + height], np.float32)
    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    margin = _KEYPOINT_MARGIN * float((high - low).max())
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def image_id(name: str) -> int | None:
    """The number at the end of a file name, 192 for `COCO_val2014_000000000192.jpg`; None without a number."""
    digits = re.search(r"(\d+)\.\w+$", name)
    return int(digits.group(1)) if digits else None


@dataclass(frozen=True)
class ImageScore:
    """One annotated image.

    Args:
        matched: per annotated person, the errors of the labelled keypoints in box sides, or None if not found.
        heights_px: per annotated person, the height of the box.
        labelled: per annotated person, the number of labelled keypoints.
        false_people: published people without a match.
        facing: per matched person who is not seen from the side, whether front and back are right.
    """

    matched: tuple[Float64Array | None, ...]
    heights_px: tuple[float, ...]
    labelled: tuple[int, ...]
    false_people: int
    facing: tuple[bool, ...]


def score_image(annotated: Sequence[AnnotatedPerson], found: Sequence[FloatArray]) -> ImageScore:
    """Matches published people (17, 2) to annotated ones: the assignment of least mean keypoint error."""
    matched: list[Float64Array | None] = [None] * len(annotated)
    facing: list[bool | None] = []
    if annotated and found:
        costs = np.array([[person.errors(keypoints).mean() for keypoints in found] for person in annotated])
        # The cost is capped: a pair that is too far apart must not change the other matches.
        for row, column in zip(*linear_sum_assignment(np.minimum(costs, _MATCH_MAX_ERROR)), strict=True):
            if costs[row, column] < _MATCH_MAX_ERROR:
                matched[row] = annotated[row].errors(found[column])
                facing.append(annotated[row].faces_as(found[column]))
    hits = sum(errors is not None for errors in matched)
    heights = tuple(person.height_px for person in annotated)
    labelled = tuple(int(person.labelled.sum()) for person in annotated)
    known = tuple(right for right in facing if right is not None)
    return ImageScore(tuple(matched), heights, labelled, len(found) - hits, known)


def summary(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Figures over all annotated images: of all people, of large ones, and the number of false ones."""
    people = [
        person for score in scores for person in zip(score.matched, score.heights_px, score.labelled, strict=True)
    ]
    large = [person for person in people if person[1] >= _LARGE_PX]
    figures = _figures([(matched, labelled) for matched, _, labelled in people])
    of_large = _figures([(matched, labelled) for matched, _, labelled in large])
    figures |= {f"large_{name}": value for name, value in of_large.items()}
    facing = [right for score in scores for right in score.facing]
    figures |= {"facing": float(np.mean(facing)) if facing else float("nan"), "facing_people": float(len(facing))}
    return figures | {"false_people": float(sum(score.false_people for score in scores))}


def _figures(people: Sequence[tuple[Float64Array | None, int]]) -> dict[str, float]:
    """Figures of people given as (keypoint errors or None if not found, number of labelled keypoints)."""
    labelled = max(sum(count for _, count in people), 1)
    found = [errors for errors, _ in people if errors is not None]
    errors = np.concatenate([np.zeros(0), *found])
    return {
        "people": float(len(people)),
        "found": float(len(found)),
        "pck05": float((errors < 0.05).sum() / labelled),
        "pck10": float((errors < 0.10).sum() / labelled),
    }
