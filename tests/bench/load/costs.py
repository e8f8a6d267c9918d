"""What a stranger can make the receiver spend: each message and each HTTP endpoint, one after the other."""

import asyncio
import secrets
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from common.blobs import BLOB_KINDS
from common.errors import BodywireError
from common.frames import LabelFrame, PersonLabels
from common.io.addresses import Address
from common.weights.manifest import model_hash
from common.wire.convert import Chunk, ClientMessage, ClientMessages, FrameMessage, Heartbeat, encode_client
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import SenderReport
from common.wire.stream import StreamBroken
from common.wire.version_probe import probe_hello
from receiver.link.auth.tokens import add_token
from sender.link.connector import ClientStream, StreamOpener
from sender.link.quic_transport import QuicTransport
from sender.link.transport import Transport
from tests.bench import report
from tests.bench.time.web import account
from tests.netlab.crowd import CAMERA, Receiver, receiver, recorded_labels
from tests.netlab.hostile.hostile_quic import HALF_OPEN, hostile_quic, stranger
from tests.netlab.programs import FixedRate, new_hello
from tests.support.link.relays import BreakableRelay
from tests.support.processes.demo_clip import demo_pictures

Figures = dict[str, float]
Act = Callable[[], Awaitable[object]]
Case = Callable[[Address], AbstractAsyncContextManager[Act]]

_WORKERS, _COUNTED = 4, 4
# Of the longest act: an upload while others wait.
_LONGEST_S = 30.0
_TIMEOUT_S = 10.0


def cases(there: Receiver, token: Path) -> Iterator[tuple[str, bool, Case]]:
    """Name, whether it is over UDP, and what to do."""
    own = there.sender("costs")
    nobody, certain, known = replace(own, tls_cert=None, tls_key=None), own, replace(own, token_file=token)
    held: list[asyncio.StreamWriter] = []
    yield "TCP: a connection that stays", False, partial(_connections, held)
    for who, security in (("nobody", nobody), ("certificate", certain), ("certificate and token", known)):
        for name, opener in (("gRPC", Transport(security)), ("QUIC", QuicTransport(Transport(security)))):
            yield f"{name}, {who}: Hello", name == "QUIC", partial(_greetings, opener)
    yield "QUIC, nobody: Initial", True, partial(_packets, there.authority.certificate, 0)
    yield "QUIC, nobody: 50 packets of noise and Initial", True, partial(_packets, there.authority.certificate, 50)
    yield "QUIC, nobody: half a handshake", True, partial(_half_open, there.authority.certificate)
    people = recorded_labels()
    for name, opener in (("gRPC", Transport(known)), ("QUIC", QuicTransport(Transport(known)))):
        udp = name == "QUIC"
        yield f"{name}: Heartbeat", udp, partial(_messages, opener, lambda n: [Heartbeat(n)])
        yield f"{name}: SenderReport", udp, partial(_messages, opener, lambda n: [SenderReport(), Heartbeat(n)])
        for size in (0, 1, 16):
            yield f"{name}: frame of {size}", udp, partial(_frames, opener, people, size)
        yield f"{name}: frame that does not decode", udp, partial(_messages, opener, lambda n: [FrameMessage(n, b"?")])
        for kind in (*BLOB_KINDS, "?"):
            yield f"{name}: blob {kind}", udp, partial(_messages, opener, partial(_blob, kind))


async def http_cases(there: Receiver) -> list[tuple[str, bool, Case]]:
    """The same of each endpoint, for nobody and for an account."""
    headers = await asyncio.to_thread(account, there.page)
    async with httpx.AsyncClient(base_url=there.page) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    (picture,) = demo_pictures(1)
    found: list[tuple[str, bool, Case]] = []
    for path, methods in {"/": {"get": {}}, "/openapi.json": {"get": {}}, **paths}.items():
        for method in methods:
            for who, given in (("", {}), (", account", headers)):
                sent: dict[str, Any] = {}
                if path == "/upload":
                    sent = {"files": {"image": ("a.jpg", picture, "image/jpeg")}}
                elif method in ("post", "put", "patch"):
                    sent = {"json": {"name": "nobody", "password": "a wrong password"}}
                found.append((f"{method.upper()} {path}{who}", False, partial(_requests, method, path, given, sent)))
    return found


@asynccontextmanager
async def _connections(held: list[asyncio.StreamWriter], at: Address) -> AsyncIterator[Act]:
    async def act() -> None:
        held.append((await asyncio.open_connection(at.host, at.port))[1])

    yield act
    for writer in held:
        writer.close()
    held.clear()


@asynccontextmanager
async def _greetings(opener: StreamOpener, at: Address) -> AsyncIterator[Act]:
    async def act() -> None:
        with suppress(BodywireError):
            stream = await opener.reach(at)
            try:
                await stream.write(encode_client(probe_hello("costs")))
                await stream.read()
            finally:
                await stream.close()

    yield act


@asynccontextmanager
async def _packets(authority: Path, noise: int, at: Address) -> AsyncIterator[Act]:
    """Packets of strangers: one that is answered behind some that are not."""
    async with hostile_quic(at, authority, 0) as client:
        initial = client._quic.datagrams_to_send(now=time.monotonic())[0][0]
    async with stranger(at) as sender:

        async def act() -> None:
            before = sender.received_bytes
            for _ in range(noise):
                sender.send(b"\\x40" + secrets.token_bytes(1199))
            sender.send(initial)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TIMEOUT_S / 10):
                    while sender.received_bytes == before:
                        await asyncio.sleep(0)

        yield act


