"""Frames of a peer that has made its handshake: what they make this end keep and do is bounded."""

import tracemalloc
from collections.abc import Callable

import pytest
from aioquic.buffer import encode_uint_var

from tests.support.link.quic_pair import RECEIVER, QuicPair

_FIRST_AHEAD_BYTES, _MAX_AHEAD_BYTES = 65_536, 1_048_576


def crypto(offset: int, data: bytes = b"x") -> bytes:
    """A frame of TLS."""
    return b"\x06" + encode_uint_var(offset) + encode_uint_var(len(data)) + data


def stream(offset: int, data: bytes = b"x", number: int = 0) -> bytes:
    """A frame of a stream."""
    return b"\x0e" + encode_uint_var(number) + encode_uint_var(offset) + encode_uint_var(len(data)) + data


def test_a_byte_far_ahead_takes_little_memory() -> None:
    """aioquic would double the limit with each of them."""
    pair = QuicPair()
    tracemalloc.start()
    try:
        for power in range(16, 33):
            pair.send(stream((1 << power) - 1))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert pair.end_of(pair.receiver) == "Over stream data limit"


@pytest.mark.parametrize("frame", [stream, crypto])
@pytest.mark.parametrize("step", [2, -2])
def test_parts_behind_missing_ones_are_few(frame: Callable[[int], bytes], step: int) -> None:
    """Otherwise the time for one grows with their number."""
    pair = QuicPair()
    for number in range(100):
        pair.send(frame(30_000 + step * number))
    assert pair.end_of(pair.receiver) == "too many parts are missing"


@pytest.mark.parametrize("frame", [stream, crypto])
def test_parts_that_are_lost_and_sent_again_are_put_in_order(frame: Callable[[int], bytes]) -> None:
    pair = QuicPair()
    for number in (*range(1, 100, 2), *range(0, 100, 2)):
        pair.send(frame(30_000 + number))
    assert pair.end_of(pair.receiver) == ""


def test_a_peer_that_has_said_nothing_sends_few_packets() -> None:
    pair = QuicPair()
    for _ in range(150):
        pair.send(b"\x01")
    assert pair.end_of(pair.receiver) == "too many packets before the first message"
    pair = QuicPair()
    pair.greet()
    for _ in range(1000):
        pair.send(b"\x01")
    assert pair.end_of(pair.receiver) == ""


def test_a_packet_that_no_link_sends_is_dropped() -> None:
    """Each of its bytes may be a frame."""
    pair = QuicPair()
    before = pair.receiver._first_packets
    pair.send(b"\x01" * 60_000)
    assert pair.receiver._first_packets == before
    pair.send(b"\x01" * 1200)
    assert pair.receiver._first_packets == before + 1


@pytest.mark.parametrize("to_sender", [False, True])
def test_a_handshake_is_short(to_sender: bool) -> None:
    pair = QuicPair()
    # The head of a message whose length has three bytes, which is kept until it is complete.
    pair.send(crypto(0, b"\x04\xff\xff\xff"), to_sender=to_sender)
    for number in range(70):
        pair.send(crypto(4 + 1000 * number, bytes(1000)), to_sender=to_sender)
    assert pair.end_of(pair.sender if to_sender else pair.receiver) == "too long a handshake"


@pytest.mark.parametrize("to_sender", [False, True])
@pytest.mark.parametrize("number", [100, 2**40])
def test_what_was_never_sent_cannot_be_acknowledged(number: int, to_sender: bool) -> None:
    pair = QuicPair()
    pair.send(b"\x02" + encode_uint_var(number) + bytes(3), to_sender=to_sender)
    assert pair.end_of(pair.sender if to_sender else pair.receiver) == "this packet was never sent"


def test_a_receiver_sends_its_sender_nowhere_else() -> None:
    assert QuicPair(moves_to=("127.0.0.1", 3)).addresses == {RECEIVER}


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_there_is_one_stream(number: int) -> None:
    pair = QuicPair()
    pair.send(stream(0, number=number))
    assert pair.end_of(pair.receiver)


def test_a_stream_of_any_length_passes_in_order() -> None:
    pair = QuicPair()
    pair.greet()
    sent, received = 0, 0
    for _ in range(3000):
        pair.sender.send_stream_data(0, bytes(1000))
        sent += 1000
        pair.exchange()
        while (event := pair.receiver.next_event()) is not None:
            received += len(getattr(event, "data", b""))
    assert (received, pair.end_of(pair.receiver), pair.end_of(pair.sender)) == (sent, "", "")


def test_a_peer_that_was_answered_may_send_more_at_once() -> None:
    pair = QuicPair()
    pair.greet()
    pair.send(stream(_MAX_AHEAD_BYTES - 1))
    assert pair.end_of(pair.receiver) == ""
    pair.send(stream(_MAX_AHEAD_BYTES + 5))
    assert pair.end_of(pair.receiver) == "Over stream data limit"
