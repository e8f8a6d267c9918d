"""A body from pictures over a noisy channel, and from labels: `python -m tests.bench.channel.reconstruction`.

Rendered clips of one moving person (`tests.bench.moving`), 30 frames a second.

    frame ─ perception, semantics ─ codec ══ capacity ══ labels                                     labels
    frame ─ window, importance ─ image channel ══ AWGN ══ picture ─ perception, semantics ─ labels  pictures …

Labels are a packet a frame, behind an ideal code at the capacity of the same channel.  Pictures have 128² pixels and
the bandwidth ratio of --rate; at the same rate, the newest one is shown until the next one is there.

  uses_per_s       channel uses per second
  mpjpe_mm         error of the joints that are shown at each frame, relative to the hips
  image_error_px   distance of the joints in the picture, pixels of the frame
  iou_mean         IoU of the body's silhouette that is shown with the true one; 0 where nobody was found
  age_mean_ms      time since the frame that is shown was captured, without transport
  sender_ms, receiver_ms   computation for each frame that is sent, without detection and tracking
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch

from common.arrays import BoolArray, Float64Array, FloatArray, Image
from common.channel.physical import capacity_bits, carry
from common.channel.signal_blob import Window
from common.channel.state import PREAMBLE_USES, ChannelState
from common.channel.transmission import Transmitter, decode, load_network
from common.frames import PersonLabels
from receiver.mesh.render import depth_map
from sender.importance.importance import Importance
from sender.jscc.importance import importance_of
from sender.jscc.view import Views
from sender.perception.config import TrackingConfig
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.stage import ObservedPerson, PerceptionStage
from sender.semantics.stage import SemanticsStage
from tests.bench import measures, report
from tests.bench.clip_frames import add_clips_flag, decoded
from tests.bench.moving_clips import CAMERA, MovingClip, MovingClipRenderer
from tests.bench.perceived import LabelJoints
from tests.bench.rates import CodecPair, as_frame, unconstrained_rho
from tests.bench.reconstruction_scores import BareBody

_FPS = 30.0
_SIDE_PX = 128
_MODEL_HASH = bytes(8)

Result = TypeVar("Result")


@dataclass
class Shown:
    """What one system shows of one clip, for each frame that it could send.

    Args:
        joints: (17, 3) in camera space, metres; NaN where nobody was found.
        silhouettes: (H, W) of the body.
        uses: channel uses.
    """

    joints: list[FloatArray] = field(default_factory=list)
    silhouettes: list[BoolArray] = field(default_factory=list)
    uses: list[float] = field(default_factory=list)
    sender_ms: list[float] = field(default_factory=list)
    receiver_ms: list[float] = field(default_factory=list)

    def add(self, joints: FloatArray, silhouette: BoolArray) -> None:
        self.joints.append(joints)
        self.silhouettes.append(silhouette)

    def figures(self, truth: Float64Array, masks: BoolArray, every: int) -> dict[str, float]:
        """If every n-th frame is sent, and shown until the next (`truth`: (T, 17, 3), `masks`: (T, H, W))."""
        numbers = np.arange(len(truth)) // every * every
        shown = np.stack(self.joints)[numbers]
        seen = np.isfinite(shown).all(axis=(1, 2))
        errors = [measures.centred(own) - measures.centred(true) for own, true in zip(shown, truth, strict=True)]
        silhouettes = (self.silhouettes[number] for number in numbers)
        ious = [measures.intersection_over_union(own, true) for own, true in zip(silhouettes, masks, strict=True)]
        pixels = CAMERA.focal_px * (shown[..., :2] / shown[..., 2:] - truth[..., :2] / truth[..., 2:])
        return {
            "uses_per_s": _FPS * float(np.mean(self.uses)) / every,
            "mpjpe_mm": 1000 * float(np.linalg.norm(np.array(errors)[seen], axis=-1).mean()),
            "image_error_px": float(np.linalg.norm(pixels[seen], axis=-1).mean()),
            "iou_mean": float(np.mean(ious)),
            "age_mean_ms": 1000 * float((np.arange(len(truth)) - numbers).mean()) / _FPS,
            "sender_ms": float(np.mean(self.sender_ms)),
            "receiver_ms": float(np.mean(self.receiver_ms)),
        }


def timed(call: Callable[[], Result], milliseconds: list[float]) -> Result:
    """The result of a call, whose time is added to a list."""
    start = time.perf_counter()
    result = call()
    milliseconds.append(1000 * (time.perf_counter() - start))
    return result


class Sides:
    """Both ends of both systems.

    Args:
        rate: bandwidth ratio of the pictures.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, channel: ChannelState, rate: Fraction) -> None:
        self._channel, self._network = channel, load_network()
        self._rate = rate - Fraction(PREAMBLE_USES, 3 * _SIDE_PX**2)
        self._perception, self._stage = Perception.load(), PerceptionStage.load(TrackingConfig(max_people=1))
        self._semantics = SemanticsStage.load()
        self._importance = Importance.load()
        self._joints, self._body = LabelJoints(), BareBody()

    def follow(self, clip: MovingClip, seed: int) -> dict[str, Shown]:
        """Both systems, as if each frame were sent by both."""
        labels, pictures = Shown(), Shown()
        codec, views = CodecPair(_MODEL_HASH), Views("person", _SIDE_PX)
        self._stage.reset()
        for number, image in enumerate(decoded(clip.encoded)):
            observed = self._stage.process(image, CAMERA, number / _FPS)
            window = views.window(image, observed)
            if window is None:
                for shown in (labels, pictures):
                    shown.add(np.full((17, 3), np.nan, np.float32), np.zeros((CAMERA.height, CAMERA.width), bool))
                continue
            self._send_labels(labels, codec, observed, number)
            self._send_picture(pictures, views.cut(image, window), window, observed, seed + number)
        return {"labels": labels, "pictures": pictures}

    def _send_labels(self, shown: Shown, codec: CodecPair, observed: Sequence[ObservedPerson], number: int) -> None:
        person = timed(lambda: self._labels(observed), shown.sender_ms)
        passed = codec.send(as_frame(person, number, CAMERA), unconstrained_rho(self._importance, person))
        shown.uses.append(8 * passed.size / capacity_bits(self._channel))
        arrived = passed.frame.people[0]
        shown.add(timed(lambda: self._joints(arrived), shown.receiver_ms), self._silhouette(arrived))

    def _send_picture(
        self, shown: Shown, picture: Image, window: Window, observed: Sequence[ObservedPerson], seed: int
    ) -> None:
        levels = importance_of(window, (_SIDE_PX, _SIDE_PX), observed)
        transmitter = Transmitter(self._network, self._channel, self._rate)
        signal = timed(lambda: transmitter.encode(picture, levels), shown.sender_ms)
        shown.uses.append(len(signal.symbols) + signal.side_uses + PREAMBLE_USES)
        received = carry(self._channel, signal.symbols, torch.Generator().manual_seed(seed))

        def reconstructed() -> tuple[FloatArray, PersonLabels]:
            arrived = decode(self._network, signal, received)
            crop = CropBox(window.left, window.top, window.width)
            found = ObservedPerson(0, 1.0, crop, self._perception.observe([arrived]))
            labels = self._labels([found])
            return self._joints(labels), labels

        joints, labels = timed(reconstructed, shown.receiver_ms)
        shown.add(joints, self._silhouette(labels))

    def _silhouette(self, person: PersonLabels) -> BoolArray:
        return np.asarray(depth_map(self._body(person), CAMERA) > 0)

    def _labels(self, observed: Sequence[ObservedPerson]) -> PersonLabels:
        self._semantics.reset()
        return self._semantics.label(observed, CAMERA)[0]


