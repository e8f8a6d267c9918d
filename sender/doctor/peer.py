"""Checks of the way to the receiver, step by step: name, TCP, TLS, gRPC, versions, token, clocks."""

import asyncio
import socket
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.clock import SYSTEM_CLOCK, Clock
from common.doctor.certificates import expiring
from common.doctor.finding import Finding, Verdict, failure, ok, problem, warning
from common.errors import PeerError, UsageError
from common.io.addresses import Address
from common.wire.convert import STREAM_SERVICE
from common.wire.stream import StreamBroken
from sender.link.keepalive.clock_offset import ClockEstimate
from sender.link.transport.diagnosis import peer_certificate
from sender.link.transport.security import SecurityConfig, read_token
from sender.link.transport.transport import Transport
from sender.link.transport.version_probe import ProbeResult, probe_versions

_STEP_TIMEOUT_S = 2.0
_IDENTITY_CODES = ("UNAUTHENTICATED", "PERMISSION_DENIED")
_NAME = "sender doctor"
# The age of a frame is off by this; the receiver converts it, so a large offset is no fault.
_LARGE_OFFSET_S = 1.0
_REFUSED, _SILENT = "refused", "no answer"


@dataclass(frozen=True, slots=True)
class PeerUnderTest:
    """The receiver that a sender is to reach.

    Args:
        waits_for_receiver: the sender does not end when the receiver cannot be reached (`--delivery complete`).
    """

    address: Address
    transport: Transport
    model_hash: bytes
    waits_for_receiver: bool = False
    has_token: bool = False
    clock: Clock = SYSTEM_CLOCK

    def unreachable(self, check: str, found: str, advice: str) -> Finding:
        """A finding that ends the sender, unless it waits for the receiver."""
        if self.waits_for_receiver:
            return warning(check, f"{found}; the sender will wait", advice)
        return problem(check, found, advice, PeerError)


def check_token(config: SecurityConfig, address: Address) -> Finding:
    """Whether the sender's token can be read, and would not be sent unencrypted; raises UsageError."""
    token = read_token(config, address)
    return ok("token", "none given" if token is None else f"read from {config.token_file}")


def check_peer(peer: PeerUnderTest) -> list[Finding]:
    """All steps, up to the first that fails; takes a few seconds at most."""
    return asyncio.run(check_all(peer))


async def check_all(peer: PeerUnderTest) -> list[Finding]:
    """As `check_peer`, in a running event loop."""
    addresses, name = await check_name(peer)
    if not addresses:
        return [name]
    reached, tcp = await check_tcp(peer, addresses)
    if not reached:
        return [name, tcp]
    findings = [name, tcp]
    for step in (check_tls, check_grpc):
        findings.append(await step(peer))
        if findings[-1].verdict is Verdict.PROBLEM:
            return findings
    return [*findings, *await check_session(peer)]


async def check_name(peer: PeerUnderTest) -> tuple[list[str], Finding]:
    """The IP addresses of the receiver's name."""
    host = peer.address.host
    try:
        async with asyncio.timeout(_STEP_TIMEOUT_S):
            addresses = await _resolve(host, peer.address.port)
    except TimeoutError:
        return [], peer.unreachable("peer name", f"no name server answers for {host}", "give --peer an IP address")
    except OSError as error:
        text = f"{host} is not known ({error.strerror})"
        return [], peer.unreachable("peer name", text, "check the name, or give --peer an IP address")
    return addresses, ok("peer name", host if addresses == [host] else f"{host} is {', '.join(addresses)}")


async def _resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a name.

    Not in the event loop's threads, for which the end of the loop waits, also if no name server answers.

    Raises:
        OSError: the name is not known.
    """
    outcome: Future[list[str]] = Future()

    def resolve() -> None:
        # The result of a wait that was given up is not wanted.
        with suppress(InvalidStateError):
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))

    threading.Thread(target=resolve, name="name", daemon=True).start()
    return await asyncio.wrap_future(outcome)


async def check_tcp(peer: PeerUnderTest, addresses: list[str]) -> tuple[bool, Finding]:
    """Whether an address accepts a connection, and how each of them answers."""
    port = peer.address.port
    outcomes = dict(zip(addresses, await asyncio.gather(*(_connect(host, port) for host in addresses)), strict=True))
    reached = [outcome.endswith(" ms") for outcome in outcomes.values()]
    shown = ", ".join(f"{Address(host, port)} {outcome}" for host, outcome in outcomes.items())
    if all(reached):
        return True, ok("peer tcp", shown)
    if any(reached):
        return True, warning("peer tcp", shown, "gRPC tries all of them, so the connection may take longer")
    advice = "check the address, the network, and firewalls in between"
    if _REFUSED in outcomes.values():
        advice = f"start the receiver there, or check the port; from elsewhere it needs --listen 0.0.0.0:{port}"
    return False, peer.unreachable("peer tcp", shown, advice)


async def _connect(host: str, port: int) -> str:
    """`0.4 ms`, or why there is no connection."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        async with asyncio.timeout(_STEP_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return _SILENT
    except ConnectionRefusedError:
        return _REFUSED
    except OSError as error:
        return error.strerror or str(error)
    took_ms = (loop.time() - began_s) * 1e3
    writer.close()
    return f"{took_ms:.1f} ms"


