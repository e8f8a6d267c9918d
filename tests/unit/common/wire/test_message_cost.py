import math
from dataclasses import dataclass

import pytest

from common.wire.traffic import CostMeter, MessageCost


@dataclass(frozen=True)
class Connection:
    number: int
    ip_sent_bytes: int
    ip_bytes: int


class Fixture:
    """A session of which each message of labels has 12 bytes, 50 of headers, and an answer of 11."""

    def __init__(self) -> None:
        self.meter = CostMeter()
        self.sent, self.both = 5000, 9000  # of a handshake

    def send(self, messages: int, heartbeats: int = 0) -> None:
        for _ in range(messages):
            self.meter.count_labels(12)
        for _ in range(heartbeats):
            self.meter.count_other(70.0, sent=True)
            self.meter.count_other(60.0, sent=False)
        self.sent += 62 * messages + 70 * heartbeats
        self.both += 73 * messages + 130 * heartbeats

    def read(self, now_s: float, number: int = -1) -> MessageCost | None:
        self.meter.read([Connection(number, self.sent, self.both)], now_s)
        return self.meter.cost


def test_headers_and_answers_are_a_message_s_cost_and_all_else_is_a_rate() -> None:
    fixture = Fixture()
    fixture.send(20)
    assert fixture.read(1.0) is None  # the handshake is among them
    fixture.send(20, heartbeats=1)
    cost = fixture.read(2.0)
    assert cost is not None
    assert (cost.sent, cost.answered, cost.other_bps) == pytest.approx((50.0, 61.0, 1040.0 * -math.expm1(-0.1)))
