import pytest

from common.clock import Clock
from common.wire.convert import Drain, Hello, encode_client
from common.wire.stream import StreamBroken
from receiver.link.auth.authenticator import PeerIdentity
from receiver.link.handshake import Handshake, receive_hello
from receiver.link.session import Session, SessionRegistry
from tests.support.fake_link import MODEL, SECRET, CountingCodec, fake_link
from tests.unit.receiver.link.test_connection import FakePipeline

STUDIO, CAMERA = PeerIdentity("studio", "token", proven=True), PeerIdentity("camera", "token", proven=True)


class RecordingPipeline(FakePipeline):
    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[str] = []

    async def on_session(self, session: Session) -> None:
        self.sessions.append(f"begin {session.session_id[0]}")

    async def on_session_end(self, session: Session) -> None:
        self.sessions.append(f"end {session.session_id[0]}")


class Fixture:
    """Handshakes with a registry of two sessions, of which one sender may have one."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pipeline = RecordingPipeline()
        self.registry = SessionRegistry(CountingCodec, keep_s=10.0, capacity=2)
        self.handshake = Handshake(
            self.registry,
            self.pipeline,
            model_hash=MODEL,
            codec_version=1,
            window=4,
            peer_sessions=1,
            clock=Clock(lambda: self.now_s, lambda: 0.0),
        )


def hello(number: int = 1, *, resume: bool = False, codec_version: int = 1, model_hash: bytes = MODEL) -> Hello:
    return Hello(
        bytes([number]) * 16, "test", codec_version, model_hash, live=False, resume=resume, session_secret=SECRET
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (hello(codec_version=2), "it has codec version 1, the sender version 2"),
        (hello(model_hash=b"\xee" * 8), "it has model 0101010101010101, the sender eeeeeeeeeeeeeeee"),
    ],
)
def test_refusal_names_both_versions(message: Hello, reason: str) -> None:
    refusal = Fixture().handshake.refusal(message)
    assert refusal is not None
    assert (refusal.accepted, refusal.model_hash, refusal.reason) == (False, MODEL, reason)


def test_no_refusal_of_equal_versions() -> None:
    assert Fixture().handshake.refusal(hello()) is None


async def test_session_is_created_and_resumed() -> None:
    fixture = Fixture()
    session, resumed = await fixture.handshake.session_for(hello(), STUDIO)
    assert not resumed
    session.next_sequence = 7
    assert await fixture.handshake.session_for(hello(resume=True), STUDIO) == (session, True)
    welcome = fixture.handshake.welcome(session, True)
    assert (welcome.accepted, welcome.next_sequence, welcome.window, welcome.resumed) == (True, 7, 4, True)
    assert fixture.pipeline.sessions == ["begin 1"]


async def test_session_of_another_sender_is_refused() -> None:
    fixture = Fixture()
    await fixture.handshake.session_for(hello(), STUDIO)
    with pytest.raises(StreamBroken, match="belongs to another sender"):
        await fixture.handshake.session_for(hello(resume=True), CAMERA)


async def test_limits_of_sessions() -> None:
    fixture = Fixture()
    await fixture.handshake.session_for(hello(1), STUDIO)
    with pytest.raises(StreamBroken, match="studio has the maximum number of sessions per sender"):
        await fixture.handshake.session_for(hello(2), STUDIO)
    await fixture.handshake.session_for(hello(2), CAMERA)
    with pytest.raises(StreamBroken, match="the receiver has its maximum number of sessions"):
        await fixture.handshake.session_for(hello(3), PeerIdentity("garage", "token", proven=True))


async def test_expired_sessions_end_before_a_new_one_begins() -> None:
    fixture = Fixture()
    await fixture.handshake.session_for(hello(1), STUDIO)
    fixture.now_s = 11.0
    await fixture.handshake.session_for(hello(2), STUDIO)
    assert fixture.pipeline.sessions == ["begin 1", "end 1", "begin 2"]


async def test_first_message_must_be_hello() -> None:
    client, server = fake_link()
    await client.write(encode_client(hello()))
    assert await receive_hello(server) == hello()
    for data in (encode_client(Drain()), b"\xff\xff"):
        await client.write(data)
        with pytest.raises(StreamBroken, match="INVALID_ARGUMENT"):
            await receive_hello(server)
