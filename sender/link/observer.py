"""Notifications of the link, for metrics and rate control."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame
from sender.congestion.packet_train import PacketTrainSample
from sender.congestion.samples import LinkSample


class Fate(Enum):
    """The end of a frame that was given to the link."""

    ACKNOWLEDGED = "acknowledged"
    LATE = "late"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    LOST = "lost"  # by the link, or its acknowledgement


class LinkObserver:
    """Receives the link's notifications; every method does nothing unless overridden, and must not block."""

    def connected(self) -> None:
        """A handshake succeeded, for the first time or again, or a lost stream recovered."""

    def disconnected(self, reason: str) -> None:
        """The stream was lost; the client tries to resume."""

    def failed_over(self) -> None:
        """A handshake succeeded with another receiver than the last one."""

    def sent(self, frames: Sequence[LabelFrame], encoded: EncodedFrame) -> None:
        """The frames of a message were encoded and are about to be sent, perhaps again."""

    def acknowledged(self, frames: Sequence[LabelFrame], sample: LinkSample) -> None:
        """The frames of a message were acknowledged, which measured the link; none if they were given up before."""

    def probed(self, measurement: PacketTrainSample) -> None:
        """A packet train measured the link."""

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        """A frame met its fate, which happens exactly once per frame."""

    def found(self, frame: LabelFrame, fate: Fate) -> None:
        """A frame that had been given up as lost met this fate instead: its answer came late."""


class Observers(LinkObserver):
    """Notifies several observers, in order."""

    def __init__(self, *observers: LinkObserver) -> None:
        for name in vars(LinkObserver):
            if not name.startswith("_"):
                setattr(self, name, partial(_notify, [getattr(observer, name) for observer in observers]))


def _notify(observers: Sequence[Callable[..., None]], *arguments: object, **named: object) -> None:
    for notify in observers:
        notify(*arguments, **named)
