"""The H.264 rate at which a receiver could reconstruct as well from video: `python -m tests.bench.video_equivalent`.

    clip ─┬─ perception, semantics ─┬─────────────────────────────────── reference
          │                         └─ codec at an idle link's ρ ─────── bodywire
          ├─ invisible noise ─────────── perception, semantics ───────── repeated
          └─ smaller picture, H.264 ──── perception, semantics ───────── h264, 1/SCALE, CRF

`added_joint_error_mm` is the mean distance of the 17 keypoints from those of the reference in the same frame, each
set relative to the midpoint of its hips, as in `tests.bench.rate`.  `mpjpe_mm` is the same distance from the true
keypoints, `worse_by_mm` what it is above the reference's.  The keypoints are those of the labels' body, which the
receiver publishes unchanged.  A frame in which nobody is found keeps the last person.  `repeated` is perception's own
repeatability: what noise of one grey level changes, without any coding.

H.264's rate is interpolated on each clip, by three criteria:

    MPJPE within 5 %     of Bodywire's: what the live page shows
    MPJPE within 1 %     of Bodywire's
    equal added error    the added joint error of Bodywire

On each scale of the picture the settings that no cheaper one beats are kept, and the logarithm of the rate is linear in
the error between two of them; the cheapest scale counts.  Where no setting has so small an error, the one with the
smallest is a lower bound (`at_least`); where the cheapest setting of the cheapest scale has it, that is an upper bound
(`at_most`).  Rates are means over clips; bits per pixel are those of the full picture on every scale, and `kbps_720p30`
assumes as many in a larger one.

Bytes are those of Bodywire's payload and of H.264's elementary stream, without gRPC, RTP or a container.  Both begin
with a key frame and have no other in the 2 s of a clip.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch

from common.arrays import Float64Array, Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, KeypointKinematics
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import concatenate
from common.synthetic.render_clip import FPS
from common.weights.manifest import model_hash
from sender.capture.source import CapturedFrame
from sender.importance.importance import Importance
from tests.bench import measures, report
from tests.bench.clip_frames import add_clips_flag
from tests.bench.equal_rate import EqualRate, equal_rate
from tests.bench.moving_clips import CAMERA, FRAMES, MovingClip, MovingClipRenderer
from tests.bench.perceived import FrameSender
from tests.bench.rates import CodecPair, unconstrained_rho
from tests.bench.rivals.video import H264, PRESET, TUNE, through_video

CLIPS, QUICK_CLIPS = 12, 3
CRFS = {1: (10, 16, 22, 28, 34, 40, 46), 2: (10, 16, 22, 28, 34, 40), 4: (10, 16, 22, 28, 34)}
"""Constant rate factors of x264 by scale; `--quick` takes every other."""
REFERENCE, BODYWIRE, REPEATED = "reference", "bodywire", "repeated"
TOLERANCES = (0.05, 0.01)
"""Shares by which MPJPE may exceed Bodywire's.  Between settings of high quality it differs by less than 1 %."""
# Grey levels.
_INVISIBLE_NOISE = 1.0
_COLUMNS = (
    "bytes",
    "kbps",
    "added_joint_error_mm",
    "added_joint_error_mm_standard_error",
    "mpjpe_mm",
    "worse_by_mm",
    "worse_by_mm_standard_error",
    "seen",
)
_PIXELS = CAMERA.width * CAMERA.height
_PIXELS_720P = 1280 * 720


@dataclass(frozen=True, slots=True)
class Setting:
    """How a sender of video encodes.

    Args:
        scale: the picture has 1 / scale of the camera's width and height.
        crf: x264's constant rate factor.
    """

    scale: int
    crf: int

    def __str__(self) -> str:
        return f"h264, 1/{self.scale}, CRF {self.crf}"


@dataclass(frozen=True, slots=True)
class Received:
    """What one system delivers of a clip.

    Args:
        sizes: bytes of each frame; empty for what is not sent.
        joints: (T, 17, 3) relative to the midpoint of the hips, metres; NaN in frames without a person.
    """

    sizes: tuple[int, ...]
    joints: Float64Array


Figures = dict[str, float]


