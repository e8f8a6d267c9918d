"""Bytes per frame and the error that compression adds: `python -m tests.bench.rate`.

Clips of motion at 30 frames a second are encoded and decoded with prediction; acknowledgements are two frames late.
Errors are relative to the same labels without compression:

    codec            ρ of default rate control on an idle link
    codec, ρ = …     the same ρ for every group: the rate-distortion curve
    codec, f = …     ρ by importance (17) at a link stress f
    raw_16, raw_8    labels as numbers of 16 or 8 bits: fast groups with every frame, slow groups (shape, appearance)
                     with the first frame and when they change, by the codec's rule; without a header: sequence, time,
                     camera, identities, confidences and checksums

Sources: the truth of the demo clip, the clips of the test split, and the demo clip as perceived, with the noise of
perception.  Bytes are those of the codec's packets alone.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix
from common.codec.tables import UNIT
from common.codec.tables import load as load_tables
from common.errors import SourceError
from common.frames import PersonLabels
from common.labels import FAST_GROUPS, GROUP_NAMES, LABEL_SIZE, concatenate, group_slices, split
from common.synthetic.motion.poses import Clip, clips
from common.weights.manifest import model_hash
from receiver.body.skinning import BodySkin
from sender.capture.open import DEMO_CLIP
from sender.importance import Importance
from sender.rate.policy import rho_by_group
from tests.bench import report
from tests.bench.bytes.rates import CodecPair, Rho, as_frame, unconstrained_rho
from tests.bench.measures import Surface, centred, mean_distance_mm, percentile, surface_distances
from tests.bench.perceived import FrameSender, demo_frames

SEED = 20_000_100
RHO_LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
F_LEVELS = (0.5, 1.0, 1.5)
QUICK_FRAMES = 60
# Distortion is measured on one frame of so many.
_FRAME_STRIDE = 10
CURL = (0.35, 0.2, 0.35, 0.2)
CAMERA_HEIGHT_M, DISTANCE_M = 1.25, 3.5
# Fixed-point numbers cover ±5 σ; larger labels are clipped.
_RAW_RANGE = 5.0
# Slow groups as raw numbers: resent at most so often, and when an entry has changed by so many steps.
_SLOW_PERIOD_FRAMES = 8
_SLOW_CHANGE_STEPS = 2.0

SLOW_GROUPS = tuple(name for name in GROUP_NAMES if name not in FAST_GROUPS)

Figures = dict[str, float]


@dataclass(frozen=True)
class LabelClip:
    """A clip as uncompressed labels: one person, frame by frame."""

    name: str
    people: tuple[PersonLabels, ...]


@dataclass(frozen=True)
class Sent:
    """Bytes of one frame's packet, and the labels (LABEL_SIZE,) that the receiver has after it."""

    size: int
    labels: FloatArray
    by_group: Mapping[str, float]
    bits_ideal: float = 0.0
    bits_coded: int = 0


def demo_truth(space: LabelSpace, seed: int) -> LabelClip:
    """The truth of the demo clip. Raises SourceError if it is missing or damaged."""
    return _label_clip(space, "demo", demo_bodies(), seed)


def demo_bodies() -> BodyParameters:
    """The true bodies of the demo clip's frames. Raises SourceError if they are missing or damaged."""
    path = DEMO_CLIP.with_suffix(".truth.npz")
    try:
        with np.load(path) as truth:
            return _bodies(*(truth[name] for name in ("rotation_vectors", "translation", "curl", "shape")))
    except (OSError, KeyError, ValueError) as error:
        raise SourceError(f"{path} is missing or damaged: check it out again") from error


def test_clips(space: LabelSpace, seed: int) -> list[LabelClip]:
    """The motions of the test split, each with another body shape and other colours."""
    made = []
    for number, clip in enumerate(clips("test")):
        shape = np.random.default_rng([seed, number]).normal(size=10).astype(np.float32)
        curl = np.array(CURL, np.float32)
        bodies = _bodies(clip.rotation_vectors, _placed(clip), curl, shape)
        made.append(_label_clip(space, clip.name, bodies, seed + number))
    return made


def _placed(clip: Clip) -> FloatArray:
    """(T, 3) the pelvis in front of a camera at the height of a standing person's chest, metres."""
    middle = clip.root_translation.mean(0) * np.array([1, 0, 1])
    return np.asarray(clip.root_translation - middle + [0, CAMERA_HEIGHT_M, DISTANCE_M], np.float32)


