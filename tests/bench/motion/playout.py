"""What is seen at the moment it is seen: `python -m tests.bench.playout --folder WINDOWS`.

Labels of motions that are known arrive at 30, 10, 5, 3, 2 and 1 a second, 60 ms after their capture and with
perception's noise (12 mm a coordinate of a joint). 60 times a second what is shown is compared with the truth of that
moment:

    error_mm      distance of the joints in the world, mean
    pose_mm       the same, relative to the pelvis
    frozen_share  of the pictures in which no joint has moved since the last one
    jerk          of the joints, divided by the truth's
    delay_ms      how long ago the moment that is shown was, as far as the receiver knows
    ms            of one core for a pose

Motions: the demo clip's, with that noise and as it is perceived and received, and with a folder of
`common.synthetic.motion.windows` at 60 Hz those of its test split.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.clock import Clock
from common.codec.frame_codec import MODEL_HASH_SIZE, FrameCodec
from common.codec.frame_state import DecodedFrame
from common.labels import LABEL_SIZE, concatenate
from common.motion.label_track import Continued, DampedExtrapolation, LabelTrack, MotionPredictor, interpolated
from common.motion.network import LearnedMotion
from common.motion.steps import moved
from common.synthetic.dataset import clip_split
from common.synthetic.motion.windows import open_windows
from common.weights.manifest import model_hash
from receiver.config import PlayoutConfig
from receiver.link.refusals import SessionOwner
from receiver.link.session import SenderClock, Session
from receiver.motion.playout import PlayoutBuffer
from receiver.motion.session_motion import SessionMotion
from sender.importance import Importance
from tests.bench import report
from tests.bench.bytes.rate import CAMERA_HEIGHT_M, CURL, DISTANCE_M, demo_truth
from tests.bench.bytes.rates import CodecPair, as_frame, unconstrained_rho
from tests.bench.perceived import FrameSender, demo_frames
from tests.support.motion.label_motion import person

SEED = 0
RATES = (30.0, 10.0, 5.0, 3.0, 2.0, 1.0)
DISPLAY_HZ, DEMO_HZ = 60.0, 30.0
_LAG_S, _NOISE_M = 0.06, 0.012
# What is shown counts from here on: two labels have arrived at any rate, and the delay of smooth playout is found.
_SETTLED_S = 2.0
_MOVED_M = 1e-5


@dataclass(frozen=True, eq=False)
class Motion:
    """The truth 60 times a second: labels (T, LABEL_SIZE), joints (T, 22, 3) in camera space, metres.

    Args:
        perceived: (T, LABEL_SIZE) labels as they are received; None for the truth with noise.
    """

    name: str
    labels: FloatArray
    joints: Float64Array
    perceived: FloatArray | None = None


class Joints:
    """Places joints by labels."""

    def __init__(self) -> None:
        self.space, self._body = LabelSpace.load(), BodyModel.load()

    @torch.inference_mode()
    def __call__(self, labels: FloatArray) -> Float64Array:
        """(T, 22, 3) metres, of labels (T, LABEL_SIZE)."""
        positions, _ = self._body.forward_kinematics(self.space.decode(torch.from_numpy(labels)))
        return positions[:, : len(JOINTS)].double().numpy()


def motions(joints: Joints, folder: Path | None, seconds: float, every: int) -> Iterator[Motion]:
    """The demo clip, and the first `seconds` of every so many-th clip of the test split."""
    demo = np.stack([concatenate(person.labels) for person in demo_truth(joints.space, 0).people])
    track = LabelTrack(np.arange(len(demo)) / DEMO_HZ, demo, 0.0)
    times_s = np.arange(0.0, float(track.times_s[-1]), 1 / DISPLAY_HZ)
    demo = np.stack([interpolated(track, at_s, Continued().predict) for at_s in times_s.tolist()])
    yield Motion("demo", demo, joints(demo))
    yield Motion("demo as perceived", demo, joints(demo), perceived_demo().repeat(round(DISPLAY_HZ / DEMO_HZ), 0))
    if folder is None:
        return
    windows = open_windows(folder, DISPLAY_HZ)
    clips = zip(windows.names, windows.lengths.cumsum(), windows.lengths, strict=True)
    tested = [clip for clip in clips if clip_split(clip[0]) == "test" and clip[2] >= 2 * _SETTLED_S * DISPLAY_HZ]
    for _, end, length in tested[::every]:
        first = end - length
        body = windows.bodies(np.arange(first, first + min(length, int(seconds * DISPLAY_HZ))), CURL)
        place = body.translation - body.translation.mean(0) * torch.tensor([1, 0, 1])
        depth = max(DISTANCE_M, 1 - float(place[:, 2].min()))
        body = replace(body, translation=place + torch.tensor([0, CAMERA_HEIGHT_M, depth]))
        labels = joints.space.encode(body).numpy()
        yield Motion("test motions", labels, joints(labels))


def perceived_demo() -> FloatArray:
    """(T, LABEL_SIZE) of the demo clip, through perception, semantics, codec and the receiver's motion."""
    sender, importance, pair, motion = FrameSender(), Importance.load(), CodecPair(model_hash()), SessionMotion()
    rows = []
    for captured in demo_frames(None):
        (sent,) = sender.label(captured).people
        passed = pair.send(as_frame(sent, captured.sequence, captured.camera), unconstrained_rho(importance, sent))
        (received,) = motion.complete(passed.frame).people
        rows.append(concatenate(received.labels))
    return np.stack(rows)


