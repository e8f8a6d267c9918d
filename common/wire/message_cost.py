"""What a message of labels takes on the link besides its labels, as the sender measures it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

# Messages that show what one takes, an acknowledgement of nine among them, and the weight of what was measured before.
_ENOUGH_MESSAGES: Final = 10
_SMOOTHING: Final = 0.6
# Everything else comes seldom: a mean over the last seconds.
_OTHER_S: Final = 10.0


class CarryingConnection(Protocol):
    """A connection that carries messages (`common.connections.tcp_info.TcpConnection`, `common.wire.quic`)."""

    @property
    def number(self) -> int:
        """Unique while the process runs."""

    @property
    def ip_bytes(self) -> int:
        """What it has carried in both directions, all headers included."""

    @property
    def ip_sent_bytes(self) -> int:
        """The part of this end."""


@dataclass(frozen=True, slots=True)
class MessageCost:
    """Of a message of labels, bytes on the link besides the labels.

    Args:
        sent: from the sender: headers, and TCP's or QUIC's acknowledgements of what comes back.
        answered: both ways: also its part of the receiver's acknowledgements.
        other_bps: bits per second of everything else, both ways.
    """

    sent: float
    answered: float
    other_bps: float


class CostMeter:
    """Measures between readings of the connections.

    Attributes:
        cost: None before it is known.
    """

    def __init__(self) -> None:
        self.cost: MessageCost | None = None
        self._since_s = 0.0
        self._from: Mapping[int, tuple[int, int]] = {}
        self._begin(0.0, ())

    def _begin(self, now_s: float, connections: Sequence[CarryingConnection]) -> None:
        self._since_s = now_s
        self._from = {each.number: (each.ip_sent_bytes, each.ip_bytes) for each in connections}
        self._messages = self._label_bytes = 0
        self._other_bytes = [0.0, 0.0]

    def count_labels(self, message_bytes: int) -> None:
        """Counts a message of labels."""
        self._messages += 1
        self._label_bytes += message_bytes

    def count_other(self, wire_bytes: float, *, sent: bool) -> None:
        """Counts a message that neither has labels nor answers them, with its headers."""
        self._other_bytes[sent] += wire_bytes

    def read(self, connections: Sequence[CarryingConnection], now_s: float) -> None:
        """Measures what was counted since the last reading, if enough was and these connections have carried it."""
        if not connections or any(each.number not in self._from for each in connections):
            self._begin(now_s, connections)
        elif self._messages >= _ENOUGH_MESSAGES and now_s > self._since_s:
            sent = sum(each.ip_sent_bytes - self._from[each.number][0] for each in connections)
            both = sum(each.ip_bytes - self._from[each.number][1] for each in connections)
            sent_besides, other = self._label_bytes + self._other_bytes[True], sum(self._other_bytes)
            found = (sent - sent_besides) / self._messages, (both - self._label_bytes - other) / self._messages
            self._add(*found, 8 * other, now_s - self._since_s)
            self._begin(now_s, connections)

    def _add(self, sent: float, answered: float, other_bits: float, span_s: float) -> None:
        sent, answered = max(sent, 0.0), max(answered, 0.0)
        old = self.cost or MessageCost(sent, answered, 0.0)
        self.cost = MessageCost(
            _smoothed(old.sent, sent, _SMOOTHING),
            _smoothed(old.answered, answered, _SMOOTHING),
            _smoothed(old.other_bps, other_bits / span_s, math.exp(-span_s / _OTHER_S)),
        )


def _smoothed(old: float, new: float, weight: float) -> float:
    return weight * old + (1 - weight) * new
