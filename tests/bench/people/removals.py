"""What parts of the sender are for: figures of the same people with a part and with a named bypass in its place.

    joints                    mean error about the hips after semantics, rendered test people
    aligned, hidden joints    likewise, after a similarity transform, and of those that the picture does not show
    depth map, mask           of perception's own heads, the same people
    keypoints beyond 0.1      share farther from the annotation than 0.1 of the person's box, photographs
    Brier score               of the confidence of limbs

All are lower when better.  The difference is that of the bypass from the whole, paired, ± one standard error; where it
is less than two of them, the part shows nothing.  `--photographs DIR` adds the held-back people of that folder.

Perception runs by PyTorch throughout, as changed networks are not compiled.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera
from common.imaging.pictures import guessed_focal_px
from common.labels import LABEL_SIZE
from common.synthetic.dataset import DRESSED
from common.synthetic.render_shards import Batch, CropDataset
from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from sender.perception.crop import CropBox
from sender.perception.perception_network import TASKS, PerceptionNet, PerceptionOutput
from sender.perception.perception_stage import TRACKED_PRIOR
from sender.perception.predictor import Perception
from sender.perception.read import Verifier, predict_in_boxes
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.semantics.bodies import Bodies
from sender.semantics.confidence import LIMBS, RIGHT_WITHIN, KeypointConfidence, evidence
from sender.semantics.lifter import Lifter
from sender.semantics.refine import CropFits, FitterOnHost, PoseHead, Refiner, Targets
from sender.semantics.semantics_stage import BodyEstimator
from sender.train.photographs.dataset import Photograph, held_out, read_people
from tests.bench import measures, report
from tests.bench.measures import centred
from tests.bench.people import crops
from tests.bench.perceived import CropSender, head_scores

_CHUNK, _QUICK_PHOTOGRAPHS = 8, 10
_LEAST_LABELLED = 3
# Keypoints of rendered people are right within this distance.
_RIGHT_M = 0.1

Bypass = tuple[str, str]
"""A part, and what takes its place."""
WHOLE: Bypass = ("", "")


class NoMask(nn.Module):
    """M_task = 0 in place of (6): everything attends to everything."""

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self._blocks, self._heads = net.config.depth, net.config.heads

    def forward(self, size: tuple[int, int]) -> Tensor:
        tokens = size[0] * size[1] + len(TASKS)
        return torch.zeros(self._blocks, self._heads, tokens, tokens)


def _zero(start: str) -> Callable[[PerceptionNet], None]:
    """Sets the parameters to zero whose names begin so."""

    def change(net: PerceptionNet) -> None:
        for name, parameter in net.named_parameters():
            if name.startswith(start):
                parameter.data.zero_()

    return change


def _without_mask(net: PerceptionNet) -> None:
    net.task_mask = NoMask(net)  # type: ignore[assignment]


PERCEPTION: Mapping[Bypass, Callable[[PerceptionNet], None]] = {
    ("task-dependent position encoding (1)", "zero"): _zero("position.conditioned"),
    ("task mask (6)", "zero"): _without_mask,
    ("learned part of the task mask (6)", "zero"): _zero("task_mask."),
    ("scale weights of the pose head (3)", "uniform"): _zero("pose.statistics.weigh."),
    ("β of the depth head (5)", "uniform"): _zero("depth.context.weigh."),
}


class OneSigma(nn.Module):
    """A predictor's entries with one standard deviation (E,) for everybody."""

    def __init__(self, predictor: nn.Module, sigma: Tensor) -> None:
        super().__init__()
        self._predictor, self._sigma = predictor, sigma

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        entries, sigma = self._predictor(features)
        return entries, self._sigma.expand_as(sigma)


class NoRefinement(Refiner):
    """Leaves the labels as they were predicted."""

    def refine(
        self,
        entries: FloatArray,
        sigma: FloatArray,
        targets: Targets,
        correction: FloatArray | None = None,
    ) -> FloatArray:
        return entries


@dataclass(frozen=True, eq=False)
class Row:
    """One person.

    Args:
        figures: by bypass and name.
        confidence, right: (L,) of the limbs: probability that a keypoint is right, and the share that is; NaN if none
            is labelled.
    """

    figures: Mapping[tuple[Bypass, str], float]
    confidence: Float64Array
    right: Float64Array


