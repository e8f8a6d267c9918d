import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import MalformedPacket
from common.frames import MAX_FRAME_SEQUENCE
from common.wire import semantic_link_pb2 as pb
from common.wire.convert import (
    MAX_PARSED_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_REASON_CHARACTERS,
    MAX_SEQUENCE,
    MAX_TIME_NS,
    MAX_TIME_US,
    MAX_WINDOW,
    NO_SEQUENCE,
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ChunkAck,
    ClientMessage,
    ClientMessages,
    Drain,
    FrameMessage,
    Heartbeat,
    Hello,
    ServerMessage,
    ServerMessages,
    Welcome,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)
from common.wire.frame_messages import FRAME_FIELDS_BYTES, REPORTED_STAGES, SenderReport
from common.wire.stream import StreamBroken

_sequences = st.integers(0, MAX_SEQUENCE)
_frame_sequences = st.integers(0, MAX_FRAME_SEQUENCE)
_optional_sequences = st.integers(NO_SEQUENCE, MAX_SEQUENCE)
_times = st.integers(0, MAX_TIME_NS)
_times_us = st.integers(0, MAX_TIME_US)
_hashes = st.binary(min_size=1, max_size=64)
_names = st.text(st.characters(categories=["L", "N", "P"]), max_size=128)
_hellos = st.builds(
    lambda *, live, durable, **fields: Hello(live=live, durable=durable and not live, **fields),
    session_id=st.binary(min_size=16, max_size=16),
    sender=_names,
    codec_version=st.integers(0, 2**32 - 1),
    model_hash=_hashes,
    live=st.booleans(),
    resume=st.booleans(),
    resume_from=_sequences,
    durable=st.booleans(),
    protocol_version=st.integers(0, 2**32 - 1),
    session_secret=st.binary(min_size=32, max_size=32),
    timely=st.booleans(),
)
_payloads = st.binary(min_size=1, max_size=600)
_frames = st.builds(FrameMessage, _frame_sequences, _payloads, st.booleans()) | st.builds(
    lambda first, steps, payload: FrameMessage(
        first + sum(steps), payload, earlier=tuple(itertools.accumulate(steps[:-1], initial=first))
    ),
    st.integers(0, MAX_FRAME_SEQUENCE - 56),
    st.lists(st.integers(1, 8), min_size=1, max_size=7),
    _payloads,
)
_welcomes = st.builds(
    Welcome,
    accepted=st.booleans(),
    model_hash=_hashes,
    reason=_names,
    next_sequence=_sequences,
    window=st.integers(1, MAX_WINDOW),
    resumed=st.booleans(),
    decodable_from=_optional_sequences,
    token_unchecked=st.booleans(),
)
_reported_ms = st.integers(1, 2**32 - 1).map(lambda time_us: time_us / 1e3)
_reports = st.builds(
    SenderReport,
    capacity_bps=st.none() | st.integers(1, 10**12),
    round_trip_ms=st.none() | _reported_ms,
    stages_ms=st.dictionaries(st.sampled_from(REPORTED_STAGES), _reported_ms),
)
_answers = st.builds(
    Acknowledgement,
    sequence=_optional_sequences,
    status=st.sampled_from(AckStatus),
    received_us=_times_us,
    spacing_us=_times_us,
    hold_us=_times_us,
    reason=_names,
)
_acknowledgements = st.builds(Acknowledgements, st.lists(_answers, min_size=1, max_size=4).map(tuple))
_heartbeats = st.builds(
    Heartbeat, _times, _times, _times.map(lambda time: -time) | _times, _times, st.binary(max_size=1400)
)
_blobs, _data = st.integers(1, 2**32 - 1), st.binary(min_size=1, max_size=1400)
_first_chunks = st.builds(
    Chunk,
    _blobs,
    st.just(0),
    _data,
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=32),
    st.integers(0, 2**32 - 1),
    st.integers(1, 1024 * 1024),
    st.integers(0, 2**32 - 1),
)
_chunks = _first_chunks | st.builds(Chunk, _blobs, st.integers(1, 1024 * 1024), _data)
_chunk_acks = st.builds(ChunkAck, _blobs, st.integers(0, 1024 * 1024))
_client_messages = st.one_of(_hellos, _frames, _heartbeats, st.just(Drain()), _chunks, _reports)
_server_messages = st.one_of(_welcomes, _acknowledgements, _heartbeats, st.just(Drain()), _chunk_acks)


