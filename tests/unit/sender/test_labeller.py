from dataclasses import dataclass, field

import numpy as np

from common.frames import Camera, PersonLabels
from sender.capture.source import CapturedFrame
from sender.labeller import Labeller
from sender.metrics import SenderMetrics

FRAME = CapturedFrame(5, "clip.mp4", 1000.0, 0.2, np.zeros((8, 8, 3), np.uint8), Camera(8, 8, 10.0))


@dataclass
class FakeStage:
    """Perception and semantics, or clothing, which adds a label group."""

    smooths: bool = True
    resets: int = 0
    times: list[float | None] = field(default_factory=list)
    calls: list[object] = field(default_factory=list)

    def reset(self) -> None:
        self.resets += 1

    def process(self, image: object, camera: Camera, time_s: float | None) -> tuple[str]:
        self.times.append(time_s)
        return ("somebody",)

    def label(self, *arguments: object) -> tuple[PersonLabels, ...]:
        self.calls.append(arguments)
        return (PersonLabels(len(arguments), 0.9, {}),)


def test_perception_semantics_and_clothes_follow_each_other_and_are_timed() -> None:
    networks, clothing, metrics = FakeStage(), FakeStage(), SenderMetrics()
    labeller = Labeller(networks, networks, clothing, metrics)  # type: ignore[arg-type]
    people = labeller.label(FRAME, observed := labeller.perceive(FRAME))
    assert networks.calls == [(("somebody",), FRAME.camera, 0.2)]
    assert clothing.calls == [(FRAME.image, FRAME.camera, observed, (PersonLabels(3, 0.9, {}),))]
    assert people == (PersonLabels(4, 0.9, {}),)
    for stage in ("perception", "semantics"):
        assert metrics.registry.get_sample_value("bodywire_sender_stage_seconds_count", {"stage": stage}) == 1
    assert networks.times == [0.2]
    assert (networks.resets, clothing.resets) == (0, 0)
    labeller.perceive(FRAME, begins=True)
    assert (networks.resets, clothing.resets) == (1, 0)
    labeller.label(FRAME, observed, begins=True)
    assert (networks.resets, clothing.resets) == (2, 1)


def test_without_smoothing_each_frame_is_perceived_for_itself() -> None:
    networks = FakeStage(smooths=False)
    Labeller(networks, networks, FakeStage(), SenderMetrics()).perceive(FRAME)  # type: ignore[arg-type]
    assert networks.times == [None]
