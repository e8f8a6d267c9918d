"""A live camera that shows nobody, somebody at the edge and tiny people, while parts of the sender fail at random."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import cv2
import numpy as np
import pytest

from common.arrays import Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import LabelFrame
from common.weights.devices import CPU
from sender.attributes.kind_reader import KindStage
from sender.capture.open import DEMO_CLIP
from sender.capture.source import CapturedFrame, camera_of
from sender.capture.video import VideoFileSource
from sender.config import SenderConfig
from sender.labelling import Labelling, Networks
from sender.metrics import SenderMetrics
from sender.preview.video import SharedPreview
from sender.texture.texture_stage import TextureStage

pytestmark = pytest.mark.slow

FRAMES, FPS = 200, 15.0
# Of the calls of each part, so many fail.
SHARE = 0.15


def odd_pictures(rng: np.random.Generator) -> Iterator[Image]:
    """Scenes of up to ten frames: nobody, the demo's woman, her at an edge, and her a few pixels high."""
    with VideoFileSource(DEMO_CLIP) as clip:
        shown = cycle([frame.image for frame in islice(clip, 30)])
    height, width = next(shown).shape[:2]
    while True:
        kind, scale = rng.integers(5), float(rng.uniform(0.02, 0.2))
        move = np.array([[1, 0, rng.uniform(-width, width)], [0, 1, rng.uniform(-height, height)]])
        for _ in range(rng.integers(1, 11)):
            image = next(shown)
            if kind == 0:
                image = np.full_like(image, rng.integers(256))
            elif kind == 1:
                image = rng.integers(0, 256, image.shape, dtype=np.uint8)
            elif kind == 2:
                image = np.asarray(cv2.warpAffine(image, move, (width, height)), np.uint8)
            elif kind == 3:
                small = np.array([[scale, 0, move[0, 2] / 4 + width / 2], [0, scale, move[1, 2] / 4 + height / 2]])
                image = np.asarray(cv2.warpAffine(image, small, (width, height)), np.uint8)
            yield image


def failing(work: Callable[..., Any], part: str, rng: np.random.Generator, failed: Counter[str]) -> Callable[..., Any]:
    def work_or_fail(*arguments: Any, **options: Any) -> Any:
        if rng.random() < SHARE:
            failed[part] += 1
            raise (cv2.error, ValueError, IndexError, RuntimeError)[rng.integers(4)](part)
        return work(*arguments, **options)

    return work_or_fail


def labelled(frames: int, seed: int) -> tuple[list[LabelFrame], SenderMetrics, Counter[str]]:
    """Labels of so many frames, in which blobs are made, too; what the metrics counted, and what failed."""
    rng, failed, metrics = np.random.default_rng(seed), Counter[str](), SenderMetrics()
    networks = Networks.load(SenderConfig(), cameras=1)
    stages = (TextureStage(LabelSpace.load(), BodyModel.load()), KindStage.load(CPU), SharedPreview())
    parts: list[tuple[Any, str, str]] = [
        (networks.perception, "process", "perception"),
        (networks.semantics, "label_observed", "semantics"),
        *((each, "label", each.part) for each in networks.expression),
        *((each, "update", each.timed_as or "") for each in stages),
    ]
    for part, method, name in parts:
        setattr(part, method, failing(getattr(part, method), name, rng, failed))
    labelling, sent = Labelling(networks, stages, metrics), list[LabelFrame]()
    for number, image in enumerate(islice(odd_pictures(rng), frames)):
        frame = CapturedFrame(number, "camera", number / FPS, number / FPS, image, camera_of(image, None))
        perceived = labelling.perceive(frame)
        sent.append(labelling.label(perceived))
        labelling.blobs(perceived, sent[-1])
    return sent, metrics, failed


def test_nothing_ends_a_live_session_and_what_is_lost_is_counted() -> None:
    sent, metrics, failed = labelled(FRAMES, seed=1)
    assert [frame.sequence for frame in sent] == [*range(FRAMES)]
    assert metrics.failures == failed and len(failed) >= 7
    assert sum(bool(frame.people) for frame in sent) > FRAMES / 10
