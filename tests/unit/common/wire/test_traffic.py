import math
from dataclasses import dataclass

import pytest

from common.clock import Clock
from common.connections import TcpConnection
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ChunkAck,
    ClientMessage,
    Drain,
    FrameMessage,
    Heartbeat,
    encode_client,
    encode_server,
)
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import SenderReport
from common.wire.traffic import PURPOSES, TRANSPORT, CostMeter, MessageCost, Purposes, Traffic, wire_bytes


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


def connection(number: int, ip_bytes: int) -> TcpConnection:
    return TcpConnection(number, 0, 0, ("127.0.0.1", 50051), 0, 0, ip_bytes, ip_bytes * 2 // 3)


def test_every_message_of_a_sender_has_its_purpose() -> None:
    purposes = Purposes()
    messages: dict[str, ClientMessage] = {
        "labels": FrameMessage(7, b"labels"),
        "heartbeats": Heartbeat(1),
        "probing": Heartbeat(1, padding=bytes(50)),
        "reports": SenderReport(),
        "other": Drain(),
    }
    for purpose, message in messages.items():
        assert purposes.from_sender(encode_client(message)) == purpose


def test_later_chunks_are_for_what_the_first_one_is_for() -> None:
    purposes = Purposes()
    for kind, purpose in (
        ("wears", "wears"),
        ("texture", "colours"),
        ("preview", "preview"),
        ("signal", "channel"),
        ("new", "other"),
    ):
        assert purposes.from_sender(encode_client(Chunk(1, 0, b"ab", kind, 0, 4))) == purpose
        assert purposes.from_sender(encode_client(Chunk(1, 2, b"cd"))) == purpose


def test_every_message_of_a_receiver_has_its_purpose() -> None:
    purposes = Purposes()
    acknowledgements = Acknowledgements((Acknowledgement(0, AckStatus.DECODED, 0, 0, 0),))
    for message in (acknowledgements, ChunkAck(1, 2)):
        assert purposes.from_receiver(encode_server(message)) == "acknowledgements"
    assert purposes.from_receiver(encode_server(Heartbeat(1))) == "heartbeats"
    assert purposes.from_receiver(encode_server(Drain())) == "other"


def test_short_messages_have_purposes_too() -> None:
    sender, receiver, acknowledgement = Datagrams(), Datagrams(), Acknowledgement(0, AckStatus.DECODED, 0, 0, 0)
    sender.encode(FrameMessage(0, b"key"))
    receiver.received(FrameMessage(0, b"key"))
    answer = receiver.encode(Acknowledgements((acknowledgement,))) or b""
    sender.decode_answers(answer)
    frames = sender.encode(FrameMessage(2, b"labels", earlier=(1,))) or b""
    assert Purposes().from_receiver(answer) == "acknowledgements"
    assert Purposes().from_sender(frames) == "labels"


@pytest.mark.parametrize("data", [b"", b"\x2a\x7f", b"\x1a\xff\xff", b"\xff" * 40, b"\x2a" + bytes(2_000_000)])
def test_malformed_messages_are_counted_too(data: bytes) -> None:
    assert Purposes().from_sender(data) in PURPOSES
    assert Purposes().from_receiver(data) in PURPOSES


def test_transport_is_estimated_until_it_is_measured() -> None:
    reported: list[tuple[str, int]] = []
    traffic = Traffic(lambda purpose, size: reported.append((purpose, size)))
    traffic.count("labels", 100)
    assert traffic.total_bytes == wire_bytes(100)
    traffic.measured([connection(1, 500)])
    assert traffic.total_bytes == 500
    assert traffic.by_purpose() == {"labels": 100, TRANSPORT: 400}
    # Another stream, over another connection; the first one has ended.
    traffic.count("labels", 100)
    traffic.measured([connection(2, 300)])
    assert traffic.total_bytes == 800
    assert sum(size for _, size in reported) == 800


def test_estimates_are_learnt_from_readings_without_handshakes() -> None:
    wire: list[float] = []
    traffic = Traffic()
    traffic.report_wire_bytes_to(lambda size, labels: wire.append(size))
    ip_bytes = 5000  # of a handshake
    for _ in range(3):
        for _ in range(4):
            traffic.count("labels", 20)
            ip_bytes += 150
        traffic.measured([connection(1, ip_bytes)])
    assert wire[:4] == [wire_bytes(20)] * 4 and wire[4] == pytest.approx(5000 + 4 * (150 - wire_bytes(20)))
    assert wire[10:] == [pytest.approx(150.0)] * 4 + [pytest.approx(0.0)]
    assert sum(wire) == pytest.approx(traffic.total_bytes) == ip_bytes


def test_labels_and_blobs_wrap_nothing() -> None:
    now_s = [0.0]
    traffic = Traffic(clock=Clock(lambda: now_s[0], lambda: 0.0))
    for purpose in ("labels", "acknowledgements"):
        traffic.count(purpose, 0)
    now_s[0] = 2.0
    for purpose in ("labels", "colours", "acknowledgements"):
        traffic.count(purpose, 100)
    traffic.measured([connection(1, 1000)])
    assert (traffic.recent_bps, traffic.recent_wrapping_bps) == (4000.0, 3200.0)


def test_rates_are_of_everything() -> None:
    now_s = [0.0]
    traffic = Traffic(clock=Clock(lambda: now_s[0], lambda: 0.0))
    for _ in range(100):
        now_s[0] += 0.1
        traffic.count("labels", 30)
    assert traffic.recent_bps == pytest.approx(8000.0, rel=0.05)
    assert traffic.recent_wrapping_bps == pytest.approx(5600.0, rel=0.05)
    now_s[0] += 10.0
    assert traffic.recent_bps == traffic.recent_wrapping_bps == 0.0
    assert traffic.mean_bps == pytest.approx(4000.0, rel=0.05)
    assert "labels 3,000" in traffic.summary()