def _hello(**changes: Any) -> pb.ClientMessage:
    fields = {"session_id": bytes(16), "model_hash": b"m", "session_secret": bytes(32)}
    return pb.ClientMessage(hello=pb.Hello(**{**fields, **changes}))


@pytest.mark.parametrize("says", [{}, {"timely": False}, {"timely": True}])
def test_labels_are_delayed_unless_hello_says_that_they_are_timely(says: dict[str, bool]) -> None:
    decoded = decode_client(_hello(**says).SerializeToString())
    assert isinstance(decoded, Hello) and decoded.timely == says.get("timely", False)


def test_decode_client_when_a_field_is_invalid() -> None:
    assert isinstance(decode_client(_hello().SerializeToString()), Hello)
    for message in (
        pb.ClientMessage(),
        _hello(session_id=b"short"),
        _hello(model_hash=b""),
        _hello(model_hash=bytes(65)),
        _hello(sender="x" * 129),
        _hello(sender="two\nlines"),
        _hello(resume_from=-1),
        _hello(session_secret=b""),
        _hello(session_secret=bytes(31)),
        _hello(live=True, durable=True),
        pb.ClientMessage(frame=pb.Frame(gap=1)),
        pb.ClientMessage(frame=pb.Frame(gap=-1, payload=b"p")),
        pb.ClientMessage(frame=pb.Frame(gap=2**53, payload=b"p")),
        pb.ClientMessage(frame=pb.Frame(gap=2**53 - 1, payload=b"p")),
        pb.ClientMessage(frame=pb.Frame(gap=2**63 - 1, payload=b"p")),
        pb.ClientMessage(frame=pb.Frame(gap=-(2**63), payload=b"p")),
        pb.ClientMessage(frame=pb.Frame(payload=bytes(MAX_PAYLOAD_BYTES + 1))),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", earlier=8)),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", earlier=2**32 - 1)),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", left_out=[0])),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", earlier=2, left_out=[1])),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", earlier=1, left_out=[64])),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", earlier=1, left_out=[2**32 - 1])),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", gap=MAX_FRAME_SEQUENCE, earlier=1)),
        pb.ClientMessage(frame=pb.Frame(payload=b"p", gap=-1, earlier=1)),
        pb.ClientMessage(heartbeat=pb.Heartbeat(sent_ns=-1)),
        pb.ClientMessage(chunk=pb.Chunk(blob=0, data=b"d", kind="k", total=1)),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=b"", kind="k", total=1)),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=b"d", kind="k")),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=b"d", total=1)),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=b"d", offset=1, total=1, kind="k")),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=b"d", kind="k" * 33, total=1)),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=b"d", kind="k", total=2**20 + 1)),
        pb.ClientMessage(chunk=pb.Chunk(blob=1, data=bytes(16_385), kind="k", total=2**15)),
        pb.ClientMessage(heartbeat=pb.Heartbeat(padding=bytes(16_385))),
    ):
        with pytest.raises(MalformedPacket):
            decode_client(message.SerializeToString())


def test_decode_server_when_a_field_is_invalid() -> None:
    for message in (
        pb.ServerMessage(),
        pb.ServerMessage(welcome=pb.Welcome(model_hash=b"m", window=0)),
        pb.ServerMessage(welcome=pb.Welcome(model_hash=b"m", window=MAX_WINDOW + 1)),
        pb.ServerMessage(welcome=pb.Welcome(model_hash=b"", window=2)),
        pb.ServerMessage(welcome=pb.Welcome(model_hash=b"m", window=2, decodable_from=-2)),
        pb.ServerMessage(acknowledgements=pb.Acknowledgements()),
        pb.ServerMessage(acknowledgements=pb.Acknowledgements(frames=[pb.Acknowledgement()] * (MAX_WINDOW + 1))),
        *(
            pb.ServerMessage(acknowledgements=pb.Acknowledgements(frames=[answer]))
            for answer in (
                pb.Acknowledgement(gap=-2),
                pb.Acknowledgement(gap=2**53),
                pb.Acknowledgement(gap=-(2**63)),
                pb.Acknowledgement(status=4),  # type: ignore[arg-type]
                pb.Acknowledgement(clock_step_us=-1),
                pb.Acknowledgement(spacing_us=2**64 - 1),
                pb.Acknowledgement(spacing_us=2**64 - 1, clock_step_us=-(2**63)),
                pb.Acknowledgement(hold_us=2**63),
            )
        ),
    ):
        with pytest.raises(MalformedPacket):
            decode_server(message.SerializeToString())


