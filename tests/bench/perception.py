"""Time of perception and its parts: `python -m tests.bench.perception`.

The demo clip, enlarged to 1280×720, passes the sender's perception stage with one tracked person, on two threads (the
target machine has two cores).  `perception` is the whole stage; `detector` is the search of the whole frame, in every
fifth frame; `network` is perception's network with flip augmentation, `stem` to `pose` are its parts; `verifier`
decides from perception's confidence whether a crop shows a person.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import nn

from common.frames import Camera
from sender.capture.source import CapturedFrame
from sender.perception.config import TrackerConfig
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.verifier import Verifier
from sender.perception.network.network import PerceptionNet
from sender.perception.stage import PerceptionStage
from tests.bench import report
from tests.bench.perceived import demo_frames
from tests.bench.stages import WARM_UP, Figures, Stopwatch, TimedDetector

QUICK_FRAMES = 60
WIDTH, HEIGHT = 1280, 720
THREADS = 2


def enlarged(frame: CapturedFrame) -> CapturedFrame:
    """A frame scaled to 720p, its borders replicated to the left and right.

    Raises:
        ValueError: the frame is wider than 16:9.
    """
    height, width = frame.image.shape[:2]
    scale = HEIGHT / height
    image = cv2.resize(frame.image, (round(width * scale), HEIGHT), interpolation=cv2.INTER_CUBIC)
    padding = WIDTH - image.shape[1]
    if padding < 0:
        raise ValueError(f"a frame of {width}×{height} is wider than {WIDTH}×{HEIGHT}")
    image = cv2.copyMakeBorder(image, 0, 0, padding // 2, padding - padding // 2, cv2.BORDER_REPLICATE)
    camera = Camera(WIDTH, HEIGHT, frame.camera.focal_px * scale)
    return replace(frame, image=np.asarray(image, np.uint8), camera=camera)


def watch_parts(net: PerceptionNet, verifier: Verifier, watch: Stopwatch) -> None:
    """Records from now on the time of each part of the network, and of the verifier."""
    parts: dict[str, tuple[nn.Module, nn.Module]] = {
        "network": (net, net),
        "stem": (net.stem, net.stem),
        "trunk": (net.patches, net.task_norm),
        "keypoints": (net.keypoints, net.keypoints),
        "depth": (net.depth, net.depth),
        "mask": (net.mask, net.mask),
        "pose": (net.pose, net.pose),
        "verifier": (verifier.net, verifier.net),
    }
    began: dict[str, float] = {}
    for name, (first, last) in parts.items():

        def start(*_: object, name: str = name) -> None:
            began[name] = time.perf_counter()

        def stop(*_: object, name: str = name) -> None:
            watch.record(name, 1e3 * (time.perf_counter() - began[name]))

        first.register_forward_pre_hook(start)
        last.register_forward_hook(stop)


def measure(frames: Iterator[CapturedFrame]) -> Figures:
    """Figures of all frames through the stage, called as in the sender."""
    watch = Stopwatch()
    # By PyTorch, which alone can tell the parts apart.
    perception, verifier = Perception(Perception.load().net), Verifier.load()
    watch_parts(perception.net, verifier, watch)
    stage = PerceptionStage(TimedDetector(Detector.load(), watch), perception, verifier, TrackerConfig(max_people=1))
    seen = count = 0
    for frame in map(enlarged, frames):
        with watch.time("perception"):
            seen += bool(stage.process(frame.image, frame.camera, frame.media_time_s))
        count += 1
    for values in watch.spent_ms.values():
        del values[: min(WARM_UP, len(values) - 1)]
    return {"frames": float(count), "seen_share": seen / count, **watch.figures()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("perception", __doc__, 0)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    torch.set_num_threads(THREADS)
    systems = {"bodywire": measure(demo_frames(QUICK_FRAMES if options.quick else None))}
    report.publish(options, systems, f"demo clip at {WIDTH}×{HEIGHT}, {THREADS} threads")


if __name__ == "__main__":
    sys.exit(main())
