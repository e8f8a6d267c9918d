import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator

import pytest

from common.addresses import Address
from common.errors import ModelMismatch, PeerError, VersionMismatch
from common.frames import LabelFrame
from common.wire.convert import (
    NO_SEQUENCE,
    Acknowledgement,
    AckStatus,
    ClientMessage,
    Drain,
    FrameMessage,
    Heartbeat,
    Hello,
    ServerMessage,
    Welcome,
    decode_client,
    encode_server,
)
from sender.link import Fate, LinkClient, LinkConfiguration, LinkObserver, Payload
from sender.rate.sample import LinkSample
from tests.fake_link import MODEL, SESSION, CountingCodec, FakeEnd, fake_link, label_frame, settle

WELCOME = Welcome(True, MODEL, window=2)


class Recorder(LinkObserver):
    def __init__(self) -> None:
        self.fates: list[tuple[int, Fate]] = []
        self.sent_again: list[tuple[int, bool]] = []
        self.samples: list[LinkSample] = []
        self.lost: list[str] = []

    def disconnected(self, reason: str) -> None:
        self.lost.append(reason)

    def sent(self, frame: LabelFrame, encoded: Payload, *, again: bool) -> None:
        self.sent_again.append((frame.sequence, again))

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        self.samples.append(sample)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        self.fates.append((frame.sequence, fate))


class Receiver:
    """Plays the receiver by hand: one entry of `welcomes` for each stream that the client opens."""

    def __init__(self, *welcomes: Welcome | None, banner: str | None = None) -> None:
        self.hellos: list[Hello] = []
        self.banner = banner
        self._welcomes = deque(welcomes)
        self._ends: asyncio.Queue[FakeEnd] = asyncio.Queue()

    async def open_stream(self, peer: Address) -> FakeEnd:
        client, server = fake_link()
        welcome = self._welcomes.popleft() if self._welcomes else None
        if welcome is None:
            server.break_off("UNAVAILABLE", "connection refused")
        else:
            await server.write(encode_server(welcome))
            self._ends.put_nowait(server)
        return client

    async def probe(self, peer: Address) -> str | None:
        return self.banner

    async def stream(self) -> FakeEnd:
        """The next stream that was agreed, after its greeting."""
        end = await self._ends.get()
        hello = await hear(end)
        assert isinstance(hello, Hello)
        self.hellos.append(hello)
        return end


async def hear(end: FakeEnd) -> ClientMessage:
    """The sender's next message that is not a heartbeat."""
    while True:
        data = await end.read()
        assert data is not None
        message = decode_client(data)
        if not isinstance(message, Heartbeat):
            return message


async def hear_frame(end: FakeEnd) -> int:
    message = await hear(end)
    assert isinstance(message, FrameMessage)
    return message.sequence


async def say(end: FakeEnd, message: ServerMessage) -> None:
    await end.write(encode_server(message))
    await settle()


def ack(sequence: int, status: AckStatus = AckStatus.DECODED, *, want_key: bool = False) -> Acknowledgement:
    return Acknowledgement(sequence, status, sequence, 1, 2_000_000, 5_000_000, 33_000_000, 350, want_key, "a reason")


class Link:
    """A client with everything around it."""

    def __init__(
        self, receiver: Receiver, *, live: bool, heartbeat_interval_ms: float = 60_000.0, connect_timeout: float = 1.0
    ) -> None:
        self.receiver = receiver
        self.codec = CountingCodec()
        self.seen = Recorder()
        configuration = LinkConfiguration(
            connect_timeout=connect_timeout, reconnect_timeout=1.0, heartbeat_interval_ms=heartbeat_interval_ms
        )
        self.client = LinkClient(
            configuration,
            Hello(SESSION, "test", 1, MODEL, live),
            self.codec,
            observer=self.seen,
            rng=random.Random(1),
            open_stream=receiver.open_stream,
            probe=receiver.probe,
        )


@pytest.fixture
async def closing() -> AsyncIterator[list[LinkClient]]:
    clients: list[LinkClient] = []
    yield clients
    for client in clients:
        await client.close()


async def test_live_send_when_window_is_full_supersedes_the_older_waiting_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(5):
        await link.client.send(label_frame(sequence))
        await settle()
    assert [await hear_frame(end), await hear_frame(end)] == [0, 1]
    assert link.seen.fates == [(2, Fate.SUPERSEDED), (3, Fate.SUPERSEDED)]
    assert link.codec.encoded == [(0, -1), (1, -1)]
    await say(end, ack(0))
    assert await hear_frame(end) == 4
    # Encoded only now, so predicted from the frame that was acknowledged in the meantime.
    assert link.codec.encoded[-1] == (4, 0)


