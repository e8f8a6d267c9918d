"""Legs that nobody sees: `python -m tests.bench.hidden --windows WINDOWS`.

Poses of the test split (`common.synthetic.motion.windows`), of kinds of motion in the shares of the training.  What is
said of them has a sender's errors, also of their unseen legs, as they were measured on rendered people.

    frechet             between the positions of the joints (17, heading removed) of given and true people, metres²
    nearest_ratio       mean distance of legs from the nearest ones of the training split, over that of true legs
    best_of_five_ratio  distance from the true legs of the nearest of five people, over that of what was sent
    seated_right        whether the thighs are bent as one who sits, where the truth sits, stands or strides
    knees_mm, ankles_mm distance from the true ones

The systems: the mean of all poses; the mean that was sent; samples of the mixture, and of the diffusions behind it.

With `--webcam FOLDER` also the movement of unseen knees and ankles in real clips, millimetres a frame.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray, IntArray
from common.body.anatomy import JOINT_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, KeypointKinematics
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import LIMBS, concatenate, group_slices, split
from common.synthetic.dataset.split import Split
from common.synthetic.motion.reference_skeleton import forward_kinematics
from common.synthetic.motion.windows import MotionWindows, open_windows
from receiver.motion.legs import LEGS
from receiver.motion.mixture import DOWN_SIGMA, GUESSED, MODES, SENT
from receiver.train.poses import FPS, Poses, modes_of
from sender.capture.video import VideoFileSource
from sender.perception.config import TrackerConfig
from tests.bench import report
from tests.bench.perceived import FrameSender
from tests.support.motion.limbs_alone import LimbsAlone

_SAMPLES = 5
_STRIDE = 10
_FPS = 30
_CAMERA = Camera(640, 480, 700.0)
_LEG_JOINTS = [JOINT_INDEX[f"{stem}.{side}"] for stem in ("lowerleg01", "foot") for side in "LR"]
_COMPARED = [index for name, index in JOINT_INDEX.items() if not name.startswith(("wrist", "head", "spine0"))]
_BENT = [MODES.index("sit"), MODES.index("crouch")]
_UPRIGHT = [MODES.index(name) for name in ("stand", "stride", "sit")]
_SLICES = group_slices()
Figures = dict[str, float]


class People:
    """Poses of a split, and what a sender without sight of their legs says of them.

    Args:
        count: how many are drawn; None takes all of the split, once.
    """

    def __init__(self, windows: MotionWindows, name: Split, count: int | None, rng: np.random.Generator) -> None:
        self.poses = Poses(windows, name, _STRIDE)
        rows = np.arange(len(self.poses.x))
        if count is not None:
            rows = rng.choice(len(rows), count, p=self.poses.weights / self.poses.weights.sum())
        self.modes = self.poses.modes[rows]
        self._bodies = self.poses.parameters[torch.from_numpy(rows)]
        vectors = Rotation.from_matrix(self._bodies.rotations[:, 0].double().numpy())
        forward = vectors.apply([0.0, 0.0, -1.0])
        self.heading = Rotation.from_rotvec(np.arctan2(-forward[:, 0], -forward[:, 2])[:, None] * [0.0, 1.0, 0.0])
        self.upright = self.heading.inv() * vectors
        self.joints = joints_of(self._bodies.rotations, self.upright)

    def sent_labels(self, space: LabelSpace, rng: np.random.Generator) -> FloatArray:
        """(N, LABEL_SIZE) as they arrive."""
        count = len(self.modes)
        tilt = rng.normal(size=(count, 3)) * [DOWN_SIGMA[2], 0.0, DOWN_SIGMA[0]]
        orientation = (self.upright * Rotation.from_rotvec(tilt)).as_matrix()
        rotations = self._bodies.rotations.clone()
        rotations[:, 0] = torch.from_numpy(orientation)
        place = torch.tensor([0.0, 0.0, 3.0]).expand(count, 3)
        bodies = BodyParameters(rotations, self._bodies.curl, torch.zeros(count, 10), place)
        labels = space.encode(bodies).double().numpy()
        for name in SENT:
            labels[:, _SLICES[name]] = sent(labels[:, _SLICES[name]], *(GUESSED if name in LEGS else SENT)[name], rng)
        labels[:, _SLICES["hands"]] = 0
        return labels.astype(np.float32)


def sent(
    true: Float64Array, shift: Sequence[float], share: Sequence[float], sigma: Sequence[float], rng: np.random.Generator
) -> Float64Array:
    """(N, E) what a sender says of the leading entries; of the others it says their mean."""
    labels = np.zeros_like(true)
    count = len(shift)
    noise = rng.normal(size=(len(true), count)) * sigma
    labels[:, :count] = shift + share * (true[:, :count] + noise)
    return labels


def joints_of(rotations: torch.Tensor, orientation: Rotation) -> FloatArray:
    """(N, 22, 3) joints around the pelvis, of people with these orientations."""
    turned = rotations.double().numpy().copy()
    turned[:, 0] = orientation.as_matrix()
    return np.asarray(forward_kinematics(turned)[0], np.float32)


def person_of(labels: FloatArray, identity: int) -> PersonLabels:
    confidence = {limb: 0.0 if limb in LEGS else 0.8 for limb in LIMBS}
    return PersonLabels(identity, 1.0, split(labels), confidence=confidence)


def generated(labels: FloatArray, identity: int, diffusion: str | None = "learned") -> FloatArray:
    """(N, LABEL_SIZE) with generated legs; each person is the first one of a picture."""
    frames = (
        LabelFrame(row, f"{row}.jpg", 0.0, _CAMERA, (person_of(each, (identity + row) % 256),))
        for row, each in enumerate(labels)
    )
    return np.stack([concatenate(LimbsAlone(diffusion).complete(frame).people[0].labels) for frame in frames])


def completed(space: LabelSpace, people: People, labels: FloatArray) -> FloatArray:
    """(N, 22, 3) joints of the true people with the legs that labels (N, LABEL_SIZE) show."""
    shown = space.decode(torch.from_numpy(labels)).rotations
    orientation = Rotation.from_matrix(shown[:, 0].double().numpy())
    joints = people.joints.copy()
    legs = [index for name, index in JOINT_INDEX.items() if name.startswith(("lowerleg", "foot"))]
    joints[:, legs] = joints_of(shown, orientation)[:, legs]
    return joints


def frechet(first: FloatArray, second: FloatArray) -> float:
    """Fréchet distance, metres², between the normal distributions of joints (N, J, 3)."""
    rows = [each[:, _COMPARED].reshape(len(each), -1).astype(np.float64) for each in (first, second)]
    means, covariances = [row.mean(0) for row in rows], [np.cov(row.T) for row in rows]
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0))
    return float(np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1]) - 2 * roots.sum())


def leg_errors(found: FloatArray, true: FloatArray, joints: list[int] = _LEG_JOINTS) -> FloatArray:
    """(N,) metres."""
    return np.asarray(np.linalg.norm(found[:, joints] - true[:, joints], axis=2).mean(1))


def nearest(tree: cKDTree, joints: FloatArray) -> float:
    """Mean distance of legs from the nearest ones in the tree, metres a joint."""
    distance, _ = tree.query(joints[:, _LEG_JOINTS].reshape(len(joints), -1))
    return float(np.mean(distance) / np.sqrt(len(_LEG_JOINTS)))


def figures(samples: Sequence[FloatArray], people: People, tree: cKDTree, today: float, rest: IntArray) -> Figures:
    """Those of one system.

    Args:
        samples: joints (N, 22, 3) of each try.
        today: mean error of the legs that were sent, metres.
        rest: (N,) the modes of the truth.
    """
    first = samples[0]
    errors = np.stack([leg_errors(each, people.joints) for each in samples])
    bent = np.isin(modes_of(first, np.ones(len(first), bool)), _BENT)
    clear = np.isin(rest, _UPRIGHT)
    return {
        "frechet": frechet(first, people.joints),
        "nearest_ratio": nearest(tree, first) / nearest(tree, people.joints),
        "best_of_five_ratio": float(errors.min(0).mean()) / today,
        "seated_right": float((bent == (rest == MODES.index("sit")))[clear].mean()),
        "knees_mm": 1000 * float(leg_errors(first, people.joints, _LEG_JOINTS[:2]).mean()),
        "ankles_mm": 1000 * float(leg_errors(first, people.joints, _LEG_JOINTS[2:]).mean()),
    }


def poses_table(windows: MotionWindows, count: int, seed: int) -> dict[str, Figures]:
    rng, space = np.random.default_rng(seed), LabelSpace.load()
    people, known = People(windows, "test", count, rng), People(windows, "train", None, rng)
    tree = cKDTree(known.joints[:, _LEG_JOINTS].reshape(len(known.joints), -1))
    labels = people.sent_labels(space, rng)
    mean = labels.copy()
    for name in LEGS:
        mean[:, _SLICES[name]] = 0
    shown = partial(completed, space, people)
    today = float(leg_errors(shown(labels), people.joints).mean())
    systems: dict[str, Callable[[int], FloatArray]] = {
        "mean pose": lambda _: mean,
        "sent mean": lambda _: labels,
        "mixture": lambda sample: generated(labels, 50 * sample, None),
        "mixture, (26) and (27)": lambda sample: generated(labels, 50 * sample, "paper"),
        "mixture, diffusion": lambda sample: generated(labels, 50 * sample),
    }
    return {
        name: figures([shown(system(sample)) for sample in range(_SAMPLES)], people, tree, today, people.modes)
        for name, system in systems.items()
    }


def movement(folder: Path) -> dict[str, Figures]:
    """Median over clips of the mean movement of hips, knees and ankles, as sent and with generated legs."""
    sender, space = FrameSender(TrackerConfig(max_people=1)), LabelSpace.load()
    kinematics = KeypointKinematics(BodyModel.load())
    rows: dict[str, list[FloatArray]] = {"sent mean": [], "mixture, diffusion": []}
    for path in sorted(folder.glob("*.mkv")):
        limbs = LimbsAlone()
        with VideoFileSource(path) as source:
            frames = [sender.label(frame) for frame in source]
        frames = [_without_legs(frame, index / _FPS) for index, frame in enumerate(frames)]
        for name, shown in (("sent mean", frames), ("mixture, diffusion", [limbs.complete(frame) for frame in frames])):
            labels = np.stack([concatenate(frame.people[0].labels) for frame in shown if frame.people])
            joints = kinematics(space.decode(torch.from_numpy(labels)))[0].numpy()
            rows[name].append(np.linalg.norm(np.diff(joints[:, 11:], axis=0), axis=2).mean(0))
    medians = {name: np.median(each, axis=0).reshape(-1, 2).mean(1) for name, each in rows.items()}
    parts = {"hips": -3, "knees": -2, "ankles": -1}
    return {
        name: {f"{part}_moved_mm": 1000 * float(median[place]) for part, place in parts.items()}
        for name, median in medians.items()
    }


def _without_legs(frame: LabelFrame, now_s: float) -> LabelFrame:
    confidence = dict.fromkeys(LEGS, 0.0)
    people = (replace(person, confidence={**person.confidence, **confidence}) for person in frame.people)
    return replace(frame, captured_at=now_s, people=tuple(people))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("hidden", __doc__, 7)
    parser.add_argument("--windows", type=Path, required=True, help="folder of common.synthetic.motion.windows")
    parser.add_argument("--webcam", type=Path, help="folder of clips, .mkv")
    report.add_amount(parser, "--poses", "number of test poses", 3000, 1000, report.at_least(200))
    return report.run(parser, _work, arguments)


@torch.inference_mode()
def _work(options: argparse.Namespace) -> None:
    systems = poses_table(open_windows(options.windows, FPS), options.poses, options.seed)
    for name, each in (movement(options.webcam) if options.webcam else {}).items():
        systems[name] |= each
    report.publish(options, systems, "legs that nobody sees")


if __name__ == "__main__":
    sys.exit(main())
