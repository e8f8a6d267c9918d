"""Whether the receiver is there, and whether this stream is still the way to it."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from common.wire.stream import StreamBroken
from sender.link.transport.happy_eyeballs import Closable
from sender.link.transport.standby_connection import StandbyConnection

T = TypeVar("T", bound=Closable)

# Looks for a message, per heartbeat; heartbeats missed when silence is doubted.
_LOOKS = 4
_DOUBT_AFTER = 2
# How much later than another connection stands the answers of a stream may come that was there before it.
_ANSWER_S = 0.02
# A stream that was silent for so long is given up, whatever stands.
_GIVE_UP_S = 10.0
_DEAD = "DEADLINE_EXCEEDED"


class Liveness(Generic[T]):
    """Of one receiver, over any number of streams.

    Once it counts as lost, another connection is sought.  A link that hardly carries anything for a while holds what
    was sent, and that connection waits behind it: when it stands, what was sent before is answered too, and the stream
    goes on.  After an outage TCP is slow to ask again on the old connection, and another one is the first to stand:
    then the stream is given up for it.  What the receiver had to say before the silence proves nothing then, for each
    direction wakes by itself: once in doubt, it counts what answers something that was sent into the silence, and what
    the receiver said when the silence was doubted already.

    Silence is counted in moments instead of read from a clock: when this process was held up, so was the count.

    Args:
        interval_s: between heartbeats.
        missed: so many intervals without a message, and the receiver counts as lost. To seek sooner would not be
            wise: what that takes stands in the way of frames when a link that stood still moves on.
        standby: seeks the other connection.
        lost: told once that it is lost, with the reason.
        found: told that it was not, after `lost`.
    """

    def __init__(
        self,
        interval_s: float,
        missed: int,
        standby: StandbyConnection[T],
        *,
        lost: Callable[[str], None],
        found: Callable[[], None],
    ) -> None:
        self._look_s = interval_s / _LOOKS
        self._missed = missed * _LOOKS
        self._standby = standby
        self._tell_lost, self._tell_found = lost, found
        doubt_after = min(_DOUBT_AFTER, missed)
        self._doubt_after = doubt_after * _LOOKS
        self._doubt_after_ns = int(doubt_after * interval_s * 1e9)
        self._heard = self._lost = self._doubted = False
        self._silent_since_ns = 0

    def heard(self, sent_ns: int, said_ns: int | None, now_ns: int) -> None:
        """A message came in.

        Args:
            sent_ns: when that left which it answers; all on the sender's clock, nanoseconds since the epoch.
            said_ns: when the receiver said it; None if that is not known.
            now_ns: the present.
        """
        late = said_ns is not None and said_ns >= self._silent_since_ns + self._doubt_after_ns
        if self._doubted and sent_ns < self._silent_since_ns and not late:
            return
        self._heard = True
        self._silent_since_ns = now_ns

    def begin(self) -> None:
        """A new stream stands."""
        self._lost = self._doubted = False

    def lose(self, reason: str) -> None:
        """The stream ended, or might as well."""
        if not self._lost:
            self._lost = True
            self._tell_lost(reason)

    async def watch(self) -> None:
        """Looks until the stream shall be given up.

        Raises:
            StreamBroken: always, and why.
        """
        silent = 0
        while silent * self._look_s < _GIVE_UP_S:
            self._heard = False
            await self._standby.wait(self._look_s)
            if self._heard:
                silent = 0
                await self._go_on()
                continue
            silent += 1
            await self._doubt(silent)
        raise StreamBroken(_DEAD, "no message from the receiver")

    async def _go_on(self) -> None:
        self._doubted = False
        await self._standby.dismiss()
        if self._lost:
            self._lost = False
            self._tell_found()

    async def _doubt(self, silent: int) -> None:
        self._doubted = silent >= self._doubt_after
        if silent < self._missed:
            return
        self._standby.seek()
        broken = StreamBroken(_DEAD, "no message from the receiver")
        self.lose(str(broken))
        if self._standby.failed:
            raise broken
        if self._standby.stands:
            await asyncio.sleep(_ANSWER_S)
            if not self._heard:
                raise StreamBroken(_DEAD, "silent, while another connection to the receiver stands")