def test_hello_does_not_show_its_secret() -> None:
    secret = b"the secret of the session, 32 b."
    assert "secret" not in repr(Hello(bytes(16), "name", 1, b"m", live=True, session_secret=secret))


def test_frame_message_adds_four_bytes_to_its_payload_in_steady_state() -> None:
    sent, received = ClientMessages(), ClientMessages()
    for sequence in range(1000, 1010):
        data = sent.encode(FrameMessage(sequence, bytes(26)))
        assert received.decode(data) == FrameMessage(sequence, bytes(26))
    assert len(data) == 26 + FRAME_FIELDS_BYTES
    assert len(sent.encode(FrameMessage(1010, bytes(26), may_wait=True))) == 26 + FRAME_FIELDS_BYTES + 2


@given(st.lists(_client_messages, max_size=20), st.lists(_server_messages, max_size=20))
@settings(max_examples=200)
def test_messages_round_trip_alone_and_in_one_stream(client: list[ClientMessage], server: list[ServerMessage]) -> None:
    assert [decode_client(encode_client(message)) for message in client] == client
    assert [decode_server(encode_server(message)) for message in server] == server
    sent, received = ClientMessages(), ClientMessages()
    assert [received.decode(sent.encode(message)) for message in client] == client
    answered, read = ServerMessages(), ServerMessages()
    assert [read.decode(answered.encode(message)) for message in server] == server


@given(st.lists(_server_messages, max_size=8), st.binary(max_size=60))
def test_malformed_message_changes_nothing_for_those_behind_it(server: list[ServerMessage], noise: bytes) -> None:
    sent, read = ServerMessages(), ServerMessages()
    for message in server:
        position = read._position
        data = sent.encode(message)
        try:
            read.decode(noise + data[:-1])
        except MalformedPacket:
            assert read._position == position
        read._position = position
        assert read.decode(data) == message


def test_frame_messages_of_a_session_that_lasts_are_numbered_to_the_end() -> None:
    received = ClientMessages()
    last = FrameMessage(MAX_FRAME_SEQUENCE, b"p")
    assert received.decode(encode_client(last)) == last
    behind = pb.ClientMessage(frame=pb.Frame(payload=b"p")).SerializeToString()
    for _ in range(2):
        with pytest.raises(MalformedPacket, match="numbered up to"):
            received.decode(behind)


def test_decode_when_a_message_is_longer_than_any_valid_one() -> None:
    # Alternating submessages of a oneof cost 30 bytes of memory for each byte of the message.
    hostile = b"\x0a\x00\x12\x00" * (MAX_PARSED_BYTES // 4) + b"\x22\x00"
    for decode in (decode_client, decode_server):
        with pytest.raises(MalformedPacket, match="131074 bytes"):
            decode(hostile)


def test_decode_server_makes_reasons_printable() -> None:
    reason = "no\n\x1b[2J\u202e" + "x" * 600
    welcome = pb.Welcome(model_hash=b"m", window=2, reason=reason)
    ack = pb.Acknowledgement(status=pb.Acknowledgement.STATUS_REJECTED, reason=reason)
    acks = pb.Acknowledgements(frames=[ack])
    for message in (pb.ServerMessage(welcome=welcome), pb.ServerMessage(acknowledgements=acks)):
        received = decode_server(message.SerializeToString())
        decoded = received.frames[0] if isinstance(received, Acknowledgements) else received
        assert isinstance(decoded, Welcome | Acknowledgement)
        assert decoded.reason.startswith(r"no\n\x1b[2J\u202exxx") and len(decoded.reason) == MAX_REASON_CHARACTERS


def test_reason_of_a_broken_stream_is_printable() -> None:
    broken = StreamBroken("UNAVAILABLE", "bye\n\x1b[2J" + "x" * 1000)
    assert broken.reason.startswith(r"bye\n\x1b[2Jxxx") and len(broken.reason) == MAX_REASON_CHARACTERS
    assert str(broken).isprintable()
