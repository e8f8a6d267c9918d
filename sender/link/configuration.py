"""What can be set about the sender's end of the link."""

import math
from dataclasses import dataclass, replace

from common.io.addresses import Address
from common.io.configuration import option
from common.wire.convert import MAX_WINDOW


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Where the receiver is, and how hard to try to reach it."""

    peer: Address = option(Address("127.0.0.1", 50051), help="the receiver, host:port")
    window: int = option(8, help="most frames that may be unacknowledged at a time; as many as the way holds are")
    connect_timeout: float = option(5.0, help="seconds to try to reach the receiver at the start")
    reconnect_timeout: float = option(120.0, help="seconds to try to reach a receiver that was lost")
    heartbeat_interval_ms: float = option(200.0, help="most milliseconds between keepalives")
    heartbeats_missed: int = option(5, help="intervals without a message after which the receiver counts as dead")

    def patient(self) -> "LinkConfig":
        """The same, but it never gives up on a receiver that does not answer."""
        return replace(self, connect_timeout=math.inf, reconnect_timeout=math.inf)

    def __post_init__(self) -> None:
        if not 1 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window {self.window} is not between 1 and {MAX_WINDOW}")
        if min(self.connect_timeout, self.reconnect_timeout, self.heartbeat_interval_ms) <= 0:
            raise ValueError("connect_timeout, reconnect_timeout and heartbeat_interval_ms must be above 0")
        if self.heartbeats_missed < 1:
            raise ValueError(f"heartbeats_missed {self.heartbeats_missed} is below 1")
