"""Encodes frames as rate control and importance say, also ahead of their capture where the link carries few.

A receiver predicts people from the labels that it has, the fewer the worse.  The sender has all frames.  So it predicts
each label for a moment at which it will be shown (`LabelFrame.ahead_steps`), and the receiver begins there.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace

from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame, PersonLabels
from common.labels import FAST_GROUPS, GROUP_NAMES, group_slices
from common.motion.label_track import Continued, LabelTrack, MotionPredictor, interpolated, with_frame
from sender.importance import Importance
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController
from sender.rate.face_video import LiveFaces


class LabelsAhead:
    """Predicts what leaves from all that was offered.

    Args:
        load: begins to load the predictor; called once, when labels are wanted ahead.  Until it is loaded they are as
            captured.
    """

    def __init__(self, load: Callable[[], "Future[MotionPredictor]"]) -> None:
        self._load = load
        self._predictor: Future[MotionPredictor] | None = None
        self._continued = Continued()
        self._tracks: dict[int, LabelTrack] = {}

    def offered(self, frame: LabelFrame) -> None:
        """Takes a frame of a live source, whether it will leave or not."""
        self._tracks = with_frame(self._tracks, frame)

    def of(self, frame: LabelFrame, steps: int) -> LabelFrame:
        """The frame with labels of so many steps later."""
        if not steps or not self._tracks or not self._is_loaded:
            return frame
        ahead = replace(frame, ahead_steps=steps)
        people = (self._of(person, ahead.describes_s) for person in frame.people)
        return replace(ahead, people=tuple(people))

    @property
    def _is_loaded(self) -> bool:
        if self._predictor is None:
            self._predictor = self._load()
        if not self._predictor.done():
            return False
        self._continued.predictor = self._predictor.result()
        return True

    def _of(self, person: PersonLabels, moment_s: float) -> PersonLabels:
        track, slices = self._tracks[person.identity], group_slices()
        then = interpolated(track, moment_s, self._continued.predict)
        fast = {name: values for name, values in person.labels.items() if name in FAST_GROUPS}
        moved = {name: then[slices[name]][: len(values)] for name, values in fast.items()}
        return replace(person, labels={**person.labels, **moved})


class RatedEncoder:
    """Encodes each frame at the rate that the link carries at that moment: ω → ρ (17) → bytes."""

    def __init__(
        self,
        codec: FrameCodec,
        importance: Importance,
        rate: RateController,
        metrics: SenderMetrics,
        labels_ahead: LabelsAhead,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._codec = codec
        self._importance = importance
        self._rate = rate
        self._metrics = metrics
        self._labels_ahead, self._clock = labels_ahead, clock
        self._faces = LiveFaces()

    def offered(self, frame: LabelFrame) -> None:
        self._labels_ahead.offered(frame)

    def encode(self, *frames: LabelFrame) -> EncodedFrame:
        with self._metrics.stage("codec"):
            rho, rho_by_person = self._rho(frames[-1])
            ahead = [self._labels_ahead.of(frame, self._rate.ahead_steps) for frame in frames]
            encoded = self._codec.encode_bundle(ahead, rho, rho_by_person)
            faces = self._face(frames[-1], len(encoded.payload))
        for group, value in rho.items():
            self._metrics.set_rate(group, value)
        return replace(encoded, faces=faces) if faces else encoded

    def acknowledge(self, sequence: int) -> None:
        self._codec.acknowledge(sequence)

    def expect(self, sequence: int) -> None:
        self._codec.expect(sequence)

    def rewind(self) -> None:
        self._codec.rewind()
        self._faces.restart()

    def reset(self) -> None:
        self._codec.reset()
        self._faces.restart()

    def _face(self, frame: LabelFrame, label_bytes: int) -> bytes:
        """A part of a face's picture, as far as labels leave room for it."""
        now_s = self._clock.monotonic()
        if any(person.face_chart is not None for person in frame.people):
            self._rate.show_faces(1e3 * now_s)
        return self._faces.part(frame, self._rate.face_bps(1e3 * now_s), label_bytes, now_s)

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