def _bodies(turns: FloatArray, translation: FloatArray, curl: FloatArray, shape: FloatArray) -> BodyParameters:
    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(turns, np.float32)))
    hands, figure = (torch.from_numpy(np.asarray(row, np.float32)).expand(len(turns), -1) for row in (curl, shape))
    return BodyParameters(rotations, hands, figure, torch.from_numpy(np.asarray(translation, np.float32)))


def _label_clip(space: LabelSpace, name: str, bodies: BodyParameters, seed: int) -> LabelClip:
    labels = space.encode(bodies).numpy()
    labels[:, group_slices()["appearance"]] = np.random.default_rng([seed, 1]).normal(size=24)
    return LabelClip(name, tuple(PersonLabels(0, 1.0, split(row)) for row in labels))


def perceived_demo(limit: int | None) -> LabelClip:
    """The demo clip as the sender perceives it, without frames in which it finds no person."""
    sender = FrameSender()
    labelled = map(sender.label, demo_frames(limit))
    return LabelClip("demo, perceived", tuple(frame.people[0] for frame in labelled if frame.people))


def through_codec(clip: LabelClip, rho: Rho, networks: bytes) -> Iterator[Sent]:
    """Each frame of a clip after the codec."""
    pair = CodecPair(networks)
    for number, person in enumerate(clip.people):
        passed = pair.send(as_frame(person, number), rho)
        encoded = passed.encoded
        labels = concatenate(passed.frame.people[0].labels)
        yield Sent(len(encoded.payload), labels, encoded.bytes_by_group, encoded.bits_ideal, encoded.bits_coded)


def raw(clip: LabelClip, bits: int) -> Iterator[Sent]:
    """Labels as numbers of 8 or 16 bits: fast groups with every frame, slow groups when they change."""
    step = _RAW_RANGE / (2 ** (bits - 1) - 1)
    slow = SlowGroups(step)
    received = np.zeros(LABEL_SIZE, np.float32)
    for number, person in enumerate(clip.people):
        vector = np.clip(concatenate(person.labels), -_RAW_RANGE, _RAW_RANGE)
        numbers = np.rint(vector / step).astype(f"int{bits}")
        resent = slow.due(number, vector, received)
        payload = bytes([sum(1 << SLOW_GROUPS.index(group) for group in resent)])
        for group in (*FAST_GROUPS, *resent):
            where = group_slices()[group]
            received[where] = numbers[where] * step
            payload += numbers[where].tobytes()
        yield Sent(len(payload), received.copy(), {})


class SlowGroups:
    """Decides when raw numbers repeat a slow group, by the codec's rule.

    Args:
        step: of the numbers, in σ; where the codec's finest step is coarser, that one counts.
    """

    def __init__(self, step: float) -> None:
        self._limit = _SLOW_CHANGE_STEPS * np.maximum(load_tables().base_step / UNIT, step)
        self._sent_at: dict[str, int] = {}

    def due(self, number: int, labels: FloatArray, received: FloatArray) -> list[str]:
        """The groups to send with frame `number`, given its labels and what the receiver has (LABEL_SIZE,)."""
        changed = np.abs(labels - received) > self._limit
        groups = []
        for group in SLOW_GROUPS:
            last = self._sent_at.get(group)
            rested = last is not None and number - last >= _SLOW_PERIOD_FRAMES
            if last is None or (rested and changed[group_slices()[group]].any()):
                self._sent_at[group] = number
                groups.append(group)
        return groups


class Distortion:
    """The effect of changed labels on the body."""

    def __init__(self, space: LabelSpace) -> None:
        self._space, self._body = space, BodyModel.load()
        self._skin = BodySkin.from_model(self._body)

    def figures(self, sent: Sequence[Sent], clip: LabelClip) -> Figures:
        """Mean errors over every tenth frame: joints and surface relative to the hips, and the pelvis' position."""
        chosen = range(0, len(sent), _FRAME_STRIDE)
        before = self._pose(np.stack([concatenate(clip.people[number].labels) for number in chosen]))
        after = self._pose(np.stack([sent[number].labels for number in chosen]))
        rows = [self._compare(*pair) for pair in zip(before, after, strict=True)]
        return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

    @torch.inference_mode()
    def _pose(self, labels: FloatArray) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """Keypoints, skin and pelvis position of each row of labels."""
        posed = []
        for part in torch.from_numpy(labels).split(16):
            parameters = self._space.decode(part)
            vertices = self._body(parameters).vertices
            joints, skin = self._body.coco_keypoints(vertices).numpy(), vertices[:, self._skin.template.kept].numpy()
            posed += list(zip(joints, skin, parameters.translation.numpy(), strict=True))
        return posed

    def _compare(
        self, before: tuple[FloatArray, FloatArray, FloatArray], after: tuple[FloatArray, FloatArray, FloatArray]
    ) -> Figures:
        found, truth = (
            Surface(centred(joints, skin), self._skin.template.faces) for joints, skin, _ in (after, before)
        )
        return {
            "added_joint_error_mm": mean_distance_mm(centred(after[0]), centred(before[0])),
            "added_chamfer_mm": surface_distances(found, truth, samples=1000)["chamfer_mm"],
            "added_place_error_mm": mean_distance_mm(after[2], before[2]),
        }


