"""How `sender doctor` and starting senders greet receivers in every state."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import grpc
import pytest

from common.errors import BodywireError, ModelMismatch, PeerError
from common.io.addresses import Address
from receiver.link.refusals import Refusal
from sender.link.connector import NoReceiver, find_receiver, greet
from sender.link.quic_transport import AutoTransport, QuicTransport
from sender.link.transport import Transport
from tests.support.link.counting_codec import MODEL
from tests.support.link.link_fixture import LOOPBACK, LinkFixture, SenderSecurity
from tests.support.link.recording_pipeline import RecordingPipeline

TIMEOUT_S = 2.0


async def refused(
    address: Address, text: str, security: SenderSecurity | None = None, kind: type[BodywireError] = PeerError
) -> None:
    """Checks that a greeting fails for a reason."""
    with pytest.raises(kind, match=text):
        await greet(Transport(security), address, MODEL, TIMEOUT_S)


async def test_receiver_that_fits_has_no_session_afterwards(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    noted: list[Refusal] = []
    _, address = await link.server(pipeline, on_refused=noted.append)
    await greet(Transport(), address, MODEL, TIMEOUT_S)
    assert pipeline.opened == 0
    assert noted == []


async def test_other_weights(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline(), model=b"\xee" * 8)
    await refused(address, f"{MODEL.hex()} here, {'ee' * 8} at {address}", kind=ModelMismatch)


@pytest.mark.parametrize("opener", [QuicTransport, AutoTransport])
async def test_receiver_that_takes_quic(
    link: LinkFixture, opener: Callable[[Transport], QuicTransport | AutoTransport]
) -> None:
    _, address = await link.server(RecordingPipeline(), quic=True)
    assert await greet(opener(Transport()), address, MODEL, TIMEOUT_S) == "QUIC"


async def test_sender_looks_for_a_receiver_and_begins_no_session(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline)
    await find_receiver(Transport(), address, "camera", MODEL, TIMEOUT_S)
    with pytest.raises(ModelMismatch, match=f"{'ee' * 8} here, {MODEL.hex()} at {address}"):
        await find_receiver(Transport(), address, "camera", b"\xee" * 8, TIMEOUT_S)
    assert pipeline.opened == 0
    await server.stop()
    with pytest.raises(NoReceiver, match=r"within 0\.2 s \(Connection refused\)"):
        await find_receiver(Transport(), address, "camera", MODEL, 0.2)


async def test_receiver_may_be_absent_where_frames_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    async with tcp_server(hang_up) as address:
        pass
    await find_receiver(Transport(), address, "camera", MODEL, TIMEOUT_S, may_be_absent=True)
    assert "Connection refused" in caplog.text and "trying until there is one" in caplog.text


async def test_nothing_listens() -> None:
    async with tcp_server(hang_up) as address:
        pass
    await refused(address, "no receiver at .* refused.*: start it, or check --peer")


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(serve: Serve) -> AsyncIterator[Address]:
    """A server that is no receiver; each connection ends with `serve`."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # The other end may hang up without reading.
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, LOOPBACK, 0)
    try:
        yield Address(LOOPBACK, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends the connection at once."""


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads until the other end hangs up."""
    await reader.read()


async def greet_as_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks another protocol."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reader.read()


@pytest.mark.parametrize(("serve", "text"), [(greet_as_ssh, "SSH"), (say_nothing, "127.0.0.1"), (hang_up, "127.0.0.1")])
async def test_server_that_is_no_receiver(serve: Serve, text: str) -> None:
    async with tcp_server(serve) as address:
        await refused(address, text)


async def test_grpc_server_that_is_no_receiver() -> None:
    server = grpc.aio.server()
    address = Address(LOOPBACK, server.add_insecure_port(f"{LOOPBACK}:0"))
    await server.start()
    try:
        await refused(address, "not a Bodywire receiver")
    finally:
        await server.stop(None)