class Senders:
    """The sender whole, and with each bypass.

    Args:
        batch: people whose mean σ² is everybody's where it is one.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    @torch.inference_mode()
    def __init__(self, batch: Batch) -> None:
        self._space, self._kinematics = LabelSpace.load(), KeypointKinematics(BodyModel.load())
        self._verifier, self._confidence = Verifier.load(), KeypointConfidence.load()
        self._perceptions = {WHOLE: Perception(Perception.load().net)}
        for bypass, change in PERCEPTION.items():
            net = Perception.load().net
            change(net)
            self._perceptions[bypass] = Perception(net)
        refiner, predictor, camera = Refiner.load(), PoseHead.load(), Camera(1, 1, 1.0)
        whole = _posed(predictor, refiner)
        everybody = self._perceptions[WHOLE].observe(list(batch["image"])).split()
        found = [
            whole.alone([ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, 1), each)], camera) for each in everybody
        ]
        sigma = torch.from_numpy(np.sqrt(np.square(np.concatenate([each.sigma for each in found])).mean(axis=0)))
        self._estimators: dict[Bypass, BodyEstimator] = {
            WHOLE: whole,
            ("pose head's σ", "one for everybody"): _posed(OneSigma(predictor, sigma), refiner),
            ("refinement", "off"): _posed(predictor, NoRefinement.load()),
        }

    def rendered(self, batch: Batch) -> list[Row]:
        """People of crops: joints and perception's own maps against the truth."""
        outputs = {bypass: net.observe(list(batch["image"])) for bypass, net in self._perceptions.items()}
        maps = {bypass: head_scores(output, batch) for bypass, output in outputs.items()}
        return [self._rendered_person(batch, row, outputs, maps) for row in range(len(batch["image"]))]

    def _rendered_person(
        self,
        batch: Batch,
        row: int,
        outputs: Mapping[Bypass, PerceptionOutput],
        maps: Mapping[Bypass, list[dict[str, float]]],
    ) -> Row:
        size, true = len(batch["image"][row]), centred(batch["joints_3d"][row])
        camera, figures = crops.camera_of(float(batch["focal"][row]), size), dict[tuple[Bypass, str], float]()
        people = {
            bypass: ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, size), output[row : row + 1])
            for bypass, output in outputs.items()
        }
        found = self._bodies(people, camera)
        for bypass, bodies in found.items():
            joints = self._joints(bodies)
            figures[bypass, "joints, mm"] = measures.mean_distance_mm(joints, true)
            aligned = measures.procrustes(joints, true)
            figures[bypass, "aligned joints, mm"] = measures.mean_distance_mm(aligned, true)
            hidden = np.asarray(batch["visible"][row]) == 0
            figures[bypass, "hidden joints, mm"] = (
                measures.mean_distance_mm(joints[hidden], true[hidden]) if hidden.any() else float("nan")
            )
        for bypass, rows in maps.items():
            figures[bypass, "depth map, mm"] = rows[row]["depth_mm"]
            figures[bypass, "mask, 1 − IoU"] = 1 - rows[row]["mask_iou"]
        right = np.linalg.norm(self._joints(found[WHOLE]) - true, axis=1) < _RIGHT_M
        return self._row(figures, people[WHOLE], found[WHOLE], right, np.ones(len(right)))

    def photographed(self, item: Photograph) -> list[Row]:
        """People of a photograph in their annotated boxes: keypoints of the bodies that the labels say."""
        labelled = (item.keypoints[..., 2] > 0).sum(axis=1) >= _LEAST_LABELLED
        return [self._photographed_person(item, int(person)) for person in np.flatnonzero(labelled)]

    def _photographed_person(self, item: Photograph, person: int) -> Row:
        height, width = item.image.shape[:2]
        camera = Camera(width, height, guessed_focal_px(width, height))
        annotated, people = item.keypoints[person], dict[Bypass, ObservedPerson]()
        for bypass, net in self._perceptions.items():
            seen = predict_in_boxes(net, item.image, [item.boxes[person]])
            score = float(self._verifier.presence(seen.output, TRACKED_PRIOR)[0])
            people[bypass] = ObservedPerson(TrackedPerson(0), score, seen.crops[0], seen.output)
        found, labelled = self._bodies(people, camera), annotated[:, 2] > 0
        side = max(float(np.ptp(annotated[labelled, :2], axis=0).max()), 1.0)
        figures = dict[tuple[Bypass, str], float]()
        near = {
            bypass: np.linalg.norm(bodies.keypoints[0] - annotated[:, :2], axis=1) <= RIGHT_WITHIN * side
            for bypass, bodies in found.items()
        }
        for bypass, right in near.items():
            figures[bypass, "keypoints beyond 0.1, share"] = float((~right)[labelled].mean())
        return self._row(figures, people[WHOLE], found[WHOLE], near[WHOLE], labelled.astype(float))

    @torch.inference_mode()
    def _bodies(self, people: Mapping[Bypass, ObservedPerson], camera: Camera) -> dict[Bypass, Bodies]:
        """Of each bypassed perception with the whole semantics, and of the whole one with each bypassed semantics."""
        whole = self._estimators[WHOLE]
        found = {bypass: whole.alone([person], camera) for bypass, person in people.items()}
        others = ((bypass, each) for bypass, each in self._estimators.items() if bypass != WHOLE)
        return found | {bypass: each.alone([people[WHOLE]], camera) for bypass, each in others}

    @torch.inference_mode()
    def _joints(self, bodies: Bodies) -> Float64Array:
        labels = functional.pad(torch.from_numpy(bodies.entries), (0, LABEL_SIZE - bodies.entries.shape[1]))
        return centred(self._kinematics(self._space.decode(labels))[0][0].numpy())

    def _row(
        self,
        figures: Mapping[tuple[Bypass, str], float],
        person: ObservedPerson,
        bodies: Bodies,
        right: BoolArray,
        counted: FloatArray | Float64Array,
    ) -> Row:
        """A row with the limbs' confidence, and the share of each limb's labelled keypoints that is right."""
        stated = self._confidence.limbs(evidence([person], bodies.keypoints, bodies.sigma))[0]
        shares = [
            float((right * counted)[list(points)].sum() / counted[list(points)].sum())
            if counted[list(points)].any()
            else float("nan")
            for points in LIMBS.values()
        ]
        return Row(figures, np.array([stated[limb] for limb in LIMBS]), np.array(shares))