def noisy(labels: FloatArray, rng: np.random.Generator, joints: Joints) -> FloatArray:
    """Labels as they are perceived: `_NOISE_M` in each coordinate of a joint, root mean square."""
    spread = np.concatenate([np.full(3, 0.03), np.zeros(3), np.full(3, 0.008), np.full(LABEL_SIZE - 9, 0.1)])
    steps, scale = rng.normal(size=labels.shape) * spread, 1.0
    for _ in range(2):
        found = np.stack([moved(row, scale * step) for row, step in zip(labels, steps, strict=True)])
        scale *= _NOISE_M / float(np.sqrt(np.mean(np.square(joints(found) - joints(labels)))))
    return found


class Receiver:
    """A playout with the time of the bench."""

    def __init__(self, config: PlayoutConfig, predictor: MotionPredictor) -> None:
        self.now_s = 0.0
        self._playout = PlayoutBuffer(config, predictor, Clock(lambda: self.now_s, lambda: self.now_s))
        self._view = self._playout.view()
        session = Session(bytes(16), "bench", live=True, owner=SessionOwner("", b""), account="bench")
        session.clock = SenderClock(0.0, 1e-3)
        self._playout.session_began(1, session)
        self._decoder = FrameCodec(bytes(MODEL_HASH_SIZE))

    def take(self, number: int, captured_s: float, labels: FloatArray, ahead_steps: int = 0) -> None:
        """A label has arrived."""
        frame = replace(as_frame(person(labels), number), captured_at=captured_s, ahead_steps=ahead_steps)
        self._playout.packet_decoded(1, [DecodedFrame(frame, None, {}, {})], b"", self._decoder)

    def shown(self) -> tuple[FloatArray, float]:
        """The labels that are shown now, and how long ago their moment was."""
        frame = self._view.frame(1)
        assert frame is not None
        return concatenate(frame.people[0].labels), self.now_s - frame.captured_at


@dataclass(frozen=True)
class Shown:
    """Joints (N, 3) of what was shown one picture after the other, delays in seconds, and the time of a pose."""

    joints: Float64Array
    delays_s: Sequence[float]
    pose_s: float


