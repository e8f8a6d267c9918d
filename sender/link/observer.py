"""Who wants to know what happens on the link: metrics, rate control."""

from enum import Enum

from common.frames import LabelFrame
from common.wire.convert import Welcome
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.samples import LinkSample
from sender.link.encoder import Payload


class Fate(Enum):
    """How a frame that was given to the link ends."""

    ACKNOWLEDGED = "acknowledged"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"


class LinkObserver:
    """Hears what happens on the link; every method does nothing unless overridden, and must not block."""

    def connected(self, welcome: Welcome) -> None:
        """A stream was agreed, for the first time or again."""

    def disconnected(self, reason: str) -> None:
        """The stream was lost; the client tries to resume."""

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        """A frame was encoded and goes out; `again` if it did so before."""

    def blob_bytes_sent(self, data_bytes: int) -> None:
        """A chunk of a blob went out, of so many bytes."""

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        """The receiver is done with a frame."""

    def probed(self, measurement: PacketTrainSample) -> None:
        """A train of heartbeats has measured the link."""

    def one_way_delay(self, one_way_ms: float) -> None:
        """A heartbeat was so long on its way, give or take the offset of the clocks that is in frames' ways too."""

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        """A frame has met its fate; each does exactly once."""


class Observers(LinkObserver):
    """Tells several observers, in their order."""

    def __init__(self, *observers: LinkObserver) -> None:
        self._observers = observers

    def connected(self, welcome: Welcome) -> None:
        for each in self._observers:
            each.connected(welcome)

    def disconnected(self, reason: str) -> None:
        for each in self._observers:
            each.disconnected(reason)

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        for each in self._observers:
            each.sent(frame, encoded, again=again)

    def blob_bytes_sent(self, data_bytes: int) -> None:
        for each in self._observers:
            each.blob_bytes_sent(data_bytes)

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        for each in self._observers:
            each.acknowledged(frame, sample)

    def probed(self, measurement: PacketTrainSample) -> None:
        for each in self._observers:
            each.probed(measurement)

    def one_way_delay(self, one_way_ms: float) -> None:
        for each in self._observers:
            each.one_way_delay(one_way_ms)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        for each in self._observers:
            each.ended(frame, fate)
