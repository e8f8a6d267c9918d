"""What the link tells the rest of the sender: measurements for rate control and metrics, and totals of the session."""

from collections.abc import Sequence

from common.clock import SYSTEM_CLOCK, Clock
from common.codec.frame_state import EncodedFrame
from common.frames import LabelFrame
from sender.congestion.capacity import LinkSample, PacketTrainSample
from sender.link.session import Fate, LinkObserver
from sender.metrics import DropReason, SenderMetrics
from sender.rate.controller import RateController

_FATES = {
    Fate.LATE: DropReason.LATE,
    Fate.SUPERSEDED: DropReason.REPLACED,
    Fate.REJECTED: DropReason.UNACKNOWLEDGED,
    Fate.LOST: DropReason.UNACKNOWLEDGED,
}


class LinkAccount(LinkObserver):
    """Passes the link's measurements on to rate control and metrics, and keeps the totals of the session.

    Attributes:
        acknowledged_frames, late_frames, lost_frames: of those that were sent, how many were reconstructed, came too
            late for it, and have no answer.
    """

    def __init__(self, rate: RateController, metrics: SenderMetrics, clock: Clock = SYSTEM_CLOCK) -> None:
        self._rate = rate
        self._metrics = metrics
        self._clock = clock
        self.acknowledged_frames = self.late_frames = self.lost_frames = 0
        self._last_sent = -1
        self.payload_bytes = 0

    def connected(self) -> None:
        self._rate.on_connected()
        self._metrics.peer_connected(True)

    def disconnected(self, reason: str) -> None:
        self._metrics.peer_connected(False)

    def failed_over(self) -> None:
        self._metrics.failed_over()

    def sent(self, frames: Sequence[LabelFrame], encoded: EncodedFrame) -> None:
        self.payload_bytes += len(encoded.payload)
        self._last_sent = max(self._last_sent, frames[-1].sequence)
        self._rate.on_sent(frames[-1].sequence, len(encoded.payload), self._clock.monotonic_ms())
        self._metrics.frames_sent(len(frames), {group: round(share) for group, share in encoded.bytes_by_group.items()})

    def acknowledged(self, frames: Sequence[LabelFrame], sample: LinkSample) -> None:
        self._rate.on_acknowledged(sample, self._clock.monotonic_ms())
        self._metrics.frames_acknowledged(len(frames), sample.round_trip_time_ms)
        state = self._rate.state
        self._metrics.set_link(state.bandwidth_bps or 0.0, state.delay_ms or 0.0, state.capacity.bps or 0.0, state.f)

    def probed(self, measurement: PacketTrainSample) -> None:
        self._rate.on_packet_train(measurement, self._clock.monotonic_ms())

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        if fate is Fate.SUPERSEDED and frame.sequence <= self._last_sent:
            fate = Fate.LOST
        self._count(fate, 1)
        if fate is not Fate.ACKNOWLEDGED:
            self._metrics.frame_dropped(_FATES[fate])

    def found(self, frame: LabelFrame, fate: Fate) -> None:
        self._count(Fate.LOST, -1)
        self._count(fate, 1)

    @property
    def sent_frames(self) -> int:
        """How many frames have left, be it several times, and met their fate."""
        return self.acknowledged_frames + self.late_frames + self.lost_frames

    def _count(self, fate: Fate, frames: int) -> None:
        if fate is Fate.ACKNOWLEDGED:
            self.acknowledged_frames += frames
        elif fate is Fate.LATE:
            self.late_frames += frames
        elif fate is not Fate.SUPERSEDED:
            self.lost_frames += frames