def play(labels: FloatArray, rate: float, receiver: Receiver | None, joints: Joints) -> Shown:
    """What is shown of a motion from `_SETTLED_S` on.

    Args:
        labels: (T, LABEL_SIZE) as perceived, 60 times a second.
        rate: of labels, a second.
        receiver: None to hold the newest labels.
    """
    number, rows, delays_s, spent_s = 0, [], [], []
    captured = iter(np.arange(0.0, (len(labels) - 1) / DISPLAY_HZ, 1 / rate).tolist())
    next_captured_s = next(captured)
    for tick in range(len(labels)):
        now_s = tick / DISPLAY_HZ
        while next_captured_s + _LAG_S <= now_s + 1e-9:
            captured_s, newest = next_captured_s, labels[round(next_captured_s * DISPLAY_HZ)]
            if receiver is not None:
                receiver.now_s = captured_s + _LAG_S
                receiver.take(number, captured_s, newest)
            number += 1
            next_captured_s = next(captured, np.inf)
        if number == 0:
            continue
        began_s = time.perf_counter()
        row, delay_s = newest, now_s - captured_s
        if receiver is not None:
            receiver.now_s = now_s
            row, delay_s = receiver.shown()
        if now_s >= _SETTLED_S:
            spent_s.append(time.perf_counter() - began_s)
            rows.append(row)
            delays_s.append(delay_s)
    return Shown(joints(np.stack(rows)), delays_s, float(np.mean(spent_s)))


def jerk(joints: Float64Array) -> float:
    return float(np.linalg.norm(np.diff(joints, n=3, axis=0), axis=-1).mean() * DISPLAY_HZ**3)


def figures(motion: Motion, shown: Shown) -> dict[str, float]:
    """The columns of the table; `jerk` is still in m/s³, beside that of the truth."""
    truth = motion.joints[-len(shown.joints) :]
    apart = shown.joints - truth
    steps_m = np.linalg.norm(np.diff(shown.joints, axis=0), axis=-1).max(axis=1)
    return {
        "error_mm": 1e3 * float(np.linalg.norm(apart, axis=-1).mean()),
        "pose_mm": 1e3 * float(np.linalg.norm(apart - apart[:, :1], axis=-1).mean()),
        "frozen_share": float((steps_m < _MOVED_M).mean()),
        "jerk": jerk(shown.joints),
        "true_jerk": jerk(truth),
        "delay_ms": 1e3 * float(np.mean(shown.delays_s)),
        "ms": 1e3 * shown.pose_s,
    }


def measure(
    motion: Motion, predictor: MotionPredictor, rng: np.random.Generator, joints: Joints
) -> Iterator[tuple[str, dict[str, float]]]:
    """Figures by what was shown, how, and how often labels came."""
    ways: dict[str, tuple[PlayoutConfig, MotionPredictor] | None] = {"held": None}
    ways["smooth"] = PlayoutConfig("smooth"), DampedExtrapolation()
    ways["learned"] = PlayoutConfig("live"), predictor
    labels = noisy(motion.labels, rng, joints) if motion.perceived is None else motion.perceived[: len(motion.labels)]
    for rate in RATES:
        for name, way in ways.items():
            receiver = None if way is None else Receiver(*way)
            yield f"{motion.name}, {rate:g}/s, {name}", figures(motion, play(labels, rate, receiver, joints))


def mean(parts: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """The mean by pictures; jerk becomes a share of the truth's."""
    weights = np.array([count for count, _ in parts]) / sum(count for count, _ in parts)
    found = {key: float(weights @ [part[key] for _, part in parts]) for key in parts[0][1]}
    return {**found, "jerk": found["jerk"] / found.pop("true_jerk")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("playout", __doc__, SEED)
    parser.add_argument("--folder", type=Path, help="windows of motion at 60 frames a second")
    report.add_amount(parser, "--seconds", "of each motion", 60.0, 6.0, float)
    report.add_amount(parser, "--every", "takes one motion of so many", 1, 6)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    joints, rng = Joints(), np.random.default_rng(options.seed)
    predictor = LearnedMotion.load()
    parts: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
    for motion in motions(joints, options.folder, options.seconds, options.every):
        for name, found in measure(motion, predictor, rng, joints):
            parts.setdefault(name, []).append((len(motion.labels), found))
    systems = {name: mean(parts[name]) for name in sorted(parts, key=lambda name: name.split(", ")[0])}
    report.publish(options, systems, f"labels {1e3 * _LAG_S:g} ms after their capture, {1e3 * _NOISE_M:g} mm of noise")


if __name__ == "__main__":
    sys.exit(main())