def systems(shown: dict[str, Shown], clip: MovingClip) -> dict[str, dict[str, float]]:
    """Figures of one clip."""
    labels, pictures = shown["labels"], shown["pictures"]
    truth, masks = clip.joints_3d.astype(np.float64), clip.masks
    every = max(round(float(np.mean(pictures.uses) / np.mean(labels.uses))), 1)
    return {
        "labels": labels.figures(truth, masks, 1),
        "pictures at the same rate": pictures.figures(truth, masks, every),
        "a picture of every frame": pictures.figures(truth, masks, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("channel.reconstruction", __doc__, 7)
    add_clips_flag(parser, "moving")
    report.add_amount(parser, "--count", "clips", 12, 3)
    parser.add_argument("--snr", type=float, default=7.0, help="of the channel, dB (default: %(default)s)")
    parser.add_argument("--rate", type=Fraction, default=Fraction(1, 24), help="bandwidth ratio (default: %(default)s)")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    sides, renderer = Sides(ChannelState(options.snr), options.rate), MovingClipRenderer()
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(options.count):
        clip = renderer.clip(options.seed, number, options.clips)
        report.progress(f"clip {number + 1} of {options.count} ({clip.motion})")
        shown = sides.follow(clip, options.seed)
        for name, own in systems(shown, clip).items():
            found.setdefault(name, []).append(own)
    figures = {name: measures.mean_by_key(clips) for name, clips in found.items()}
    report.publish(options, figures, f"{options.count} clips, AWGN of {options.snr:g} dB", clips=options.count)


if __name__ == "__main__":
    sys.exit(main())
