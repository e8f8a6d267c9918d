"""The session of a sender, and who is told what happens to it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Protocol

from common.codec.frame_state import EncodedFrame
from common.errors import PeerError
from common.frames import LabelFrame
from common.wire.convert import Hello, Welcome
from sender.congestion.capacity import LinkSample, PacketTrainSample
from sender.link.frame_queue import Resumption


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


logger = logging.getLogger(__name__)


class FrameEncoder(Protocol):
    """Encodes frames when they leave, predicted from the last state that the receiver has or is expected to have."""

    def offered(self, frame: LabelFrame) -> None:
        """Takes note of a live frame, whether it will leave or be superseded."""

    def encode(self, *frames: LabelFrame) -> EncodedFrame:
        """Encodes the frames of a message; encoding a frame again replaces the state remembered for it."""

    def acknowledge(self, sequence: int) -> None:
        """Marks a message, as last encoded, as decoded by the receiver: later frames may be predicted from its last."""

    def expect(self, sequence: int) -> None:
        """Lets later frames be predicted from the frame that was encoded last, before it is acknowledged."""

    def rewind(self) -> None:
        """Predicts from acknowledged frames again, until the next `expect`."""

    def reset(self) -> None:
        """Forgets every state: the next frame is a key frame."""


class SenderSession:
    """One session, over any number of streams."""

    def __init__(self, hello: Hello, encoder: FrameEncoder) -> None:
        self._hello = hello
        self._encoder = encoder
        self._reference: int | None = None
        self._expected: int | None = None
        # Frames in flight that are predicted from others in flight.
        self._unsure: set[int] = set()
        # None before the first answer of a receiver, which may have frames of an earlier process.
        self._next_unsent: int | None = None

    @property
    def live(self) -> bool:
        """Whether stale frames are dropped instead of delivered late."""
        return self._hello.live

    def hello(self, oldest_unacknowledged: int | None) -> Hello:
        """The first message of the next stream."""
        resume = self._hello.resume or self._next_unsent is not None
        return replace(self._hello, resume=resume, resume_from=oldest_unacknowledged or 0)

    def offered(self, frame: LabelFrame) -> None:
        """See `FrameEncoder.offered`."""
        self._encoder.offered(frame)

    def encode(self, *frames: LabelFrame, expected: bool) -> EncodedFrame:
        """Encodes the frames of a message that leaves now (`expected`: later ones may be predicted from it at once)."""
        last = frames[-1].sequence
        self._next_unsent = max(self._next_unsent or 0, last + 1)
        encoded = self._encoder.encode(*frames)
        if self._expected not in (None, self._reference) and not encoded.key:
            self._unsure.add(last)
        if expected:
            self._encoder.expect(last)
            self._expected = last
        return encoded

    def lose(self, sequence: int) -> None:
        """Predicts from acknowledged frames again: one was lost."""
        self._unsure.discard(sequence)
        self._expected = None
        self._encoder.rewind()

    def is_unsure(self, sequence: int) -> bool:
        """Whether a message in flight is predicted from one that may have been lost."""
        return sequence in self._unsure

    def acknowledge(self, sequence: int, *, decoded: bool) -> None:
        """Handles the answer to a frame in flight.

        Args:
            decoded: the receiver decoded the frame as last encoded. A duplicate was decoded as encoded some earlier
                time, and later frames must not be predicted from it.
        """
        self._unsure.discard(sequence)
        if decoded:
            self._encoder.acknowledge(sequence)
            self._reference = sequence

    def reject(self, sequence: int) -> None:
        """Handles a frame that could not be decoded: unless that follows from a loss, the next is a key frame."""
        if not self.is_unsure(sequence):
            self._encoder.reset()
        self.lose(sequence)

    def check(self, welcome: Welcome) -> None:
        """Raises PeerError if the receiver claims frames that were never sent: it would discard them unseen."""
        claimed = welcome.next_sequence - 1
        if self._next_unsent is None:
            self._next_unsent = welcome.next_sequence if self._hello.resume else 0
        if not self._hello.resume:  # of an earlier process nobody knows what it has sent
            claimed = max(claimed, welcome.decodable_from)
        if claimed >= self._next_unsent:
            raise PeerError(f"the receiver claims to have frame {claimed} of this session, which was never sent")

    def resume(self, welcome: Welcome, resumption: Resumption) -> None:
        """Sets the encoder to the receiver's state on a new stream (`resumption`: what it shows of the frames sent)."""
        self._expected, self._unsure = None, set()
        # Lost frames are encoded again, and an encoder only moves forward: without a reset it can continue only if no
        # frame was lost, from a state that both ends have.
        known = {frame.sequence for frame in resumption.delivered} | {self._reference}
        if welcome.resumed and welcome.decodable_from in known and not resumption.lost:
            self._encoder.rewind()
            self._encoder.acknowledge(welcome.decodable_from)
            self._reference = welcome.decodable_from
        else:
            self._encoder.reset()
            self._reference = None
        logger.debug("resumed at frame %d", welcome.next_sequence)
