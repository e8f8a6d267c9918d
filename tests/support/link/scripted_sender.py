"""A sender whose messages the test sends one by one."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from common.codec.packet import CODEC_VERSION
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    ClientMessage,
    ClientMessages,
    FrameMessage,
    Hello,
    ServerMessage,
    ServerMessages,
    Welcome,
)
from common.wire.stream import StreamBroken
from tests.support.link.counting_codec import MODEL, SECRET, SESSION, CountingCodec, label_frame

TIMEOUT_S = 60.0


class ScriptedSender:
    """The sender's end of a stream; an asynchronous context manager.

    Args:
        end: of a path, or of a transport.
    """

    def __init__(self, end: Any) -> None:
        self.end, self.codec = end, CountingCodec()
        self._sent, self._received = ClientMessages(), ServerMessages()
        self._acks: deque[Acknowledgement] = deque()

    async def __aenter__(self) -> "ScriptedSender":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end.close()

    async def write(self, *messages: ClientMessage) -> None:
        """Sends messages, whose answers are received later."""
        for message in messages:
            await self.end.write(self._sent.encode(message))

    async def receive(self) -> ServerMessage:
        """The next answer."""
        async with asyncio.timeout(TIMEOUT_S):
            data = await self.end.read()
        assert data is not None, "the stream has ended"
        return self._received.decode(data)

    async def receive_ack(self) -> Acknowledgement:
        """The next answer to a frame."""
        if not self._acks:
            message = await self.receive()
            assert isinstance(message, Acknowledgements)
            self._acks.extend(message.frames)
        return self._acks.popleft()

    async def say_hello(
        self,
        secret: bytes = SECRET,
        *,
        session: bytes = SESSION,
        resume: bool = False,
        name: str = "raw",
        model: bytes = MODEL,
    ) -> None:
        """Asks for a session."""
        await self.write(Hello(session, name, CODEC_VERSION, model, False, resume=resume, session_secret=secret))

    async def hello(self, **given: Any) -> Welcome:
        """Begins a session."""
        await self.say_hello(**given)
        welcome = await self.receive()
        assert isinstance(welcome, Welcome)
        return welcome

    def frame(self, sequence: int) -> FrameMessage:
        """A frame's message."""
        return FrameMessage(sequence, self.codec.encode(label_frame(sequence)).payload)

    async def send(self, sequences: Sequence[int]) -> None:
        """Sends frames."""
        await self.write(*(self.frame(sequence) for sequence in sequences))

    async def delivers(self, sequence: int) -> AckStatus:
        """Sends a frame; what becomes of it."""
        await self.send([sequence])
        return (await self.receive_ack()).status

    async def ended(self) -> tuple[str, str]:
        """Status and reason with which the receiver ends the stream."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                while await self.end.read() is not None:
                    pass
            except StreamBroken as end:
                return end.code, end.reason
        return "OK", ""