def codec_settings(importance: Importance, clip: LabelClip, quick: bool) -> dict[str, Rho]:
    """System → its ρ by group."""
    settings: dict[str, Rho] = {"codec": unconstrained_rho(importance, clip.people[0])}
    for level in RHO_LEVELS[1::2] if quick else RHO_LEVELS:
        settings[f"codec, ρ = {level:g}"] = dict.fromkeys(GROUP_NAMES, level)
    for f in F_LEVELS[1:2] if quick else F_LEVELS:
        settings[f"codec, f = {f:g}"] = rho_by_group(importance.weights(clip.people[0]), f)
    return settings


def measure(
    group: Sequence[LabelClip], importance: Importance, networks: bytes, distortion: Distortion, quick: bool
) -> dict[str, Figures]:
    """System → figures over all frames of a group of clips."""
    systems: dict[str, Figures] = {}
    for name in codec_settings(importance, group[0], quick):
        runs = [list(through_codec(clip, codec_settings(importance, clip, quick)[name], networks)) for clip in group]
        systems[name] = _figures(runs, group, distortion)
    for bits in (16, 8):
        systems[f"raw_{bits}"] = _figures([list(raw(clip, bits)) for clip in group], group, distortion)
    return systems


def _figures(runs: Sequence[Sequence[Sent]], group: Sequence[LabelClip], distortion: Distortion) -> Figures:
    every = [sent for run in runs for sent in run]
    sizes = [sent.size for sent in every]
    losses = [distortion.figures(run, clip) for run, clip in zip(runs, group, strict=True)]
    frames = np.array([len(run) for run in runs])
    figures: Figures = {
        "payload_bytes_median": float(np.median(sizes)),
        "payload_bytes_p95": percentile(sizes, 95),
        "payload_bytes_mean": float(np.mean(sizes)),
        **{key: float(np.average([loss[key] for loss in losses], weights=frames)) for key in losses[0]},
    }
    ideal = sum(sent.bits_ideal for sent in every)
    if ideal:
        figures["coded_over_entropy"] = sum(sent.bits_coded for sent in every) / ideal
        for name in (*GROUP_NAMES, "header"):
            figures[f"{name}_bytes"] = float(np.mean([sent.by_group.get(name, 0.0) for sent in every]))
    return figures


_MAIN_KEYS = (
    "payload_bytes_median",
    "payload_bytes_p95",
    "header_bytes",
    "added_joint_error_mm",
    "added_chamfer_mm",
    "added_place_error_mm",
    "coded_over_entropy",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("rate", __doc__, SEED)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    frames = QUICK_FRAMES if options.quick else None
    space, importance, networks = LabelSpace.load(), Importance.load(), model_hash()
    groups = {
        "demo": [demo_truth(space, options.seed)],
        "test clips": test_clips(space, options.seed),
        "demo, perceived": [perceived_demo(frames)],
    }
    distortion = Distortion(space)
    systems: dict[str, Figures] = {}
    print(f"30 frames a second, seed {options.seed}, {report.machine_line()}")
    for name, group in groups.items():
        short = [LabelClip(clip.name, clip.people[:frames]) for clip in group]
        found = measure(short, importance, networks, distortion, options.quick)
        print(f"\n{name}: {sum(len(clip.people) for clip in short)} frames\n\n{report.table(found, _MAIN_KEYS)}")
        systems |= {f"{name}: {system}": figures for system, figures in found.items()}
    report.write_json(options, systems)


if __name__ == "__main__":
    sys.exit(main())
