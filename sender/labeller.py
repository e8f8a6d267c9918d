"""The people of a frame and their labels: perception, semantics and clothes."""

from collections.abc import Sequence

from common.frames import PersonLabels
from sender.capture.source import CapturedFrame
from sender.clothing.stage import ClothingStage
from sender.metrics import SenderMetrics
from sender.perception.stage import ObservedPerson, PerceptionStage
from sender.semantics.stage import SemanticsStage
from sender.traces import SenderTraces


class Labeller:
    """Finds the people of each frame and labels them."""

    def __init__(
        self,
        perception: PerceptionStage,
        semantics: SemanticsStage,
        clothing: ClothingStage,
        metrics: SenderMetrics,
        traces: SenderTraces,
    ) -> None:
        self._perception, self._semantics, self._clothing = perception, semantics, clothing
        self._metrics, self._traces = metrics, traces

    def label(self, frame: CapturedFrame) -> tuple[Sequence[ObservedPerson], tuple[PersonLabels, ...]]:
        """The people that perception has tracked, and their labels in the same order."""
        with self._metrics.stage("perception"), self._traces.stage(frame.sequence, "perception"):
            # Views that take turns need the means that smoothing makes of them.
            time_s = frame.media_time_s if self._semantics.smooths else None
            observed = self._perception.process(frame.image, frame.camera, time_s)
        with self._metrics.stage("semantics"), self._traces.stage(frame.sequence, "semantics"):
            people = self._semantics.label(observed, frame.camera, frame.media_time_s)
            return observed, self._clothing.label(frame.image, frame.camera, observed, people)

    def reset(self) -> None:
        self._perception.reset()
        self._semantics.reset()
        self._clothing.reset()