def _posed(network: nn.Module, refiner: Refiner) -> BodyEstimator:
    fits = CropFits(FitterOnHost(NetworkInUse(network.eval(), "float32", CPU), refiner))
    return BodyEstimator(fits, 0.0, Lifter.load())


@dataclass(frozen=True)
class Removal:
    """A figure with a part and with its bypass: means over the same people, and the paired difference."""

    people: int
    whole: float
    bypassed: float
    difference: float
    standard_error: float

    @classmethod
    def of(cls, whole: Sequence[float], bypassed: Sequence[float]) -> "Removal | None":
        """None if there is nobody of whom both are known."""
        pairs = np.array([whole, bypassed], np.float64)
        pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
        if pairs.shape[1] < 2:
            return None
        change = pairs[1] - pairs[0]
        means = pairs.mean(axis=1)
        return cls(len(change), float(means[0]), float(means[1]), float(change.mean()), measures.standard_error(change))

    @property
    def verdict(self) -> str:
        if abs(self.difference) <= 2 * self.standard_error:
            return "shows nothing"
        return "worse without" if self.difference > 0 else "better without"


Removals = dict[tuple[Bypass, str], Removal]


def of_senders(rows: Sequence[Row], people: str) -> Removals:
    """Perception, semantics and confidence."""
    found: Removals = {}
    for bypass, name in dict.fromkeys(key for row in rows for key in row.figures):
        if bypass == WHOLE:
            continue
        pair = ([row.figures[which, name] for row in rows] for which in (WHOLE, bypass))
        _add(found, (bypass, f"{name}, {people}"), *pair)
    stated, right = (np.stack([getattr(row, name) for row in rows]) for name in ("confidence", "right"))
    brier = [
        np.nanmean(np.square(each - right), axis=1).tolist() for each in (stated, stated.mean(axis=0, keepdims=True))
    ]
    _add(found, (("confidence of limbs", "its mean"), f"Brier score, {people}"), *brier)
    return found


def _add(found: Removals, key: tuple[Bypass, str], whole: Sequence[float], bypassed: Sequence[float]) -> None:
    removal = Removal.of(whole, bypassed)
    # What a bypass cannot change at all is no figure of it.
    if removal and (removal.difference or removal.standard_error):
        found[key] = removal


def removal_table(removals: Removals) -> str:
    rows = [["part", "in its place", "figure", "people", "whole", "bypassed", "difference", ""]]
    for ((part, instead), figure), each in removals.items():
        digits = 3 if max(each.whole, each.bypassed) < 1 else 2
        means = [f"{value:.{digits}f}" for value in (each.whole, each.bypassed)]
        difference = f"{each.difference:+.{digits}f} ± {each.standard_error:.{digits}f}"
        rows.append([part, instead, figure, str(each.people), *means, difference, each.verdict])
    return report.markdown(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("removals", __doc__, 7)
    report.add_amount(parser, "--count", "rendered people", 240, 24, report.at_least(_CHUNK))
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="folder with images and keypoints")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    dataset = CropDataset([crops.crop_set(options.count, options.seed, CropSender().size, DRESSED.name)], "test")
    senders, rows = Senders(dataset.batch(range(_CHUNK))), list[Row]()
    for start in range(0, options.count, _CHUNK):
        rows += senders.rendered(dataset.batch(range(start, min(start + _CHUNK, options.count))))
        report.progress(f"{len(rows)} rendered people")
    removals = of_senders(rows, "rendered")
    if options.photographs:
        chosen = held_out([path.name for path in (options.photographs / "images").iterdir()])
        kept = (item for item in read_people(options.photographs) if item.name in chosen)
        seen = [
            each
            for item in islice(kept, _QUICK_PHOTOGRAPHS if options.quick else None)
            for each in senders.photographed(item)
        ]
        report.progress(f"{len(seen)} people of photographs")
        removals |= of_senders(seen, "photographs")
    ordered = dict(sorted(removals.items()))
    print(f"{options.count} dressed test people (seed {options.seed}), {report.machine_line()}\n")
    print(removal_table(ordered))
    systems = {
        f"{part}: {instead}, {figure}": vars(each) | {"shows": each.verdict}
        for ((part, instead), figure), each in ordered.items()
    }
    report.write_json(options, systems, people=options.count)


if __name__ == "__main__":
    sys.exit(main())
