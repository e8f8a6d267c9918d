"""Keypoint accuracy on annotated photographs, and tracking on videos: `python -m tests.bench.photos --folder DIR`.

Photographs are for testing only.  Each image passes sender, codec and receiver in process; the keypoints that the
receiver publishes are compared with annotations in COCO's format (a list of objects with `image_id` and `keypoints`,
17 × [x, y, visibility]):

    people          annotated people on the given images
    found           of them, those that a published person was matched to
    pck05, pck10    share of the annotated keypoints within 0.05 and 0.1 of the person's box (the longer side of the
                    annotated keypoints' extent); keypoints of people not found count as missed
    …_of_found      the same for found people only
    large_…         the same for people whose box is at least 80 pixels high
    false_people    published on annotated images without a match (annotations may be incomplete)

`keypoints head` has the 2D keypoints of perception instead, before semantics.  The acceptance thresholds of detector
and verifier were chosen on these photographs, so `found` and `false_people` are optimistic.

With a video as `--folder` the bench reports in how many frames people were found, and under how many identities.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.arrays import BoolArray, Float64Array, FloatArray
from common.errors import SourceError
from common.weights.loader import model_hash
from sender.capture.open import CaptureConfig, open_source
from sender.capture.source import CapturedFrame
from sender.importance.importance import Importance
from tests.bench import report
from tests.bench.perceived import FrameSender
from tests.bench.rates import CodecPair, unconstrained_rho
from tests.bench.reconstruction_scores import Receiver

# A published person matches an annotated one up to this mean keypoint error, in box sides.
_MATCH_MAX_ERROR = 0.3
# Minimum box height of the people in `large_…`.
_LARGE_PX = 80
QUICK_FRAMES = 40


@dataclass(frozen=True)
class AnnotatedPerson:
    """One person of a photograph.

    Args:
        keypoints: (17, 2) pixels.
        labelled: (17,) which of them are annotated.
    """

    keypoints: Float64Array
    labelled: BoolArray

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
            person = AnnotatedPerson(rows[:, :2], rows[:, 2] > 0)
            if person.labelled.sum() >= 3 and person.side_px > 0:
                people.setdefault(int(entry["image_id"]), []).append(person)
        return people
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} holds no COCO keypoints: {error}") from error


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
    """

    matched: tuple[Float64Array | None, ...]
    heights_px: tuple[float, ...]
    labelled: tuple[int, ...]
    false_people: int


def score_image(annotated: Sequence[AnnotatedPerson], found: Sequence[FloatArray]) -> ImageScore:
    """Matches published people (17, 2) to annotated ones: the assignment of least mean keypoint error."""
    matched: list[Float64Array | None] = [None] * len(annotated)
    if annotated and found:
        costs = np.array([[person.errors(keypoints).mean() for keypoints in found] for person in annotated])
        # The cost is capped: a pair that is too far apart must not change the other matches.
        for row, column in zip(*linear_sum_assignment(np.minimum(costs, _MATCH_MAX_ERROR)), strict=True):
            if costs[row, column] < _MATCH_MAX_ERROR:
                matched[row] = annotated[row].errors(found[column])
    hits = sum(errors is not None for errors in matched)
    heights = tuple(person.height_px for person in annotated)
    labelled = tuple(int(person.labelled.sum()) for person in annotated)
    return ImageScore(tuple(matched), heights, labelled, len(found) - hits)


def summary(scores: Sequence[ImageScore]) -> dict[str, float]:
    """Figures over all annotated images: of all people, of large ones, and the number of false ones."""
    people = [
        person for score in scores for person in zip(score.matched, score.heights_px, score.labelled, strict=True)
    ]
    large = [person for person in people if person[1] >= _LARGE_PX]
    figures = _figures([(matched, labelled) for matched, _, labelled in people])
    of_large = _figures([(matched, labelled) for matched, _, labelled in large])
    figures |= {f"large_{name}": value for name, value in of_large.items()}
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
        "pck05_of_found": float((errors < 0.05).mean()) if len(errors) else float("nan"),
        "pck10_of_found": float((errors < 0.10).mean()) if len(errors) else float("nan"),
    }


@dataclass(frozen=True)
class Published:
    """The people of one frame.

    Args:
        keypoints: identity → (17, 2) pixels, as published by the receiver.
        joints: identity → (17, 3) metres in camera space, as published.
        perceived: (17, 2) pixels per person, from the keypoints head.
    """

    keypoints: Mapping[int, FloatArray]
    joints: Mapping[int, FloatArray]
    perceived: Sequence[FloatArray]


