"""Error of what is shown when label groups do not arrive: `python -m tests.bench.loss`.

Clips go through the codec at ρ = 0.2, 30 frames a second, acknowledgements two frames late; of each frame the sender
leaves groups out.  The packets are the same for all fallbacks of the receiver:

    mean       a group that a frame lacks is the mean of all people
    hold       its last value
    codec      the codec's own extrapolation, which both ends compute
    estimate   the receiver's: from the groups that arrived, and from the past (`receiver.concealment`), and steadied

    random     each group of each frame is lost with this probability, behind the first three frames
    bursts     one limb is lost for ten frames, every twenty frames another one
    suffix     the groups behind a random place in the vocabulary are lost, another place in each frame
    never      a group never arrives

`added` is the mean distance of the joints from those of the labels before the codec, `error` from the true ones, both
relative to the hips.  Sources: the test motions and the truth of the demo clip, whose labels are the truth, and the
demo clip as perceived.  --split val measures the motions of the validation split, on which constants are chosen.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.frames import PersonLabels
from common.labels import FAST_GROUPS, GROUP_NAMES, LABEL_SIZE, concatenate, group_slices, split
from common.synthetic.motion.motion_table import clips
from common.training.label_sequences import label_clip
from receiver.decode.session_decoder import decoders
from tests.bench import report
from tests.bench.measures import HIPS
from tests.bench.perceived import FrameSender, demo_frames
from tests.bench.rate import SEED, demo_truth
from tests.bench.rates import ACKNOWLEDGEMENT_LAG, as_frame

FALLBACKS: Final = ("mean", "hold", "codec", "estimate")
RHO: Final = dict.fromkeys(GROUP_NAMES, 0.2)
_MODEL_HASH: Final = bytes(8)
_WHOLE_FRAMES, _BURST_FRAMES, _BURST_PERIOD = 3, 10, 20
_SHARES: Final = (0.0, 0.1, 0.25, 0.5, 0.75)
_LIMBS: Final = ("left_arm", "right_arm", "left_leg", "right_leg")
_NEVER: Final = ("torso", "head", "left_arm", "left_leg", "root")
_QUICK_FRAMES: Final = 60
_HIPS: Final = list(HIPS)

Pattern = Callable[[int, np.random.Generator], BoolArray]
"""(T, groups) which groups arrive, for T frames."""


@dataclass(frozen=True)
class LossClip:
    """A clip of one person.

    Args:
        people: labels before the codec, of T frames.
        truth: (T, LABEL_SIZE) true labels.
    """

    people: tuple[PersonLabels, ...]
    truth: FloatArray


def random_groups(share: float) -> Pattern:
    """Each group of each frame is lost with this probability."""

    def arrives(frames: int, rng: np.random.Generator) -> BoolArray:
        kept = rng.random((frames, len(GROUP_NAMES))) >= share
        kept[:_WHOLE_FRAMES] = True
        return kept

    return arrives


def bursts(frames: int, rng: np.random.Generator) -> BoolArray:
    """One limb is lost for ten frames, then none for ten."""
    kept = np.ones((frames, len(GROUP_NAMES)), dtype=np.bool_)
    for start in range(_BURST_PERIOD - _BURST_FRAMES, frames, _BURST_PERIOD):
        kept[start : start + _BURST_FRAMES, GROUP_NAMES.index(_LIMBS[rng.integers(len(_LIMBS))])] = False
    return kept


def suffix(frames: int, rng: np.random.Generator) -> BoolArray:
    """The groups behind a random place in the vocabulary are lost."""
    places = rng.integers(0, len(GROUP_NAMES) + 1, size=(frames, 1))
    places[:_WHOLE_FRAMES] = len(GROUP_NAMES)
    return np.asarray(np.arange(len(GROUP_NAMES)) < places)


def never(name: str) -> Pattern:
    """One group never arrives."""

    def arrives(frames: int, _: np.random.Generator) -> BoolArray:
        return np.tile([group != name for group in GROUP_NAMES], (frames, 1))

    return arrives


def patterns() -> dict[str, Pattern]:
    """Name → pattern of losses."""
    return {
        **{f"random, {share:.0%}": random_groups(share) for share in _SHARES},
        "bursts": bursts,
        "suffix": suffix,
        **{f"never, {name}": never(name) for name in _NEVER},
    }


class Fallbacks:
    """All fallbacks behind the same packets."""

    def __init__(self) -> None:
        self._codec, self._estimating = FrameCodec(_MODEL_HASH), decoders(_MODEL_HASH)()
        self._held = np.zeros(LABEL_SIZE, np.float32)

    def show(self, payload: bytes, sequence: int) -> dict[str, FloatArray]:
        """Fallback → the labels (LABEL_SIZE,) that it shows of a frame."""
        decoded = self._codec.decode(payload, sequence)
        estimated = self._estimating.decode(payload, sequence)
        codec, arrived = _vector(decoded), decoded.rho_by_person[0]
        lost = np.zeros(LABEL_SIZE, dtype=np.bool_)
        for name in FAST_GROUPS:
            lost[group_slices()[name]] = name not in arrived
        self._held = np.where(lost, self._held, codec)
        return {
            "mean": np.where(lost, np.float32(0), codec),
            "hold": self._held,
            "codec": codec,
            "estimate": _vector(estimated),
        }


def _vector(decoded: DecodedFrame) -> FloatArray:
    return concatenate(decoded.frame.people[0].labels)


def shown_labels(clip: LossClip, kept: BoolArray) -> dict[str, FloatArray]:
    """Fallback → the labels (T, LABEL_SIZE) that it shows of a clip of which the groups `kept` (T, groups) are sent."""
    encoder, fallbacks = FrameCodec(_MODEL_HASH), Fallbacks()
    rows: dict[str, list[FloatArray]] = {name: [] for name in FALLBACKS}
    for number, person in enumerate(clip.people):
        sent = {name: person.labels[name] for name, keep in zip(GROUP_NAMES, kept[number], strict=True) if keep}
        encoder.acknowledge(number - ACKNOWLEDGEMENT_LAG)
        encoded = encoder.encode(as_frame(replace(person, identity=0, labels=sent), number), RHO)
        for name, labels in fallbacks.show(encoded.payload, number).items():
            rows[name].append(labels)
    return {name: np.stack(labels) for name, labels in rows.items()}


class Joints:
    """Joints of labels."""

    def __init__(self, space: LabelSpace) -> None:
        self._space, self._kinematics = space, KeypointKinematics(BodyModel.load())

    @torch.inference_mode()
    def of(self, labels: FloatArray) -> Float64Array:
        """(T, 17, 3) joints of labels (T, LABEL_SIZE) relative to the midpoint of the hips, metres."""
        keypoints, _ = self._kinematics(self._space.decode(torch.from_numpy(labels)))
        joints: Float64Array = keypoints.double().numpy()
        return np.asarray(joints - joints[:, _HIPS].mean(axis=1, keepdims=True))


def distances_mm(found: Float64Array, expected: Float64Array) -> Float64Array:
    """(T,) mean distance of the joints (T, 17, 3)."""
    return np.asarray(1000 * np.linalg.norm(found - expected, axis=-1).mean(axis=1))


def measure(clip_group: Sequence[LossClip], pattern: Pattern, joints: Joints, seed: int) -> dict[str, float]:
    """Mean figures over all frames of a group of clips."""
    columns: dict[str, list[Float64Array]] = {}
    for number, clip in enumerate(clip_group):
        kept = pattern(len(clip.people), np.random.default_rng([seed, number]))
        uncut = joints.of(np.stack([concatenate(person.labels) for person in clip.people]))
        truth = joints.of(clip.truth)
        for name, labels in shown_labels(clip, kept).items():
            found = joints.of(labels)
            columns.setdefault(f"{name}_added_mm", []).append(distances_mm(found, uncut))
            columns.setdefault(f"{name}_error_mm", []).append(distances_mm(found, truth))
    return {name: float(np.concatenate(parts).mean()) for name, parts in columns.items()}


def motion_clips(space: LabelSpace, split_name: str, seed: int, frames: int | None) -> list[LossClip]:
    """The captured motions of a split, each with another body, without noise."""
    found = []
    for number, clip in enumerate(clips("val" if split_name == "val" else "test")):
        labels = label_clip(space, clip, 0.0, np.random.default_rng([seed, number]))[:frames]
        found.append(LossClip(tuple(PersonLabels(0, 1.0, split(row)) for row in labels), labels))
    return found


def demo_clips(space: LabelSpace, seed: int, frames: int | None) -> dict[str, list[LossClip]]:
    """The demo clip: its truth, and as the sender perceives it, without the frames in which it finds nobody."""
    true_people = demo_truth(space, seed).people[:frames]
    truth = np.stack([concatenate(person.labels) for person in true_people])
    sender = FrameSender()
    seen = [(number, sender.label(frame).people) for number, frame in enumerate(demo_frames(frames))]
    rows = [number for number, people in seen if people]
    perceived = tuple(people[0] for _, people in seen if people)
    return {"demo": [LossClip(true_people, truth)], "demo, perceived": [LossClip(perceived, truth[rows])]}


def groups(options_split: str, seed: int, frames: int | None) -> Mapping[str, list[LossClip]]:
    """Source → clips."""
    space = LabelSpace.load()
    motions = {f"{options_split} motions": motion_clips(space, options_split, seed, frames)}
    return motions if options_split == "val" else {**motions, **demo_clips(space, seed, frames)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("loss", "Measure what is shown of frames that lack label groups.", SEED)
    parser.add_argument("--split", choices=("val", "test"), default="test", help="of the motions (default: test)")
    options = parser.parse_args(arguments)

    def work() -> None:
        joints = Joints(LabelSpace.load())
        systems: dict[str, dict[str, float]] = {}
        print(f"30 frames a second, ρ = 0.2, seed {options.seed}, {report.machine_line()}")
        for source, clip_group in groups(options.split, options.seed, _QUICK_FRAMES if options.quick else None).items():
            found = {}
            for name, pattern in patterns().items():
                found[name] = measure(clip_group, pattern, joints, options.seed)
                report.progress(f"{source}, {name}: {found[name]}")
            keys = [f"{name}_added_mm" for name in FALLBACKS]
            if "perceived" in source:
                keys += [f"{name}_error_mm" for name in FALLBACKS]
            frames = sum(len(clip.people) for clip in clip_group)
            print(f"\n{source}: {frames} frames\n\n{report.table(found, keys)}", flush=True)
            systems |= {f"{source}: {name}": figures for name, figures in found.items()}
        report.write_json(options.json, "loss", options.seed, systems)

    return report.run("loss", work)


if __name__ == "__main__":
    sys.exit(main())
