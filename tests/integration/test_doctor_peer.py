"""What `sender doctor` says of receivers in every state, step by step."""

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

import receiver.link.config
import sender.link.transport.security
from common.clock import Clock
from common.doctor.finding import Finding, Verdict
from common.io.addresses import Address
from receiver.link.auth.tokens import add_token
from receiver.link.refusals import Refusal
from receiver.link.session import SessionRegistry
from sender.doctor import peer
from sender.doctor.peer import PeerUnderTest
from sender.link.transport.transport import Transport
from tests.support.certificate_authority import Authority
from tests.support.fake_link import MODEL, CountingCodec
from tests.support.link_fixture import LOOPBACK, LinkFixture, RecordingPipeline

ReceiverSecurity = receiver.link.config.SecurityConfig
SenderSecurity = sender.link.transport.security.SecurityConfig
ALL_STEPS = ["peer name", "peer tcp", "peer tls", "peer grpc", "peer token", "peer versions", "peer clock"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority.make(tmp_path_factory.mktemp("ours") / "certs")
    authority.issue("receiver", LOOPBACK, days=30)
    authority.issue("soon", LOOPBACK, days=3)
    return authority


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("others") / "certs")


def at_receiver(authority: Authority, name: str = "receiver", **more: Any) -> ReceiverSecurity:
    return ReceiverSecurity(tls_cert=authority.folder / f"{name}.pem", tls_key=authority.folder / f"{name}.key", **more)


async def diagnose(address: Address, security: SenderSecurity | None = None, **more: Any) -> list[Finding]:
    """All steps, in this event loop."""
    security = security or SenderSecurity()
    under_test = PeerUnderTest(
        address, Transport(security), more.pop("model_hash", MODEL), has_token=security.token_file is not None, **more
    )
    return await peer.check_all(under_test)


def last(findings: list[Finding], *, check: str, text: str) -> None:
    """Checks that a step fails with exit code 4, and that it is the last one."""
    assert all(finding.verdict is not Verdict.PROBLEM for finding in findings[:-1]), findings
    assert (findings[-1].check, findings[-1].verdict, findings[-1].exit_code) == (check, Verdict.PROBLEM, 4)
    assert text in findings[-1].line()


async def test_receiver_that_fits_has_no_session_afterwards(link: LinkFixture) -> None:
    pipeline, registry = RecordingPipeline(), SessionRegistry(CountingCodec)
    refused: list[Refusal] = []
    _, address = await link.server(pipeline, registry, on_refused=refused.append)
    findings = await diagnose(address)
    assert [(finding.check, finding.verdict) for finding in findings] == [(name, Verdict.OK) for name in ALL_STEPS]
    assert pipeline.opened == 0
    assert refused == []


async def test_clock_offset_with_its_error(link: LinkFixture) -> None:
    def ahead() -> float:
        return datetime.now(UTC).timestamp() + 7.0

    _, address = await link.server(RecordingPipeline(), clock=Clock(wall=ahead))
    finding = (await diagnose(address))[-1]
    assert (finding.check, finding.verdict) == ("peer clock", Verdict.WARNING)
    match = re.fullmatch(r"the receiver's is ([0-9.]+) ms ahead, ±([0-9.]+) ms", finding.found)
    assert match is not None, finding.found
    offset_ms, error_ms = float(match[1]), float(match[2])
    assert abs(offset_ms - 7000.0) <= error_ms + 0.2


async def test_other_weights(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline(), model=b"\xee" * 8)
    findings = await diagnose(address)
    versions = {finding.check: finding for finding in findings}["peer versions"]
    assert (versions.verdict, versions.exit_code) == (Verdict.PROBLEM, 4)
    assert versions.found == f"weights {MODEL.hex()} here and {'ee' * 8} there"


async def test_nothing_listens() -> None:
    async with tcp_server(hang_up) as address:
        pass
    last(await diagnose(address), check="peer tcp", text="refused: start the receiver there")
    findings = await diagnose(address, waits_for_receiver=True)
    assert [finding.check for finding in findings] == ["peer name", "peer tcp"]
    assert findings[-1].verdict is Verdict.WARNING
    assert "the sender will wait" in findings[-1].found


async def test_unknown_name() -> None:
    findings = await diagnose(Address("nowhere.invalid", 50051), SenderSecurity(insecure=True))
    last(findings, check="peer name", text="nowhere.invalid is not known")


async def test_no_name_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60.0) and [])
    monkeypatch.setattr(peer, "_STEP_TIMEOUT_S", 0.05)
    findings = await diagnose(Address("receiver.example", 50051), SenderSecurity(insecure=True))
    answered.set()
    last(findings, check="peer name", text="no name server answers for receiver.example")


async def test_one_of_two_addresses_answers(link: LinkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["127.0.0.9", LOOPBACK]

    monkeypatch.setattr(peer, "_resolve", both)
    _, address = await link.server(RecordingPipeline())
    findings = await diagnose(address)
    assert [finding.check for finding in findings] == ALL_STEPS
    assert (findings[1].check, findings[1].verdict) == ("peer tcp", Verdict.WARNING)
    assert f"127.0.0.9:{address.port} refused, {address} " in findings[1].found


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
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
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, LOOPBACK, 0, ssl=context)
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


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks another protocol."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reader.read()


async def test_server_that_is_no_receiver() -> None:
    for serve, text in ((greet, "SSH"), (say_nothing, "127.0.0.1"), (hang_up, "127.0.0.1")):
        async with tcp_server(serve) as address:
            last(await diagnose(address), check="peer tls", text=text)


async def test_grpc_server_that_is_no_receiver() -> None:
    server = grpc.aio.server()
    address = Address(LOOPBACK, server.add_insecure_port(f"{LOOPBACK}:0"))
    await server.start()
    try:
        last(await diagnose(address), check="peer grpc", text="not a Bodywire receiver")
    finally:
        await server.stop(None)


async def test_encrypted_receiver(link: LinkFixture, ours: Authority) -> None:
    for name, verdict, text in (
        ("receiver", Verdict.OK, "receiver, signed by "),
        ("soon", Verdict.WARNING, "in 2 days"),
    ):
        _, address = await link.server(RecordingPipeline(), security=at_receiver(ours, name))
        findings = await diagnose(address, SenderSecurity(tls_ca=ours.certificate))
        assert [finding.verdict for finding in findings] == [Verdict.OK] * 2 + [verdict] + [Verdict.OK] * 4
        assert findings[2].check == "peer tls" and text in findings[2].found


async def test_wrong_authority(link: LinkFixture, ours: Authority, others: Authority) -> None:
    _, address = await link.server(RecordingPipeline(), security=at_receiver(ours))
    findings = await diagnose(address, SenderSecurity(tls_ca=others.certificate))
    last(findings, check="peer tls", text="--tls-ca")


async def test_tokens(link: LinkFixture, tmp_path: Path) -> None:
    tokens, good, bad = tmp_path / "tokens.toml", tmp_path / "good", tmp_path / "bad"
    good.write_text(add_token(tokens, "camera", None, datetime.now(UTC)))
    bad.write_text("unknown")
    _, address = await link.server(RecordingPipeline(), security=ReceiverSecurity(tokens=tokens))
    accepted = await diagnose(address, SenderSecurity(token_file=good))
    assert [finding.verdict for finding in accepted] == [Verdict.OK] * len(ALL_STEPS)
    last(await diagnose(address), check="peer token", text="give --token-file")
    last(await diagnose(address, SenderSecurity(token_file=bad)), check="peer token", text="the token is unknown")
