"""How much later, and how much less, a wrist moves than it does: `python -m tests.bench.lag`.

Rendered people of the test split stand before a camera and turn an arm about the shoulder, in the picture's plane: once
by 40° within 0.1 s, and there and back by 15° at 1, 2 and 4 Hz.  The systems are those of `tests.bench.moving`.

    step_delay_ms, …hz_delay_ms   from the true movement to the system's: of a step where half of it is done, of a swing
                                  by the phase at its frequency
    step_loss, …hz_loss           share of the amplitude that is lost; negative where the system moves more
    rest_jitter_mm                root mean square of the joints' second difference, about the hips, before the step

The wrist's path is relative to the hips, along the truth's principal axis.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from common.arrays import Float64Array
from common.body.anatomy import COCO_KEYPOINTS, JOINT_INDEX, JOINTS
from common.synthetic.motion.poses import Clip
from tests.bench import measures, report
from tests.bench.motion.moving import Followed, MovingSender
from tests.bench.motion.moving_clips import FRAMES, MovingClipRenderer
from tests.support.motion.rendered_clip import FPS

STEP_HZ, SWINGS_HZ = 0, (1, 2, 4)
_STEP_RAD, _SWING_RAD = np.radians(40), np.radians(15)
_STEP_AT, _STEP_FRAMES = FRAMES // 2, 3
# Frames until tracking and memories of the past are settled.
_SETTLED = 10
_WRIST = COCO_KEYPOINTS.index("left_wrist")


def arm_motion(frequency_hz: int) -> Clip:
    """Somebody who stands with the arms half raised and raises the left one: a step for 0 Hz, else a swing."""
    frames = np.arange(FRAMES)
    done = np.clip((frames - _STEP_AT) / _STEP_FRAMES, 0, 1)
    raised = _SWING_RAD * np.sin(2 * np.pi * frequency_hz * frames / FPS) if frequency_hz else _STEP_RAD * done
    rotations = np.zeros((FRAMES, len(JOINTS), 3), np.float32)
    rotations[:, JOINT_INDEX["upperarm01.L"], 2] = -raised
    return Clip(f"arm {frequency_hz} Hz", rotations, np.zeros((FRAMES, 3), np.float32), FPS)


def wrist_paths(followed: Followed) -> tuple[Float64Array, Float64Array]:
    """(T,) of the system and of the truth, metres, along the axis of the true movement; NaN where nobody is found."""
    own, true = (
        np.stack([measures.centred(each)[_WRIST] for each in rows]) for rows in (followed.joints, followed.truth)
    )
    axis = np.linalg.svd(true - true.mean(axis=0), full_matrices=False)[2][0]
    # Upwards, which is −y.
    axis = axis if axis[1] < 0 else -axis
    return own @ axis, true @ axis


def swing(path: Float64Array, frequency_hz: float) -> complex:
    """Amplitude and phase of a path (T,) at a frequency, once settled, beside a mean and a drift."""
    frames = np.arange(len(path))
    used = np.isfinite(path) & (frames >= _SETTLED)
    phase = 2 * np.pi * frequency_hz * frames[used] / FPS
    columns = np.stack([np.cos(phase), np.sin(phase), np.ones(len(phase)), frames[used]], axis=1)
    cosine, sine = np.linalg.lstsq(columns, path[used], rcond=None)[0][:2]
    return complex(cosine, -sine)


def step(path: Float64Array) -> tuple[float, float]:
    """Frame in which half of a path's (T,) step is done, and the step's height; NaN if it never is."""
    low, high = np.nanmedian(path[_SETTLED:_STEP_AT]), np.nanmedian(path[-_SETTLED:])
    half = (path - low) / (high - low) - 0.5
    crossed = np.flatnonzero((half[:-1] < 0) & (half[1:] >= 0))
    crossed = crossed[crossed >= _STEP_AT - 1]
    if not len(crossed):
        return float("nan"), float(high - low)
    first = int(crossed[0])
    return float(first + half[first] / (half[first] - half[first + 1])), float(high - low)


def figures(followed: Followed, frequency_hz: int) -> dict[str, float]:
    """Of one clip; see the module."""
    own, true = wrist_paths(followed)
    if frequency_hz:
        ratio, name = swing(own, frequency_hz) / swing(true, frequency_hz), f"{frequency_hz}hz"
        delay_s = -np.angle(ratio) / (2 * np.pi * frequency_hz)
        return {f"{name}_delay_ms": 1000 * float(delay_s), f"{name}_loss": 1 - abs(ratio)}
    (at, height), (true_at, true_height) = step(own), step(true)
    still = np.stack([measures.centred(each) for each in followed.joints[_SETTLED:_STEP_AT]])
    jitter = np.sqrt(np.nanmean(np.square(measures.second_difference(still)).sum(axis=-1)))
    delay = {"step_delay_ms": 1000 * (at - true_at) / FPS, "step_loss": 1 - height / true_height}
    return delay | {"rest_jitter_mm": 1000 * float(jitter)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("lag", __doc__, 7)
    report.add_amount(parser, "--count", "people", 6, 2, report.at_least(1))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    sender, renderer, rows = MovingSender(live=True), MovingClipRenderer(), dict[str, list[dict[str, float]]]()
    for number in range(options.count):
        for frequency_hz in (STEP_HZ, *SWINGS_HZ):
            clip = renderer.of(arm_motion(frequency_hz), options.seed, number)
            for name, followed in sender.follow(clip).items():
                rows.setdefault(name, []).append(figures(followed, frequency_hz))
        report.progress(f"{number + 1} people")
    systems = {name: measures.mean_by_key(each) for name, each in rows.items()}
    report.publish(options, systems, f"{options.count} people, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
