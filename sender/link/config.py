"""Options of the link."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from common.io.addresses import Address, Addresses
from common.io.command_line import option

_DEFAULT_PEER = Addresses((Address("127.0.0.1", 50051),))
# A frame with its answer every second.
_LEAST_BUDGET_KBIT = 1.0
# Budgets below it leave more time between messages beside frames, since each costs about as much as a frame.
_UNHURRIED_BPS = 50_000.0
# Receivers report a sender that is silent for 1.25 s.
_MOST_INTERVAL_S = 1.1
# Heartbeat intervals between two comparisons of the clocks, and the longest time.
_COMPARISON_INTERVALS, _MOST_COMPARISON_INTERVAL_S = 5.0, 30.0
# Of an IP packet that begins a QUIC connection, and of its answer.
_FIRST_PACKET_BYTES = 1228
# Share of the budget that padding may take.
_PROBE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Where the receiver is, and how long to try to reach it.

    Several receivers with shared sessions are fronts of one service: a session goes on at any of them.
    """

    peer: Addresses = option(_DEFAULT_PEER, help="receiver, host:port, or several with shared sessions")
    transport: Literal["auto", "grpc", "quic"] = option(
        "auto", help="quic: fewer bytes, over UDP; auto: quic where it is answered", advanced=True
    )
    connect_timeout: float = option(30.0, help="seconds to reach the receiver at the start", advanced=True)
    reconnect_timeout: float = option(
        120.0, help="seconds to reconnect after a loss, until a frame is acknowledged", advanced=True
    )
    budget_kbit: float | None = option(None, help="most kbit/s of everything, both ways; labels come first")
    probe_kbit: float = option(5.0, help="most kbit/s of padding that measures the capacity; 0 for none", advanced=True)
    # Most unacknowledged frames; the congestion window leaves fewer where these fill the link.
    window: int = 8
    # Most milliseconds between keepalives: a dead peer is found within a second.
    heartbeat_interval_ms: float = 200.0

    @property
    def names_peer(self) -> bool:
        """Whether a receiver was configured, be it the default one."""
        return self.peer is not _DEFAULT_PEER

    @property
    def budget_bps(self) -> float:
        """Most bits per second of everything on the link; infinite without `--budget-kbit`."""
        return math.inf if self.budget_kbit is None else 1e3 * self.budget_kbit

    @property
    def round_trip_s(self) -> float:
        """What the first round trip of a connection may take, because a link has no more than the budget."""
        return 2 * 8 * _FIRST_PACKET_BYTES / self.budget_bps

    @property
    def probe_bps(self) -> float:
        """Most bits per second of padding."""
        return min(1e3 * self.probe_kbit, _PROBE_SHARE * self.budget_bps)

    @property
    def heartbeat_interval_s(self) -> float:
        """Most seconds between keepalives, within the budget."""
        interval_s = self.heartbeat_interval_ms / 1e3
        return max(min(self.pause_factor * interval_s, _MOST_INTERVAL_S), interval_s)

    @property
    def comparison_interval_s(self) -> float:
        """Seconds between two comparisons of the clocks, which drift by a millisecond in five seconds at most."""
        intervals_s = _COMPARISON_INTERVALS * self.heartbeat_interval_ms / 1e3
        return max(min(self.pause_factor * intervals_s, _MOST_COMPARISON_INTERVAL_S), intervals_s)

    @property
    def pause_factor(self) -> float:
        """How many times longer a small budget makes the pauses between heartbeats and between reports."""
        return max(_UNHURRIED_BPS / self.budget_bps, 1.0)

    def without_timeouts(self) -> Self:
        """The same configuration, without limits on the time to connect."""
        return replace(self, connect_timeout=math.inf, reconnect_timeout=math.inf)

    def __post_init__(self) -> None:
        if self.connect_timeout <= 0 or self.reconnect_timeout <= 0:
            raise ValueError("connect_timeout and reconnect_timeout must be above 0")
        if self.budget_kbit is not None and not _LEAST_BUDGET_KBIT <= self.budget_kbit < math.inf:
            raise ValueError(f"budget_kbit {self.budget_kbit} is not a number of at least {_LEAST_BUDGET_KBIT:g}")
        if not 0 <= self.probe_kbit < math.inf:
            raise ValueError(f"probe_kbit {self.probe_kbit} is not a number of at least 0")
