"""Whether people are followed in videos of tilted cameras: `python -m tests.bench.following --panoramas DIR`.

Each rendered clip (`tests.bench.tilted_clips`) shows one person, 10 to 90 % of the frame's height tall, and passes the
sender's perception stage with one tracked person.  The followed box is the one that perception refines in its crop;
all boxes are clipped to the frame.

    followed_share          of the frames in which at least half of the person is visible: those with a followed box of
                            IoU ≥ 0.5 with the true one
    standard_error          of `followed_share`, over clips
    lost_share              of the same frames: those without a followed box
    grown_boxes             times that the followed box was over 2.5 × the true box in area for more than 5 frames
    refound_frames_mean     frames from the end of a full occlusion to a followed box of IoU ≥ 0.5; a person who is not
                            found again counts with the rest of the clip
    refound_share           of the occlusions: those that ended within 5 frames
    false_people_share      of all frames: those with a followed box that covers less than a tenth of the true box, or
                            while at most 2 % of the person is visible
    detections_share        of all frames: those in which the detector ran

Thresholds of the tracking are chosen on other seeds than the default one.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from common.arrays import BoolArray, Box, FloatArray, Image
from common.synthetic.render_clip import FPS
from sender.perception.config import TrackerConfig
from sender.perception.inference.detector import USUAL, Detection, Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import bounding_box
from sender.perception.inference.verifier import Verifier
from sender.perception.stage import PerceptionStage
from sender.perception.tracking.boxes import area, intersection, intersection_over_union
from tests.bench import measures, report
from tests.bench.clip_frames import add_clips_flag, decoded
from tests.bench.tilted_clips import KINDS, ClipRenderer, TiltedClip

CLIPS, QUICK_CLIPS = 50, 10
_MIN_IOU = 0.5
_MIN_VISIBLE, _MAX_HIDDEN = 0.5, 0.02
_GROWN_AREA, _GROWN_FRAMES = 2.5, 5
_REFOUND_FRAMES = 5
_MIN_COVERAGE = 0.1


class CountingDetector(Detector):
    """Counts the frames that it searches."""

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector.net, detector.threshold)
        self.calls = 0

    def find(self, image: Image, scales: Sequence[float] = USUAL, roll: float = 0.0) -> tuple[Detection, ...]:
        """As `Detector.find`."""
        self.calls += 1
        return super().find(image, scales, roll)


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Counts of one clip, as in the module's docstring.

    Args:
        visible: frames in which the person is to be followed.
        followed: of them, those with a box of sufficient overlap.
        lost: of them, those without a box.
        grown: times that the box grew away.
        refound: frames until the person was found again, for each full occlusion.
        false_people: frames with a false person.
        detections: frames in which the detector ran.
    """

    frames: int
    visible: int
    followed: int
    lost: int
    grown: int
    refound: tuple[int, ...]
    false_people: int
    detections: int


def score_clip(truth: FloatArray, visible: FloatArray, found: Sequence[Box | None], detections: int) -> ClipScore:
    """Scores the followed boxes of one clip.

    Args:
        truth: (T, 4) true boxes, NaN where the person is not in the frame.
        visible: (T,) visible share of the person.
        found: T followed boxes, None where there is none.
        detections: frames in which the detector ran.
    """
    pairs = list(zip(truth, found, strict=True))
    overlap = np.array([_overlap(true, box) for true, box in pairs])
    present = np.array([box is not None for box in found])
    larger = np.array([_area(true) > 0 and _area(box) > _GROWN_AREA * _area(true) for true, box in pairs])
    missed = np.array([_coverage(true, box) < _MIN_COVERAGE for true, box in pairs])
    shown = visible >= _MIN_VISIBLE
    good = overlap >= _MIN_IOU
    return ClipScore(
        frames=len(found),
        visible=int(shown.sum()),
        followed=int((shown & good).sum()),
        lost=int((shown & ~present).sum()),
        grown=sum(length > _GROWN_FRAMES for length in _runs(larger & shown)),
        refound=_refound(visible, good),
        false_people=int((present & (missed | (visible <= _MAX_HIDDEN))).sum()),
        detections=detections,
    )