@asynccontextmanager
async def _half_open(authority: Path, at: Address) -> AsyncIterator[Act]:
    async def act() -> None:
        async with hostile_quic(at, authority, HALF_OPEN):
            await asyncio.sleep(0.02)

    yield act


@asynccontextmanager
async def _messages(
    opener: StreamOpener, made: Callable[[int], Sequence[ClientMessage]], at: Address
) -> AsyncIterator[Act]:
    """Messages of a session, which begins again when it is ended; each act waits for the answer to its last one."""
    opened: list[tuple[ClientStream, ClientMessages]] = []
    hello, numbers = new_hello("costs", model_hash(), live=True), count(1)

    async def act() -> None:
        if not opened:
            stream = await opener.reach(at)
            opened.append((stream, ClientMessages(Datagrams() if stream.lossy else None)))
            await stream.write(encode_client(hello))
            await stream.read()
        stream, frames = opened[0]
        try:
            for message in made(next(numbers)):
                is_frame = isinstance(message, FrameMessage)
                await stream.write(frames.encode(message) if is_frame else encode_client(message), droppable=is_frame)
            async with asyncio.timeout(_TIMEOUT_S):
                if await stream.read() is None:
                    raise StreamBroken("CANCELLED", "the receiver ended the stream")
        except StreamBroken:
            await opened.pop()[0].close()
            raise

    await act()
    try:
        yield act
    finally:
        for stream, _ in opened:
            await stream.close()


def _frames(
    opener: StreamOpener, people: Sequence[PersonLabels], size: int, at: Address
) -> AbstractAsyncContextManager[Act]:
    codec = FixedRate(model_hash())

    def made(number: int) -> Sequence[ClientMessage]:
        crowd = tuple(replace(people[number % len(people)], identity=each) for each in range(size))
        codec.reset()
        return [FrameMessage(number, codec.encode(LabelFrame(number, "costs", time.time(), CAMERA, crowd)).payload)]

    return _messages(opener, made, at)


def _blob(kind: str, number: int) -> Sequence[ClientMessage]:
    data = secrets.token_bytes(4000)
    return [Chunk(number, 0, data, kind, 0, len(data), zlib.crc32(data))]


@asynccontextmanager
async def _requests(
    method: str, path: str, headers: dict[str, str], sent: dict[str, Any], at: Address
) -> AsyncIterator[Act]:
    while "{" in path:
        # Nothing has this number: what exists is not deleted.
        path = path[: path.index("{")] + "0" + path[path.index("}") + 1 :]
    async with httpx.AsyncClient(base_url=f"http://{at}", timeout=_LONGEST_S, headers=headers) as client:
        yield partial(client.request, method, path, **sent)


async def measured(case: Case, at: Address, udp: bool, there: Receiver, seconds: float) -> Figures:
    """What a case costs, as often as four clients can do it."""
    size = await _bytes(case, at, udp)
    async with AsyncExitStack() as opened:
        acts = [await opened.enter_async_context(case(at)) for _ in range(_WORKERS)]
        daemon, out = there.daemon, there.out.parent
        # The most memory is counted anew.
        Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")
        before, began_s = (daemon.processor_ms(), daemon.memory_mb(), disk_bytes(out)), time.monotonic()
        done = sum(await asyncio.gather(*(_repeated(act, began_s + seconds) for act in acts)))
        wall_s, spent_ms = time.monotonic() - began_s, daemon.processor_ms() - before[0]
        return {
            "bytes": size,
            "per_s": done / wall_s,
            "ms": spent_ms / max(done, 1),
            "memory_mb": daemon.memory_mb("VmHWM") - before[1],
            "disk_per_byte": (disk_bytes(out) - before[2]) / max(done * size, 1.0),
        }


async def _repeated(act: Act, until_s: float) -> int:
    """How often an act was done until a time; one that is refused is done."""
    done = 0
    while time.monotonic() < until_s:
        await _tried(act)
        done += 1
        await asyncio.sleep(0)
    return done


async def _bytes(case: Case, at: Address, udp: bool) -> float:
    """Bytes of an act to the receiver."""
    relay = BreakableRelay(at)
    async with case(await relay.start()) as act:
        before = relay.sent_bytes
        for _ in range(_COUNTED):
            await _tried(act)
        await asyncio.sleep(0.1)
        size = (relay.sent_bytes - before) / _COUNTED
    await relay.stop()
    return float(size)


async def _tried(act: Act) -> None:
    """Does something that may be refused."""
    with suppress(BodywireError, TimeoutError, OSError, httpx.HTTPError):
        await act()


def disk_bytes(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(seconds: float) -> dict[str, Figures]:
    """What every case costs a receiver with mutual TLS and tokens."""
    with tempfile.TemporaryDirectory() as name:
        tokens, token = Path(name) / "tokens.toml", Path(name) / "token"
        token.write_text(add_token(tokens, "costs", 1, datetime.now(UTC)))
        with receiver(Path(name), "--tokens", str(tokens)) as there:
            return asyncio.run(_measure_all(there, token, seconds))


async def _measure_all(there: Receiver, token: Path, seconds: float) -> dict[str, Figures]:
    page = Address.parse(there.page.rpartition("/")[2])
    found: dict[str, Figures] = {}
    for name, udp, case in cases(there, token):
        report.progress(name)
        found[name] = await measured(case, there.peer, udp, there, seconds)
    for name, udp, case in await http_cases(there):
        report.progress(name)
        found[name] = await measured(case, page, udp, there, seconds)
    return found
