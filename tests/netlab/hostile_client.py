"""A client of a receiver that sends what it likes: any bytes, in any order, on connections of its own."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from common.codec.packet import CODEC_VERSION
from common.errors import WireError
from common.frames import Camera
from common.io.addresses import Address
from common.wire.convert import (
    STREAM_METHOD,
    STREAM_SERVICE,
    ClientMessage,
    ClientMessages,
    Hello,
    ServerMessage,
    ServerMessages,
    Welcome,
)

CAMERA = Camera(640, 480, 600.0)

_OPTIONS = (
    # Every channel gets a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True)
class Target:
    """The receiver under attack, and what an attacker knows about it.

    Args:
        address: where it listens.
        model: the hash of its networks.
        authority: certificate of its authority; None for a link without encryption.
        tokens: tokens by account.
        attacker: the account that attacks.
        victim: the account whose sessions are attacked.
        metrics: where it serves its metrics; None if it does not.
        answer_timeout_s: time for an answer: the receiver may be busy with the frames of others.
    """

    address: Address
    model: bytes
    authority: Path | None = None
    tokens: Mapping[str, str] | None = None
    attacker: str = "mallory"
    victim: str = "victim"
    metrics: Address | None = None
    answer_timeout_s: float = 15.0

    def write(self, path: Path) -> None:
        """Writes the target to a file, for other processes."""
        document = {
            "address": str(self.address),
            "model": self.model.hex(),
            "authority": self.authority and str(self.authority),
            "tokens": self.tokens and dict(self.tokens),
            "metrics": self.metrics and str(self.metrics),
            "answer_timeout_s": self.answer_timeout_s,
        }
        path.write_text(json.dumps(document), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Target":
        """The inverse of `write`."""
        document = json.loads(path.read_text(encoding="utf-8"))
        authority, timeout_s = document["authority"], document["answer_timeout_s"]
        address, model = Address.parse(document["address"]), bytes.fromhex(document["model"])
        metrics = document["metrics"] and Address.parse(document["metrics"])
        known = {"metrics": metrics, "answer_timeout_s": timeout_s}
        return cls(address, model, authority and Path(authority), document["tokens"], **known)


class StreamEnded(Exception):
    """The receiver ended the stream.

    Args:
        code: name of the gRPC status; `OK` for an orderly end.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


class HostileStream:
    """One stream to the receiver; nothing that it sends is checked.

    Args:
        call: gRPC's.
        timeout_s: for each answer.
    """

    def __init__(self, call: Any, timeout_s: float) -> None:
        self._call, self._timeout_s = call, timeout_s
        self._sent, self._received = ClientMessages(), ServerMessages()

    async def send(self, message: ClientMessage | bytes) -> None:
        """Sends a message, or bytes in place of one.

        Raises:
            StreamEnded: the receiver ended the stream.
        """
        data = message if isinstance(message, bytes) else self._sent.encode(message)
        try:
            await self._call.write(data)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._raise_end()

    async def read(self) -> ServerMessage:
        """The receiver's next message.

        Raises:
            StreamEnded: there is none, because the receiver ended the stream.
            TimeoutError: no answer in time.
        """
        async with asyncio.timeout(self._timeout_s):
            try:
                data = await self._call.read()
            except grpc.aio.AioRpcError as error:
                raise StreamEnded(error.code().name, error.details() or "") from None
            if data is grpc.aio.EOF:
                await self._raise_end()
            return self._received.decode(data)

    async def end(self) -> StreamEnded:
        """Reads until the receiver ends the stream, and returns how it did.

        Raises:
            TimeoutError: it does not, in time.
        """
        async with asyncio.timeout(self._timeout_s):
            while True:
                try:
                    await self.read()
                except StreamEnded as ended:
                    return ended

    async def half_close(self) -> None:
        """Ends the sending side only."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    def cancel(self) -> None:
        """Resets the stream."""
        self._call.cancel()

    async def _raise_end(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            code, details = await self._call.code(), await self._call.details()
        raise StreamEnded(code.name, details or "")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the Hello of a session has to repeat.

    Args:
        session_id: 16 bytes.
        secret: 32 bytes that only the rightful sender knows.
    """

    session_id: bytes
    secret: bytes

    @classmethod
    def make(cls, rng: random.Random) -> "Identity":
        """A session of its own."""
        return cls(rng.randbytes(16), rng.randbytes(32))


def hello(target: Target, identity: Identity, **changes: Any) -> Hello:
    """A Hello that the receiver accepts, except for `changes`."""
    values: dict[str, Any] = {
        "session_id": identity.session_id,
        "session_secret": identity.secret,
        "sender": target.attacker,
        "codec_version": CODEC_VERSION,
        "model_hash": target.model,
        "live": False,
    }
    return Hello(**values | changes)


class HostileClient:
    """Opens streams to a target, each on a connection of its own.

    Args:
        account: whose token to present, by default the attacker's.
    """

    def __init__(self, target: Target, account: str | None = None) -> None:
        self._target, self._account = target, account or target.attacker

    @asynccontextmanager
    async def stream(self, metadata: Mapping[str, str] | None = None) -> AsyncIterator[HostileStream]:
        """A stream, before its Hello.

        Args:
            metadata: in place of the account's token.
        """
        if metadata is None:
            tokens = self._target.tokens or {}
            metadata = {"authorization": f"Bearer {tokens[self._account]}"} if self._account in tokens else {}
        async with self.channel() as channel:
            call = channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=tuple(metadata.items()))
            try:
                yield HostileStream(call, self._target.answer_timeout_s)
            finally:
                call.cancel()

    def channel(self) -> Any:
        """A gRPC channel with a connection of its own; an asynchronous context manager."""
        address, authority = str(self._target.address), self._target.authority
        if authority is None:
            return grpc.aio.insecure_channel(address, options=_OPTIONS)
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority.read_bytes()), options=_OPTIONS)

    @asynccontextmanager
    async def session(self, identity: Identity, **changes: Any) -> AsyncIterator[tuple[HostileStream, Welcome]]:
        """A stream with its Hello sent and answered.

        Raises:
            StreamEnded: the receiver ended the stream in place of a Welcome, or refused it.
        """
        async with self.stream() as stream:
            await stream.send(hello(self._target, identity, **{"sender": self._account, **changes}))
            welcome = await stream.read()
            if not isinstance(welcome, Welcome):
                raise WireError(f"{type(welcome).__name__} in place of Welcome")
            if not welcome.accepted:
                raise StreamEnded("REFUSED", welcome.reason)
            yield stream, welcome
