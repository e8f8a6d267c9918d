"""The people of a frame and their labels: perception, semantics and clothes."""

from collections.abc import Sequence

from common.frames import PersonLabels
from sender.capture.source import CapturedFrame
from sender.clothing.stage import ClothingStage
from sender.metrics import SenderMetrics
from sender.perception.stage import ObservedPerson, PerceptionStage
from sender.semantics.stage import SemanticsStage


class Labeller:
    """Finds the people of each frame, and labels them; one thread may do the first while another does the second."""

    def __init__(
        self,
        perception: PerceptionStage,
        semantics: SemanticsStage,
        clothing: ClothingStage,
        metrics: SenderMetrics,
    ) -> None:
        self._perception, self._semantics, self._clothing = perception, semantics, clothing
        self._metrics = metrics

    def perceive(self, frame: CapturedFrame, *, begins: bool = False) -> Sequence[ObservedPerson]:
        """The people that perception tracks.

        Args:
            begins: the frame is the first one of its source.
        """
        if begins:
            self._perception.reset()
        with self._metrics.stage("perception"):
            # Views that take turns need the means that smoothing makes of them.
            time_s = frame.media_time_s if self._semantics.smooths else None
            return self._perception.process(frame.image, frame.camera, time_s)

    def label(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], *, begins: bool = False
    ) -> tuple[PersonLabels, ...]:
        """The labels of the people that were perceived, in the same order; `begins` as in `perceive`."""
        if begins:
            self._semantics.reset()
            self._clothing.reset()
        with self._metrics.stage("semantics"):
            people = self._semantics.label(observed, frame.camera, frame.media_time_s)
            return self._clothing.label(frame.image, frame.camera, observed, people)
