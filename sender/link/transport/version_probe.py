"""Asks a receiver for its versions and compares the clocks, without a session (`common.wire.version_probe`)."""

import asyncio
from dataclasses import dataclass

from common.clock import Clock
from common.codec.packet import CODEC_VERSION
from common.io.addresses import Address
from common.wire.convert import PROTOCOL_VERSION, Welcome, encode_client
from common.wire.version_probe import ProbeAnswer, probe_hello
from sender.link.keepalive.clock_offset import ClockEstimate, ClockOffset
from sender.link.transport.handshake import read_welcome
from sender.link.transport.transport import Transport

_PROBES = 3


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a receiver has answered.

    Args:
        mismatch: which versions differ; empty if sender and receiver fit.
        clocks: the receiver's clock minus the sender's; None from a receiver that does not tell its time.
    """

    mismatch: str
    clocks: ClockEstimate | None


async def probe_versions(
    transport: Transport, peer: Address, model_hash: bytes, clock: Clock, timeout_s: float, name: str
) -> ProbeResult:
    """Compares versions and clocks; the clocks over the shortest of a few round trips.

    Args:
        timeout_s: for each of the streams.

    Raises:
        StreamBroken: the receiver refuses the sender, or the connection is lost.
        TimeoutError: there is no answer.
        PeerError: the peer does not speak the protocol.
    """
    offset, mismatch, answered = ClockOffset(), "", True
    for number in range(_PROBES):
        async with asyncio.timeout(timeout_s):
            welcome, answer, sent_s, received_s = await _probe(transport, peer, clock, name)
        if number == 0:
            mismatch = _mismatch(welcome, answer, model_hash)
        if answer is None:
            answered = False
            break
        offset.update(sent_s, answer.clock_ns / 1e9, answer.clock_ns / 1e9, received_s)
    return ProbeResult(mismatch, offset.at(clock.wall()) if answered else None)


async def _probe(
    transport: Transport, peer: Address, clock: Clock, name: str
) -> tuple[Welcome, ProbeAnswer | None, float, float]:
    """The answer to one probe, and the times of its departure and arrival on the sender's clock."""
    stream = await transport.open(peer)
    try:
        await stream.connected()
        sent_s = clock.wall()
        await stream.write(encode_client(probe_hello(name)))
        data = await stream.read()
        received_s = clock.wall()
        welcome = read_welcome(peer, data)
        return welcome, ProbeAnswer.from_metadata(await stream.trailing_metadata()), sent_s, received_s
    finally:
        await stream.close()


def _mismatch(welcome: Welcome, answer: ProbeAnswer | None, model_hash: bytes) -> str:
    """Which versions differ; a receiver that does not list them names the first one that differs."""
    differing = []
    if answer is None:
        differing += [] if " model " in welcome.reason else [welcome.reason]
    else:
        differing += _differing("protocol", PROTOCOL_VERSION, answer.protocol_version)
        differing += _differing("codec", CODEC_VERSION, answer.codec_version)
    differing += _differing("weights", model_hash.hex(), welcome.model_hash.hex())
    return ", ".join(differing)


def _differing(what: str, here: object, there: object) -> list[str]:
    return [] if here == there else [f"{what} {here} here and {there} there"]
