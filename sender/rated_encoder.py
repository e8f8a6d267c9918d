"""The codec, bound to importance and rate control."""

from collections.abc import Mapping

from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame
from common.labels import GROUP_NAMES
from sender.importance.importance import Importance
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController
from sender.rate.labels_ahead import LabelsAhead


class RatedEncoder:
    """Encodes each frame at the rate that the link carries at that moment: ω → ρ (17) → bytes."""

    def __init__(
        self,
        codec: FrameCodec,
        importance: Importance,
        rate: RateController,
        metrics: SenderMetrics,
        labels_ahead: LabelsAhead,
    ) -> None:
        self._codec = codec
        self._importance = importance
        self._rate = rate
        self._metrics = metrics
        self._labels_ahead = labels_ahead

    def offered(self, frame: LabelFrame) -> None:
        self._labels_ahead.offered(frame)

    def encode(self, *frames: LabelFrame) -> EncodedFrame:
        with self._metrics.stage("codec"):
            rho, rho_by_person = self._rho(frames[-1])
            ahead = [self._labels_ahead.of(frame, self._rate.ahead_steps) for frame in frames]
            encoded = self._codec.encode_bundle(ahead, rho, rho_by_person)
        for group, value in rho.items():
            self._metrics.set_rate(group, value)
        return encoded

    def acknowledge(self, sequence: int) -> None:
        self._codec.acknowledge(sequence)

    def expect(self, sequence: int) -> None:
        self._codec.expect(sequence)

    def rewind(self) -> None:
        self._codec.rewind()

    def reset(self) -> None:
        self._codec.reset()

    def _rho(self, frame: LabelFrame) -> tuple[Mapping[str, float], Mapping[int, Mapping[str, float]]]:
        """ρ by group, for the most prominent person and by identity; with equal weights in a frame without people."""
        if not self._rate.follows_capacity:
            weights = self._importance.weights(frame.people[0]) if frame.people else dict.fromkeys(GROUP_NAMES, 1.0)
            return self._rate.rho(weights), {}
        by_person = {
            person.identity: self._rate.allocate(
                self._importance.shifts(person), self._importance.uncertainty_mm(person)
            )
            for person in frame.people
        }
        return next(iter(by_person.values()), None) or self._rate.allocate({}, {}), by_person
