"""Options of the link."""

import math
from dataclasses import dataclass, replace
from typing import Self

from common.io.addresses import Address, Addresses
from common.io.options import option
from common.wire.convert import MAX_WINDOW

_DEFAULT_PEER = Addresses((Address("127.0.0.1", 50051),))


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Where the receiver is, and how long to try to reach it.

    Several receivers with shared sessions are fronts of one service: a session goes on at any of them.
    """

    peer: Addresses = option(_DEFAULT_PEER, help="receiver, host:port, or several with shared sessions")
    window: int = option(8, help="most unacknowledged frames")
    connect_timeout: float = option(5.0, help="seconds to reach the receiver at the start")
    reconnect_timeout: float = option(120.0, help="seconds to reconnect after a loss, until a frame is acknowledged")
    probe_kbit: float = option(5.0, help="most kbit/s of padding that measures the capacity; 0 for none")
    heartbeat_interval_ms: float = option(200.0, help="most milliseconds between keepalives")

    @property
    def names_peer(self) -> bool:
        """Whether a receiver was configured, be it the default one."""
        return self.peer is not _DEFAULT_PEER

    def without_timeouts(self) -> Self:
        """The same configuration, without limits on the time to connect."""
        return replace(self, connect_timeout=math.inf, reconnect_timeout=math.inf)

    def __post_init__(self) -> None:
        if not 1 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window {self.window} is not between 1 and {MAX_WINDOW}")
        if min(self.connect_timeout, self.reconnect_timeout, self.heartbeat_interval_ms) <= 0:
            raise ValueError("connect_timeout, reconnect_timeout and heartbeat_interval_ms must be above 0")
        if not 0 <= self.probe_kbit < math.inf:
            raise ValueError(f"probe_kbit {self.probe_kbit} is not a number of at least 0")
