"""Sender, codec and receiver in process: a frame in, what the sender saw and what the receiver rebuilt out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.arrays import BoolArray
from common.frames import Camera, LabelFrame
from common.weights.manifest import model_hash
from receiver.engine.engine import PersonAppearance, ReconstructedPerson
from receiver.mesh.render import depth_map
from receiver.motion.hidden import HiddenLimbs
from receiver.wears.received import ReceivedWears
from sender.capture.source import CapturedFrame
from sender.importance.importance import Importance
from sender.perception.config import TrackerConfig
from sender.perception.stage import ObservedPerson
from sender.wears.stage import WearsReader, WearsStage
from tests.bench.perceived import FrameSender
from tests.bench.rates import CodecPair, unconstrained_rho
from tests.bench.reconstruction_scores import Receiver


@dataclass(frozen=True)
class Sent:
    """One frame that has passed sender and codec.

    Args:
        bytes_by_group: of its packet, and under `wears` of the posteriors that are sent with it.
        appearance: what is known of the people of the next frame, by identity.
    """

    observed: Sequence[ObservedPerson]
    labels: LabelFrame
    arrived: LabelFrame
    bytes_by_group: Mapping[str, float]
    appearance: Mapping[int, PersonAppearance]


@dataclass(frozen=True)
class Rebuilt:
    """One frame at both ends.

    Args:
        camera: the frame's, as it arrived.
        people: as the receiver rebuilt them from what arrived.
    """

    observed: Sequence[ObservedPerson]
    camera: Camera
    people: Sequence[ReconstructedPerson]


class WholeSystem:
    """All stages of both daemons, with the codec of one session between them.

    `receiver` is the receiving part.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, limits: TrackerConfig) -> None:
        self._sender, self.receiver = FrameSender(limits), Receiver()
        self._wears, self._received = WearsStage(WearsReader.load()), ReceivedWears()
        self._codec, self._importance, self._hidden = CodecPair(model_hash()), Importance.load(), HiddenLimbs()

    def send(self, frame: CapturedFrame) -> Sent:
        """Passes one frame through sender and codec; tracking starts again when the source changes."""
        if frame.source != self._sender.source:
            self._wears.reset()
        observed = self._sender.observe(frame)
        labels = self._sender.label_observed(frame, observed)
        rho = unconstrained_rho(self._importance, labels.people[0]) if labels.people else {}
        passed = self._codec.send(labels, rho)
        blobs = self._wears.update(frame, observed, labels.people)
        for blob in blobs:
            self._received.take(blob)
        sizes = {**passed.encoded.bytes_by_group, "wears": float(sum(len(blob.data) for blob in blobs))}
        worn = {person.identity: self._received.of(person.identity) for person in labels.people}
        appearance = {identity: PersonAppearance(None, *each) for identity, each in worn.items()}
        return Sent(observed, labels, self._hidden.complete(passed.frame), sizes, appearance)

    def rebuild(self, frame: CapturedFrame) -> Rebuilt:
        """Passes one frame through all stages, without colours of the surface."""
        sent = self.send(frame)
        people = self.receiver.reconstruct(sent.arrived.people, sent.arrived.camera, sent.appearance)
        return Rebuilt(sent.observed, sent.arrived.camera, people)

    def silhouettes(self, person: ReconstructedPerson, camera: Camera) -> tuple[BoolArray, BoolArray]:
        """(H, W) what the surface covers in the frame, and what the skinned body without clothes does."""
        surface, bare = person.surface, self.receiver.bare(person.labels)
        return depth_map(surface, camera) > 0, depth_map(bare, camera) > 0