def _overlap(true: Box, box: Box | None) -> float:
    return 0.0 if box is None or not np.isfinite(true).all() else intersection_over_union(true, box)


def _area(box: Box | None) -> float:
    return 0.0 if box is None or not np.isfinite(box).all() else area(box)


def _coverage(true: Box, box: Box | None) -> float:
    """Share of the true box that a box covers."""
    if box is None or not np.isfinite(true).all():
        return 0.0
    return intersection(true, box) / max(area(true), 1.0)


def _runs(flags: BoolArray) -> list[int]:
    """Lengths of the runs of set flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _refound(visible: FloatArray, good: BoolArray) -> tuple[int, ...]:
    """Frames until the person is found again after each full occlusion or absence within the clip."""
    frames = []
    away = False
    start: int | None = None
    seen = False
    for index, share in enumerate(visible):
        if share <= _MAX_HIDDEN:
            away, start = seen, None
        elif share >= _MIN_VISIBLE:
            seen = True
            if away:
                away, start = False, index
        if start is not None and good[index]:
            frames.append(index - start)
            start = None
    return (*frames, len(visible) - start) if start is not None else tuple(frames)


def follow(clip: TiltedClip, stage: PerceptionStage) -> list[Box | None]:
    """The followed box of every frame, clipped to the frame; None where nobody is followed."""
    stage.reset()
    limit = np.array([clip.camera.width, clip.camera.height] * 2, np.float32)
    boxes: list[Box | None] = []
    for index, image in enumerate(decoded(clip.encoded)):
        people = stage.process(image, clip.camera, index / FPS)
        boxes.append(np.clip(bounding_box(people[0].output, people[0].crop), 0, limit) if people else None)
    return boxes


def summary(scores: Sequence[ClipScore]) -> dict[str, float]:
    total = {item.name: sum(getattr(score, item.name) for score in scores) for item in fields(ClipScore)
             if item.name != "refound"}  # fmt: skip
    shown = [score for score in scores if score.visible]
    refound = [frames for score in scores for frames in score.refound]
    visible = max(total["visible"], 1)
    return {
        "clips": float(len(scores)),
        "frames": float(total["frames"]),
        "followed_share": total["followed"] / visible,
        "standard_error": measures.standard_error(np.array([score.followed / score.visible for score in shown])),
        "lost_share": total["lost"] / visible,
        "grown_boxes": float(total["grown"]),
        "refound_frames_mean": float(np.mean(refound)) if refound else float("nan"),
        "refound_share": float(np.mean([frames <= _REFOUND_FRAMES for frames in refound])) if refound else float("nan"),
        "false_people_share": total["false_people"] / max(total["frames"], 1),
        "detections_share": total["detections"] / max(total["frames"], 1),
    }


def measure(renderer: ClipRenderer, seed: int, count: int, folder: Path) -> list[ClipScore]:
    """Scores of the first clips of a seed.

    Raises:
        WeightsError: weights are missing or of another version.
    """
    detector = CountingDetector(Detector.load())
    stage = PerceptionStage(detector, Perception.load(), Verifier.load(), TrackerConfig(max_people=1))
    scores = []
    for number in range(count):
        clip = renderer.clip(seed, number, folder)
        detector.calls = 0
        boxes = follow(clip, stage)
        scores.append(score_clip(clip.boxes, clip.visible, boxes, detector.calls))
        report.progress(f"clip {number} ({clip.kind}): {scores[-1].followed}/{scores[-1].visible} followed")
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("following", __doc__, 7)
    parser.add_argument("--panoramas", type=Path, metavar="DIR", help="panoramas to place people before")
    add_clips_flag(parser, "following")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    renderer = ClipRenderer(list(options.panoramas.glob("*.jpg")) if options.panoramas else [])
    scores = measure(renderer, options.seed, QUICK_CLIPS if options.quick else CLIPS, options.clips)
    systems = {"all": summary(scores)}
    for index, kind in enumerate(KINDS):
        systems[kind] = summary(scores[index :: len(KINDS)])
    print(f"seed {options.seed}, {report.machine_line()}\n")
    print(report.table(systems))
    clips = [[score.followed, score.visible, score.grown] for score in scores]
    report.write_json(options, systems, clips=clips)


if __name__ == "__main__":
    sys.exit(main())