async def test_send_of_a_file_waits_for_room_and_loses_nothing(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(3):
        await link.client.send(label_frame(sequence))
        await settle()
    blocked = asyncio.create_task(link.client.send(label_frame(3)))
    await settle()
    assert not blocked.done()
    await say(end, ack(0))
    await blocked
    for sequence in (1, 2, 3):
        await say(end, ack(sequence))
    assert [await hear_frame(end) for _ in range(4)] == [0, 1, 2, 3]
    assert link.seen.fates == [(sequence, Fate.ACKNOWLEDGED) for sequence in range(4)]


async def test_window_is_the_smaller_of_both_sides(closing: list[LinkClient]) -> None:
    link = Link(Receiver(Welcome(True, MODEL, window=1)), live=True)
    closing.append(link.client)
    await link.client.connect()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
    assert link.codec.encoded == [(0, -1)]


async def test_sample_takes_the_receivers_time_out_of_the_round_trip(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    await hear_frame(end)
    await say(end, ack(0))
    (sample,) = link.seen.samples
    assert (sample.hold_ms, sample.arrival_spacing_ms, sample.message_bytes) == (3.0, 33.0, 350)
    assert sample.round_trip_time_ms >= 0
    assert sample.sent_spacing_ms is None


async def test_rejected_frame_of_a_file_is_sent_again_as_a_key_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    assert await hear_frame(end) == 0
    await say(end, ack(0))
    await link.client.send(label_frame(1))
    assert await hear_frame(end) == 1
    await say(end, ack(1, AckStatus.REJECTED, want_key=True))
    assert await hear_frame(end) == 1
    assert link.codec.encoded == [(0, -1), (1, 0), (1, -1)]
    assert link.seen.sent_again == [(0, False), (1, False), (1, True)]


async def test_rejected_live_frame_is_given_up_and_the_next_is_a_key_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
        await say(end, ack(sequence, AckStatus.REJECTED if sequence else AckStatus.DECODED, want_key=sequence == 1))
    await link.client.send(label_frame(2))
    await settle()
    assert link.seen.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.REJECTED)]
    assert link.codec.encoded == [(0, -1), (1, 0), (2, -1)]