async def check_tls(peer: PeerUnderTest) -> Finding:
    """Whether both ends encrypt or both do not, and whether they trust each other's certificates."""
    address = peer.address
    try:
        credentials = peer.transport.credentials(address)
    except UsageError as error:
        return failure("peer tls", error)
    diagnosis = await peer.transport.diagnose(address)
    if diagnosis is not None:
        return failure("peer tls", PeerError(diagnosis))
    if credentials is None:
        if address.is_loopback:
            return ok("peer tls", "not encrypted, on this machine")
        return warning("peer tls", "not encrypted: everybody on the way can read the frames", "see docs/security.md")
    try:
        found = await peer_certificate(address, credentials, _STEP_TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or _SILENT
        return peer.unreachable("peer tls", f"no encrypted connection to {address} ({reason})", "try again")
    text = f"{found.name}, signed by {found.authority}, until {found.valid_until:%Y-%m-%d}"
    return expiring("peer tls", text, found.valid_until, datetime.now(UTC))


async def check_grpc(peer: PeerUnderTest) -> Finding:
    """Whether a receiver is there and serves, by gRPC's health service."""
    address, channel = peer.address, peer.transport.channel(peer.address)
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=STREAM_SERVICE), timeout=_STEP_TIMEOUT_S
        )
    except grpc.aio.AioRpcError as error:
        return _health_failure(peer, error)
    finally:
        await channel.close()
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return peer.unreachable("peer grpc", f"the receiver at {address} is stopping", "start it again")
    return ok("peer grpc", "a receiver serves")


def _health_failure(peer: PeerUnderTest, error: Any) -> Finding:
    code, details = error.code().name, str(error.details() or "no reason given")
    if code in ("UNIMPLEMENTED", "NOT_FOUND"):
        found = f"{peer.address} is a gRPC server, but not a Bodywire receiver"
        return problem("peer grpc", found, "check the port of --peer", PeerError)
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        reason = _SILENT if code == "DEADLINE_EXCEEDED" else details.splitlines()[0]
        return peer.unreachable("peer grpc", f"no gRPC at {peer.address} ({reason})", "check the port of --peer")
    return problem("peer grpc", f"{peer.address} answers {code}: {details}", "check the port of --peer", PeerError)


async def check_session(peer: PeerUnderTest) -> list[Finding]:
    """Versions, token and clocks, compared without beginning a session."""
    try:
        found = await probe_versions(peer.transport, peer.address, peer.model_hash, peer.clock, _STEP_TIMEOUT_S, _NAME)
    except UsageError as error:
        return [failure("peer token", error)]
    except TimeoutError:
        return [peer.unreachable("peer versions", f"the receiver at {peer.address} does not answer", "see its log")]
    except StreamBroken as error:
        if error.code in _IDENTITY_CODES:
            return [problem("peer token", f"the receiver refuses this sender ({error.reason})", "", PeerError)]
        return [peer.unreachable("peer versions", f"the receiver ends the stream ({error})", "see its log")]
    except PeerError as error:
        return [failure("peer versions", error)]
    token = "accepted" if peer.has_token else "none, and none is asked for"
    return [ok("peer token", token), _versions(found), *_clocks(found.clocks)]


def _versions(found: ProbeResult) -> Finding:
    if found.mismatch:
        return problem("peer versions", found.mismatch, "install the same release on both ends", PeerError)
    return ok("peer versions", "protocol, codec and weights are the same at both ends")


def _clocks(estimate: ClockEstimate | None) -> list[Finding]:
    if estimate is None:
        return [warning("peer clock", "the receiver is of a release that does not tell its time")]
    offset_ms, error_ms = estimate.offset_s * 1e3, estimate.error_s * 1e3
    found = f"the receiver's is {abs(offset_ms):.1f} ms {'ahead' if offset_ms > 0 else 'behind'}, ±{error_ms:.1f} ms"
    if abs(offset_ms) <= error_ms:
        found = f"the same as the receiver's, ±{error_ms:.1f} ms"
    if abs(estimate.offset_s) > max(_LARGE_OFFSET_S, estimate.error_s):
        return [warning("peer clock", found, "ages are corrected by it, but run a time service on both machines")]
    return [ok("peer clock", found)]
