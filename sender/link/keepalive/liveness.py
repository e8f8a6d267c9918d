"""Detects a dead receiver and decides when to switch to the standby connection."""

import asyncio
from collections.abc import Callable
from typing import Any

from common.wire.stream import StreamBroken
from sender.link.keepalive.patience import Patience
from sender.link.transport.standby_connection import StandbyConnection

_POLLS_PER_INTERVAL = 4
# Heartbeat intervals of silence after which the stream is suspected, and after which the receiver is lost, where round
# trips are usual. A smaller number would delay frames after a stall, since the standby connection's packets queue
# before them.
_SUSPECT_AFTER_POLLS, _LOST_AFTER_POLLS = 2 * _POLLS_PER_INTERVAL, 5 * _POLLS_PER_INTERVAL
# How long after the standby connection an answer on the old stream may arrive that was queued before it.
_ANSWER_GRACE_S = 0.02
# A stream that was silent for this long is given up, with or without a standby connection.
_MAX_SILENCE_S = 10.0


class Liveness:
    """Observes the receiver of one stream.

    Once the receiver is lost, a standby connection is opened.  If the link is only congested, that connection queues
    behind what was sent before: by the time it is open, the old stream has been answered too, and is kept.  After an
    outage TCP is slow to retransmit on the old connection, and the standby connection is open first: the stream is then
    given up for it.  Answers that left the receiver before the silence prove nothing in that case, because each
    direction recovers on its own: once the stream is suspected, only answers to messages sent during the silence count.

    Silence is counted in polls instead of read from a clock: a pause of this process then does not count as silence.

    Args:
        patience: how much longer silence may last, because the link is slow.
        on_lost: called once when the receiver is lost, with the reason.
        on_recovered: called when the stream is answered again after `on_lost`.
        lossy: nothing is sent again that was answered long ago.
    """

    def __init__(
        self,
        interval_s: float,
        standby: StandbyConnection[Any],
        patience: Patience,
        *,
        on_lost: Callable[[str], None],
        on_recovered: Callable[[], None],
        lossy: bool = False,
    ) -> None:
        self._poll_s = interval_s / _POLLS_PER_INTERVAL
        self._standby, self._patience = standby, patience
        self._on_lost, self._on_recovered, self._lossy = on_lost, on_recovered, lossy
        self._answered = self._lost = self._suspected = False
        self._silent_since_s = -float("inf")

    @property
    def lost(self) -> bool:
        """Whether the receiver was reported as lost on the present stream."""
        return self._lost

    @property
    def suspected(self) -> bool:
        """Whether the stream is silent for longer than usual."""
        return self._suspected

    def report_loss(self, reason: str) -> None:
        """Reports the receiver as lost, unless it was reported before."""
        if not self._lost:
            self._lost = True
            self._on_lost(reason)

    def on_answer(self, sent_s: float | None, now_s: float) -> None:
        """Handles an answer of the receiver; times are of one monotonic clock.

        Args:
            sent_s: departure of the message that it answers; None if that is not known.
        """
        if self._suspected and not self._lossy and (sent_s is None or sent_s < self._silent_since_s):
            return
        self._answered = True
        self._silent_since_s = now_s

    async def watch(self) -> None:
        """Polls until the stream is to be given up.

        Raises:
            StreamBroken: always, with the reason.
        """
        silent_polls = 0
        while silent_polls * self._poll_s < _MAX_SILENCE_S:
            self._answered = False
            await self._standby.wait(self._poll_s)
            if self._answered:
                silent_polls = 0
                await self._recover()
            else:
                silent_polls += 1
                await self._suspect(silent_polls)
        raise _no_message()

    async def _recover(self) -> None:
        self._suspected = False
        await self._standby.dismiss()
        if self._lost:
            self._lost = False
            self._on_recovered()

    async def _suspect(self, silent_polls: int) -> None:
        self._suspected = silent_polls >= _SUSPECT_AFTER_POLLS * self._patience.factor
        if silent_polls < _LOST_AFTER_POLLS * self._patience.factor:
            return
        self._standby.seek()
        broken = _no_message()
        self.report_loss(str(broken))
        if self._standby.failed:
            raise broken
        if self._standby.is_open:
            await asyncio.sleep(_ANSWER_GRACE_S)
            if not self._answered:
                raise StreamBroken(broken.code, "silent, while another connection to the receiver is open")


def _no_message() -> StreamBroken:
    return StreamBroken("DEADLINE_EXCEEDED", "no message from the receiver")
