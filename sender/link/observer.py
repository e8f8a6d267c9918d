"""Notifications of the link, for metrics and rate control."""

from enum import Enum

from common.frames import LabelFrame
from common.wire.convert import Welcome
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.samples import LinkSample
from sender.link.session import Payload


class Fate(Enum):
    """The end of a frame that was given to the link."""

    ACKNOWLEDGED = "acknowledged"
    LATE = "late"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"


class LinkObserver:
    """Receives the link's notifications; every method does nothing unless overridden, and must not block."""

    def connected(self, welcome: Welcome) -> None:
        """A handshake succeeded, for the first time or again, or a lost stream recovered."""

    def disconnected(self, reason: str) -> None:
        """The stream was lost; the client tries to resume."""

    def failed_over(self) -> None:
        """A handshake succeeded with another receiver than the last one."""

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        """A frame was encoded and is about to be sent; `again` if it was sent before."""

    def blob_bytes_sent(self, data_bytes: int) -> None:
        """A chunk of a blob, of this size, was sent."""

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        """A frame was acknowledged, which measured the link."""

    def probed(self, measurement: PacketTrainSample) -> None:
        """A packet train measured the link."""

    def one_way_delay(self, one_way_ms: float) -> None:
        """A heartbeat measured the one-way delay, plus the clock offset that frames' one-way delays contain too."""

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        """A frame met its fate, which happens exactly once per frame."""


class Observers(LinkObserver):
    """Notifies several observers, in order."""

    def __init__(self, *observers: LinkObserver) -> None:
        self._observers = observers

    def connected(self, welcome: Welcome) -> None:
        for observer in self._observers:
            observer.connected(welcome)

    def disconnected(self, reason: str) -> None:
        for observer in self._observers:
            observer.disconnected(reason)

    def failed_over(self) -> None:
        for observer in self._observers:
            observer.failed_over()

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        for observer in self._observers:
            observer.sent(frame, encoded, again=again)

    def blob_bytes_sent(self, data_bytes: int) -> None:
        for observer in self._observers:
            observer.blob_bytes_sent(data_bytes)

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        for observer in self._observers:
            observer.acknowledged(frame, sample)

    def probed(self, measurement: PacketTrainSample) -> None:
        for observer in self._observers:
            observer.probed(measurement)

    def one_way_delay(self, one_way_ms: float) -> None:
        for observer in self._observers:
            observer.one_way_delay(one_way_ms)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        for observer in self._observers:
            observer.ended(frame, fate)
