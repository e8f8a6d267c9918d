"""The codec as the daemons use it: ρ from rate control, acknowledgements, packets to labels."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import EncodedFrame
from common.frames import Camera, LabelFrame, PersonLabels
from receiver.motion.session_motion import SessionMotion
from sender.congestion.capacity import LinkSample
from sender.importance import Importance
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig

FPS = 30.0
ACKNOWLEDGEMENT_LAG = 2
"""Frames in flight before the first is acknowledged: a round trip of about 60 ms at 30 frames a second."""

_IDLE_S = 10.0
_ANY_CAMERA = Camera(640, 480, 768.0)

Rho = Mapping[str, float]


@lru_cache(maxsize=1)
def _unconstrained() -> RateController:
    """Default rate control after ten seconds of small frames on a link that is never full."""
    controller = RateController(RateConfig(), FPS)
    spacing_ms = 1000.0 / FPS
    for number in range(round(_IDLE_S * FPS)):
        now_ms = number * spacing_ms
        previous_ms = spacing_ms if number else None
        sample = LinkSample(
            sequence=number,
            message_bytes=250,
            round_trip_time_ms=2.0,
            hold_ms=1.0,
            sent_spacing_ms=previous_ms,
            arrival_spacing_ms=previous_ms,
            waited=False,
        )
        controller.on_acknowledged(sample, now_ms)
    return controller


def unconstrained_rho(importance: Importance, person: PersonLabels) -> dict[str, float]:
    """ρ by group for a person on a link that is never full."""
    return _unconstrained().allocate(importance.shifts(person), importance.uncertainty_mm(person))


def as_frame(person: PersonLabels, sequence: int = 0, camera: Camera = _ANY_CAMERA) -> LabelFrame:
    return LabelFrame(sequence, "bench", sequence / FPS, camera, (person,))


@dataclass(frozen=True)
class Passed:
    """A frame that was encoded and decoded."""

    encoded: EncodedFrame
    frame: LabelFrame


class CodecPair:
    """Both ends of a session; acknowledgements are `ACKNOWLEDGEMENT_LAG` frames late."""

    def __init__(self, model_hash: bytes) -> None:
        self._encoder, self._decoder, self._motion = FrameCodec(model_hash), FrameCodec(model_hash), SessionMotion()
        self._unacknowledged: deque[int] = deque()

    def send(self, frame: LabelFrame, rho: Rho) -> Passed:
        """Encodes one frame, and decodes it as a receiver does."""
        while len(self._unacknowledged) >= ACKNOWLEDGEMENT_LAG:
            self._encoder.acknowledge(self._unacknowledged.popleft())
        encoded = self._encoder.encode(frame, rho)
        decoded = self._motion.smooth(self._decoder.decode(encoded.payload, frame.sequence))
        self._unacknowledged.append(frame.sequence)
        return Passed(encoded, decoded.frame)


def through_key_frame(person: PersonLabels, rho: Rho, model_hash: bytes) -> tuple[PersonLabels, int]:
    """A person after the first packet of a session, and that packet's size in bytes."""
    passed = CodecPair(model_hash).send(as_frame(replace(person, identity=0)), rho)
    return replace(passed.frame.people[0], identity=person.identity), len(passed.encoded.payload)