class Reconstruction:
    """Sender, codec and receiver in process.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, max_people: int) -> None:
        self._sender, self._receiver = FrameSender(max_people), Receiver()
        self._codec, self._importance = CodecPair(model_hash()), Importance.load()

    def people(self, frame: CapturedFrame) -> Published:
        """The people of one frame."""
        observed = self._sender.observe(frame)
        labels = self._sender.label_observed(frame, observed)
        rho = unconstrained_rho(self._importance, labels.people[0]) if labels.people else {}
        arrived = self._codec.send(labels, rho).frame
        perceived = [person.crop.to_pixels(person.output.keypoints_2d[0].float().numpy()) for person in observed]
        people = self._receiver.reconstruct(arrived.people, arrived.camera)
        keypoints = {person.labels.identity: person.keypoints_2d[:, :2] for person in people}
        return Published(keypoints, {person.labels.identity: person.joints_3d for person in people}, perceived)


def run_images(
    frames: Sequence[CapturedFrame],
    reconstruction: Reconstruction,
    annotations: Mapping[int, list[AnnotatedPerson]],
) -> dict[str, dict[str, float]]:
    """System → figures over a folder's images, of published keypoints and of the keypoints head; prints each image."""
    scores: dict[str, list[ImageScore]] = {"bodywire": [], "keypoints head": []}
    rows = [["image", "annotated", "published", "found", "false", "mean error, box"]]
    for frame in frames:
        found = reconstruction.people(frame)
        annotated = annotations.get(image_id(frame.source) or -1)
        if annotated is None:
            rows.append([frame.source, "–", str(len(found.keypoints)), "–", "–", "–"])
            continue
        score = score_image(annotated, list(found.keypoints.values()))
        scores["bodywire"].append(score)
        scores["keypoints head"].append(score_image(annotated, found.perceived))
        errors = [errors.mean() for errors in score.matched if errors is not None]
        mean = f"{np.mean(errors):.3f}" if errors else "–"
        cells = [len(annotated), len(found.keypoints), len(errors), score.false_people]
        rows.append([frame.source, *map(str, cells), mean])
    print(report.markdown(rows), "\n")
    return {system: {"images": float(len(frames))} | summary(own) for system, own in scores.items() if own}


def run_video(frames: Sequence[CapturedFrame], reconstruction: Reconstruction) -> dict[str, float]:
    """Figures of a video: frames with people, number of identities, and movement of joints between frames.

    For joints that mostly rest, the median movement is jitter.
    """
    published = [reconstruction.people(frame) for frame in frames]
    found = [frame.keypoints for frame in published]
    jumps = [np.linalg.norm(after - before, axis=1).mean() for before, after in _successive(found)]
    moves = [
        np.linalg.norm(after - before, axis=1) for before, after in _successive([frame.joints for frame in published])
    ]
    return {
        "frames": float(len(found)),
        "found_share": float(np.mean([bool(people) for people in found])),
        "people_mean": float(np.mean([len(people) for people in found])),
        "identities": float(len({identity for people in found for identity in people})),
        "keypoint_jump_px_mean": float(np.mean(jumps)) if jumps else float("nan"),
        "joint_jump_mm_median": 1000 * float(np.median(moves)) if moves else float("nan"),
    }


def _successive(frames: Sequence[Mapping[int, FloatArray]]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Each identity's values in a frame and in the next one."""
    for before, after in pairwise(frames):
        for identity in sorted(before.keys() & after.keys()):
            yield before[identity], after[identity]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags(
        "photos", "Compare published keypoints with annotated photographs, or track people in a video.", 0
    )
    parser.add_argument("--folder", required=True, metavar="PATH", help="folder of images, one image, or a video")
    parser.add_argument("--keypoints", type=Path, metavar="FILE", help="annotations, a list in COCO's format")
    parser.add_argument(
        "--max-people", type=int, default=10, help="maximum number of people per frame (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        annotations = read_annotations(options.keypoints) if options.keypoints else {}
        with open_source(CaptureConfig(options.folder)) as source:
            frames = list(source)
        frames = frames[:QUICK_FRAMES] if options.quick else frames
        reconstruction = Reconstruction(options.max_people)
        print(f"{options.folder}, {report.machine_line()}\n")
        still = len({frame.source for frame in frames}) == len(frames)
        if still:
            systems = run_images(frames, reconstruction, annotations)
        else:
            systems = {"bodywire": run_video(frames, reconstruction)}
        print(report.transposed(systems))
        report.write_json(options.json, "photos", options.seed, systems, folder=Path(options.folder).name)

    return report.run("photos", work)


if __name__ == "__main__":
    sys.exit(main())