class Systems:
    """The daemons' stages in process.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._sender, self._importance, self._networks = FrameSender(), Importance.load(), model_hash()
        self._space, self._kinematics = LabelSpace.load(), KeypointKinematics(BodyModel.load())

    def measure(
        self, name: str, clip: MovingClip, video: Sequence[Setting], rng: np.random.Generator
    ) -> dict[str, Figures]:
        """System → figures on one clip; `name` tells the clip from others, `rng` draws the invisible noise."""
        pictures = list(clip.frames())
        truth = np.stack([measures.centred(frame) for frame in clip.joints_3d])
        frames = self._labels(name, pictures, CAMERA)
        reference = Received((), self._joints(frames))
        repeated = self._labels(f"{name}, {REPEATED}", [noisy(picture, rng) for picture in pictures], CAMERA)
        received = {
            REFERENCE: reference,
            BODYWIRE: self._through_codec(frames),
            REPEATED: Received((), self._joints(repeated)),
        }
        for setting in video:
            received[str(setting)] = self._through_video(name, pictures, setting)
        return {key: figures(system, reference.joints, truth) for key, system in received.items()}

    def _labels(self, source: str, pictures: Sequence[Image], camera: Camera) -> list[LabelFrame]:
        frames = (
            CapturedFrame(index, source, index / FPS, index / FPS, picture, camera)
            for index, picture in enumerate(pictures)
        )
        return [self._sender.label(frame) for frame in frames]

    def _through_codec(self, frames: Sequence[LabelFrame]) -> Received:
        codec = CodecPair(self._networks)
        passed = [codec.send(frame, self._rho(frame.people)) for frame in frames]
        return Received(tuple(frame.size for frame in passed), self._joints([frame.frame for frame in passed]))

    def _rho(self, people: Sequence[PersonLabels]) -> Mapping[str, float]:
        return unconstrained_rho(self._importance, people[0]) if people else {}

    def _through_video(self, name: str, pictures: Sequence[Image], setting: Setting) -> Received:
        camera = Camera(CAMERA.width // setting.scale, CAMERA.height // setting.scale, CAMERA.focal_px / setting.scale)
        size = (camera.width, camera.height)
        smaller = [np.asarray(cv2.resize(each, size, interpolation=cv2.INTER_AREA), np.uint8) for each in pictures]
        video = through_video(H264, smaller, FPS, setting.crf)
        return Received(video.sizes, self._joints(self._labels(f"{name}, {setting}", video.pictures, camera)))

    @torch.inference_mode()
    def _joints(self, frames: Sequence[LabelFrame]) -> Float64Array:
        joints = np.full((len(frames), 17, 3), np.nan)
        seen = [index for index, frame in enumerate(frames) if frame.people]
        if seen:
            labels = np.stack([concatenate(frames[index].people[0].labels) for index in seen])
            keypoints, _ = self._kinematics(self._space.decode(torch.from_numpy(labels)))
            joints[seen] = [measures.centred(each) for each in keypoints.numpy()]
        return joints


def noisy(picture: Image, rng: np.random.Generator) -> Image:
    """A picture with noise that is smaller than a camera's own."""
    noise = rng.normal(0, _INVISIBLE_NOISE, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def figures(received: Received, reference: Float64Array, truth: Float64Array) -> Figures:
    """Rate and errors of one clip; frames before the first person are left out of the errors."""
    joints, kept = held(received.joints), held(reference)
    shown = np.isfinite(joints).all(axis=(1, 2)) & np.isfinite(kept).all(axis=(1, 2))
    size = float(np.mean(received.sizes)) if received.sizes else float("nan")
    return {
        "bytes": size,
        "kbps": size * 8 * FPS / 1000,
        "added_joint_error_mm": measures.mean_distance_mm(joints[shown], kept[shown]),
        "mpjpe_mm": measures.mean_distance_mm(joints[shown], truth[shown]),
        "seen": float(np.isfinite(received.joints).all(axis=(1, 2)).mean()),
    }


def held(joints: Float64Array) -> Float64Array:
    """Joints (T, 17, 3) with each frame without a person replaced by the one before it."""
    index = np.where(np.isfinite(joints).all(axis=(1, 2)), np.arange(len(joints)), 0)
    return joints[np.maximum.accumulate(index)]


def settings(quick: bool) -> list[Setting]:
    """All settings of H.264, or every other one."""
    return [Setting(scale, crf) for scale, factors in CRFS.items() for crf in factors[:: 2 if quick else 1]]


def equal_rates(systems: Mapping[str, Figures], video: Sequence[Setting]) -> dict[str, EqualRate]:
    """Criterion → H.264's rate on one clip."""
    own = systems[BODYWIRE]
    targets = {f"MPJPE within {100 * share:g} %": ("mpjpe_mm", (1 + share) * own["mpjpe_mm"]) for share in TOLERANCES}
    targets["equal added error"] = ("added_joint_error_mm", own["added_joint_error_mm"])
    rates = {}
    for criterion, (key, error) in targets.items():
        curves: dict[int, list[tuple[float, float]]] = {}
        for setting in video:
            found = systems[str(setting)]
            curves.setdefault(setting.scale, []).append((found["bytes"], found[key]))
        rates[criterion] = equal_rate(list(curves.values()), error)
    return rates


def summary(rates: Sequence[EqualRate]) -> Figures:
    """Mean and standard error over clips, as bits per pixel of the full picture and kbit/s."""
    bits = 8 * np.array([rate.frame_bytes for rate in rates])
    mean, error = float(bits.mean()), measures.standard_error(bits)
    kbps = FPS / 1000
    return {
        "bits_per_pixel": mean / _PIXELS,
        "bits_per_pixel_standard_error": error / _PIXELS,
        "kbps": mean * kbps,
        "kbps_standard_error": error * kbps,
        "kbps_720p30": mean * kbps * _PIXELS_720P / _PIXELS,
        "kbps_720p30_standard_error": error * kbps * _PIXELS_720P / _PIXELS,
        "at_least_clips": sum(rate.bound == "at_least" for rate in rates),
        "at_most_clips": sum(rate.bound == "at_most" for rate in rates),
    }


def mean_figures(clips: Sequence[Mapping[str, Figures]]) -> dict[str, Figures]:
    """System → means over clips, and the standard errors of rate, added error and what MPJPE is above the reference."""
    means = {}
    for name in clips[0]:
        rows = [clip[name] for clip in clips]
        worse = np.array([clip[name]["mpjpe_mm"] - clip[REFERENCE]["mpjpe_mm"] for clip in clips])
        added = np.array([row["added_joint_error_mm"] for row in rows])
        means[name] = {
            **measures.mean_by_key(rows),
            "added_joint_error_mm_standard_error": measures.standard_error(added),
            "worse_by_mm": float(worse.mean()),
            "worse_by_mm_standard_error": measures.standard_error(worse),
        }
    return means


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("video_equivalent", "Measure the H.264 rate at which video gives equal reconstructions.", 7)
    add_clips_flag(parser, "moving")
    options = parser.parse_args(arguments)

    def work() -> None:
        systems, renderer, video = Systems(), MovingClipRenderer(), settings(options.quick)
        clips: dict[str, dict[str, Figures]] = {}
        rates: dict[str, list[EqualRate]] = {}
        for number in range(QUICK_CLIPS if options.quick else CLIPS):
            name, clip = f"clip {number}", renderer.clip(options.seed, number, options.clips)
            clips[name] = systems.measure(name, clip, video, np.random.default_rng([options.seed, number]))
            for criterion, rate in equal_rates(clips[name], video).items():
                rates.setdefault(criterion, []).append(rate)
                report.progress(f"{name} ({clip.kind}, {clip.motion}), {criterion}: {_in_words(rate)}")
        means = mean_figures(list(clips.values()))
        equal = {criterion: summary(found) for criterion, found in rates.items()}
        size = f"{CAMERA.width}×{CAMERA.height}"
        print(f"{len(clips)} clips of {FRAMES} frames, {size}, {FPS} frames a second, seed {options.seed}")
        print(f"x264 {PRESET}, {TUNE}; {report.machine_line()}\n")
        print(f"{report.table(means, _COLUMNS)}\n\n{report.transposed(equal)}")
        by_clip = {criterion: [asdict(rate) for rate in found] for criterion, found in rates.items()}
        report.write_json(
            options.json, "video_equivalent", options.seed, means, equal=equal, clips=clips, equal_by_clip=by_clip
        )

    return report.run("video_equivalent", work)


def _in_words(rate: EqualRate) -> str:
    bound = "" if rate.bound == "none" else f"{rate.bound.replace('_', ' ')} "
    return f"{bound}{rate.frame_bytes * 8 * FPS / 1000:.0f} kbit/s"


if __name__ == "__main__":
    sys.exit(main())