async def test_send_when_every_frame_is_rejected_gives_up(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    for _ in range(8):
        await hear_frame(end)
        await say(end, ack(0, AckStatus.REJECTED, want_key=True))
    with pytest.raises(PeerError, match="rejected 8 frames in a row: a reason"):
        await link.client.send(label_frame(1))


async def test_duplicate_is_delivered_but_nothing_is_predicted_from_it(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    await settle()
    await say(end, ack(0, AckStatus.DUPLICATE))
    await link.client.send(label_frame(1))
    await settle()
    assert link.seen.fates == [(0, Fate.ACKNOWLEDGED)]
    assert link.codec.encoded == [(0, -1), (1, -1)]


async def test_resume_when_receiver_kept_the_session_goes_on_from_its_state(closing: list[LinkClient]) -> None:
    kept = Welcome(True, MODEL, next_sequence=2, resumed=True, decodable_from=1)
    link = Link(Receiver(WELCOME, kept), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(2):
        await link.client.send(label_frame(sequence))
        await settle()
    await say(end, ack(0))
    end.break_off()
    end = await link.receiver.stream()
    assert (link.receiver.hellos[1].resume, link.receiver.hellos[1].resume_from) == (True, 1)
    await link.client.send(label_frame(2))
    assert await hear_frame(end) == 2
    assert link.seen.fates == [(0, Fate.ACKNOWLEDGED), (1, Fate.ACKNOWLEDGED)]
    assert link.codec.encoded == [(0, -1), (1, -1), (2, 1)]
    assert link.seen.lost == ["connection reset (UNAVAILABLE)"]


async def test_resume_when_receiver_is_new_sends_again_from_a_key_frame(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, None, WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for sequence in range(3):
        await link.client.send(label_frame(sequence))
        await settle()
        if sequence == 0:
            await say(end, ack(0))
    end.break_off()
    end = await link.receiver.stream()
    assert [await hear_frame(end), await hear_frame(end)] == [1, 2]
    assert link.codec.encoded == [(0, -1), (1, 0), (2, 0), (1, -1), (2, -1)]
    assert (1, True) in link.seen.sent_again


async def test_receiver_that_says_nothing_is_taken_for_dead(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=True, heartbeat_interval_ms=2.0)
    closing.append(link.client)
    await link.client.connect()
    await link.receiver.stream()
    await link.receiver.stream()
    assert link.seen.lost == ["no sign of life from the receiver (DEADLINE_EXCEEDED)"]


async def test_receiver_that_echoes_heartbeats_lives_on(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME), live=True, heartbeat_interval_ms=2.0)
    closing.append(link.client)
    await link.client.connect()
    end = await link.receiver.stream()
    for _ in range(20):
        data = await end.read()
        assert data is not None
        beat = decode_client(data)
        assert isinstance(beat, Heartbeat)
        await say(end, beat)
    assert link.seen.lost == []


async def test_receiver_that_drains_gets_no_further_frames(closing: list[LinkClient]) -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=False)
    closing.append(link.client)
    await link.client.connect()
    first = await link.receiver.stream()
    await say(first, Drain())
    await link.client.send(label_frame(0))
    await settle()
    assert link.codec.encoded == []
    await first.finish()
    second = await link.receiver.stream()
    assert await hear_frame(second) == 0


async def test_drain_waits_for_every_acknowledgement_then_says_goodbye() -> None:
    link = Link(Receiver(WELCOME), live=False)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    draining = asyncio.create_task(link.client.drain())
    assert await hear_frame(end) == 0
    await settle()
    assert not draining.done()
    await say(end, ack(0))
    assert isinstance(await hear(end), Drain)
    await end.write(encode_server(Drain()))
    await end.finish()
    await draining
    with pytest.raises(PeerError, match="not connected"):
        await link.client.send(label_frame(1))


async def test_drain_when_receiver_is_gone_for_good_says_so() -> None:
    link = Link(Receiver(WELCOME), live=False)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    end.break_off()
    with pytest.raises(PeerError, match=r"no receiver at 127\.0\.0\.1:50051 within 1 s \(connection refused\)"):
        await link.client.drain()


async def test_stream_that_the_receiver_refuses_to_go_on_with_is_not_tried_again() -> None:
    link = Link(Receiver(WELCOME, WELCOME), live=False)
    await link.client.connect()
    end = await link.receiver.stream()
    await link.client.send(label_frame(0))
    end.break_off("INVALID_ARGUMENT", "8 frames in a row rejected")
    with pytest.raises(PeerError, match="refuses to go on: 8 frames in a row rejected"):
        await link.client.drain()
    assert link.seen.lost == []


async def test_connect_when_models_differ_names_both() -> None:
    link = Link(Receiver(Welcome(False, b"\xee" * 8, "another model")), live=True)
    with pytest.raises(ModelMismatch, match=r"0101010101010101 here, eeeeeeeeeeeeeeee at 127\.0\.0\.1:50051"):
        await link.client.connect()


async def test_connect_when_refused_says_why() -> None:
    link = Link(Receiver(Welcome(False, MODEL, "it speaks protocol version 7")), live=True)
    with pytest.raises(VersionMismatch, match="it speaks protocol version 7"):
        await link.client.connect()


async def test_connect_when_nothing_answers() -> None:
    link = Link(Receiver(), live=True, connect_timeout=0.1)
    with pytest.raises(PeerError, match="no receiver at"):
        await link.client.connect()


async def test_connect_when_something_else_answers_names_it() -> None:
    link = Link(Receiver(banner="SSH-2.0-OpenSSH_9.2"), live=True)
    with pytest.raises(PeerError, match=r"not a Bodywire receiver \(it answered 'SSH-2\.0-OpenSSH_9\.2'\)"):
        await link.client.connect()


async def test_connect_tries_again_while_the_receiver_starts(closing: list[LinkClient]) -> None:
    link = Link(Receiver(None, None, WELCOME), live=True)
    closing.append(link.client)
    assert (await link.client.connect()).decodable_from == NO_SEQUENCE


@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"window": 65}, {"connect_timeout": 0.0}, {"heartbeat_interval_ms": 0.0}, {"heartbeats_missed": 0}],
)
def test_configuration_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LinkConfiguration(**wrong)  # type: ignore[arg-type]
