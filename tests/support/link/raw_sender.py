"""A sender whose messages the test sends one by one, over gRPC."""

import asyncio
from typing import Any

import grpc

from common.codec.packet import CODEC_VERSION
from common.io.addresses import Address
from common.wire.convert import (
    STREAM_METHOD,
    STREAM_SERVICE,
    Acknowledgements,
    AckStatus,
    ClientMessage,
    ClientMessages,
    FrameMessage,
    Hello,
    ServerMessage,
    ServerMessages,
)
from tests.support.link.fake_link import MODEL, SECRET, SESSION, CountingCodec, label_frame


class RawSender:
    """A stream whose messages the test sends one by one.

    Args:
        token: presented to the receiver; empty for none.
        model: hash of the networks that it says to have.
    """

    def __init__(self, address: Address, token: str = "", model: bytes = MODEL) -> None:
        self._channel = grpc.aio.insecure_channel(str(address), options=[("grpc.use_local_subchannel_pool", 1)])
        metadata = (("authorization", f"Bearer {token}"),) if token else None
        self.call: Any = self._channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")(metadata=metadata)
        self.codec, self._model = CountingCodec(), model
        self._sent, self._received = ClientMessages(), ServerMessages()

    async def __aenter__(self) -> "RawSender":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self._channel.close()

    async def send(self, message: ClientMessage) -> ServerMessage:
        """Sends a message; returns the answer."""
        await self.post(message)
        return await self.receive()

    async def post(self, message: ClientMessage) -> None:
        """Sends a message; its answer is received later."""
        await self.call.write(self._sent.encode(message))

    async def receive(self) -> ServerMessage:
        async with asyncio.timeout(60):
            return self._received.decode(await self.call.read())

    async def hello(
        self, secret: bytes = SECRET, *, session: bytes = SESSION, resume: bool = False, name: str = "raw"
    ) -> ServerMessage:
        hello = Hello(session, name, CODEC_VERSION, self._model, False, resume=resume, session_secret=secret)
        return await self.send(hello)

    async def frame(self, sequence: int) -> AckStatus:
        encoded = self.codec.encode(label_frame(sequence))
        ack = await self.send(FrameMessage(sequence, encoded.payload))
        assert isinstance(ack, Acknowledgements)
        return ack.frames[0].status

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Status of the stream, which the receiver ends."""
        async with asyncio.timeout(20):
            return await self.call.code(), await self.call.details()
