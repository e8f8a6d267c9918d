"""The sender's half of a link without a stream, at a time that the test sets."""

import math

from common.clock import Clock
from common.wire.convert import FrameMessage, Hello
from sender.config import LinkConfig
from sender.congestion.pacing import Meter
from sender.link.background_transfer import Pacer
from sender.link.delivery import FrameDelivery
from sender.link.frame_queue import FrameQueue
from sender.link.session import Observers, SenderSession
from sender.link_account import LinkAccount
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController
from tests.support.link.counting_codec import MODEL, SECRET, SESSION, CountingCodec, label_frame
from tests.support.link.scripted_receiver import WELCOME, RecordingObserver


class ClockedDelivery:
    """A delivery on its first stream.

    Args:
        rate: is told what the link measures.
    """

    def __init__(
        self,
        *,
        live: bool,
        budget_bps: float = math.inf,
        gathers: bool = False,
        pacer: Pacer | None = None,
        rate: RateController | None = None,
    ) -> None:
        self.now_s = 100.0
        self.clock = Clock(lambda: self.now_s, lambda: 1.8e9 + self.now_s)
        self.meter, self.queue, self.codec = Meter(budget_bps), FrameQueue(8, live=live), CountingCodec()
        self.observer = RecordingObserver()
        session = SenderSession(Hello(SESSION, "test", 1, MODEL, live, session_secret=SECRET), self.codec)
        accounts = [] if rate is None else [LinkAccount(rate, SenderMetrics(), self.clock)]
        self.delivery = FrameDelivery(
            *(session, self.queue, LinkConfig(), Observers(self.observer, *accounts), pacer, self.meter, self.clock),
            gathers=gathers,
        )
        self.delivery.restart(WELCOME)

    async def send(self, sequence: int) -> FrameMessage:
        """Gives it a frame; returns the next message."""
        await self.delivery.send(label_frame(sequence))
        return await self.delivery.next_message()
