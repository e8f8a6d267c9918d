"""The codec as the daemons drive it: ρ from rate control, acknowledgements, packets to labels."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from common.codec.frame_codec import EncodedFrame, FrameCodec
from common.frames import Camera, LabelFrame, PersonLabels
from sender.congestion.samples import LinkSample
from sender.importance.importance import Importance
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig, rho_by_group

FPS = 30.0
ACKNOWLEDGEMENT_LAG = 2
"""Frames that are out before the first is acknowledged: a round trip of some 60 ms at 30 frames a second."""

_IDLE_S = 10.0
_ANY_CAMERA = Camera(640, 480, 768.0)

Rho = Mapping[str, float]


@lru_cache(maxsize=1)
def unconstrained_f() -> float:
    """f that default rate control settles on when the link is never full: ten seconds of small, prompt frames."""
    controller = RateController(RateConfig(), FPS)
    spacing_ms = 1000.0 / FPS
    for number in range(round(_IDLE_S * FPS)):
        now_ms = number * spacing_ms
        spacing = spacing_ms if number else None
        sample = LinkSample(
            sequence=number,
            message_bytes=250,
            round_trip_time_ms=2.0,
            hold_ms=1.0,
            sent_spacing_ms=spacing,
            arrival_spacing_ms=spacing,
            waited=False,
            client_sent_ns=round(now_ms * 1e6),
            server_received_ns=round((now_ms + 1) * 1e6),
            server_sent_ns=round((now_ms + 2) * 1e6),
            client_received_ns=round((now_ms + 3) * 1e6),
        )
        controller.on_acknowledged(sample, now_ms)
    return controller.state.f


def unconstrained_rho(importance: Importance, person: PersonLabels) -> dict[str, float]:
    """ρ by group (17) for a person at `unconstrained_f`."""
    settings = RateConfig()
    return rho_by_group(importance.weights(person), unconstrained_f(), settings.rho_min, settings.rho_max)


def as_frame(person: PersonLabels, sequence: int = 0, camera: Camera = _ANY_CAMERA) -> LabelFrame:
    """One person alone in a frame."""
    return LabelFrame(sequence, "bench", sequence / FPS, camera, (person,))


@dataclass(frozen=True)
class Passed:
    """A frame that went through the codec.

    Args:
        encoded: what the encoder told.
        frame: what the decoder made of the packet.
    """

    encoded: EncodedFrame
    frame: LabelFrame

    @property
    def size(self) -> int:
        """Bytes of the packet."""
        return len(self.encoded.payload)


class CodecPair:
    """Both ends of a session; acknowledgements come `lag` frames late.

    Args:
        model_hash: 8 bytes.
        lag: frames that are out unacknowledged.
    """

    def __init__(self, model_hash: bytes, lag: int = ACKNOWLEDGEMENT_LAG) -> None:
        self._encoder, self._decoder = FrameCodec(model_hash), FrameCodec(model_hash)
        self._out: deque[int] = deque()
        self._lag = lag

    def send(self, frame: LabelFrame, rho: Rho) -> Passed:
        """One frame to a packet and back."""
        while len(self._out) >= self._lag:
            self._encoder.acknowledge(self._out.popleft())
        encoded = self._encoder.encode(frame, rho)
        decoded = self._decoder.decode(encoded.payload)
        self._out.append(frame.sequence)
        return Passed(encoded, decoded.frame)


def through_key_frame(person: PersonLabels, rho: Rho, model_hash: bytes) -> tuple[PersonLabels, int]:
    """A person as the first packet of a session tells it, and that packet's bytes."""
    passed = CodecPair(model_hash).send(as_frame(replace(person, identity=0)), rho)
    return replace(passed.frame.people[0], identity=person.identity), passed.size
