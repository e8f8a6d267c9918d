"""A scripted sender on one connection of a session."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence

from common.clock import Clock
from common.io.logs import RepeatedLines
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    ClientMessage,
    ClientMessages,
    FrameMessage,
    ServerMessage,
    ServerMessages,
    Welcome,
)
from receiver.link.admission import RateLimits
from receiver.link.connection import Connection
from receiver.link.session import Session
from tests.support.link.fake_link import MODEL, CountingCodec, fake_link, label_frame, settle
from tests.support.link.recording_pipeline import RecordingPipeline

WELCOME = Welcome(True, MODEL)


class ScriptedSender:
    """One connection of a session, with a scripted sender."""

    def __init__(
        self, session: Session, pipeline: RecordingPipeline, *, silence_s: float = 60.0, clock: Clock | None = None
    ):
        self.end, server = fake_link()
        clock = clock or Clock(time.monotonic, time.time)
        self.connection = Connection(
            session,
            server,
            pipeline,
            window=2,
            rejections=3,
            silence_s=silence_s,
            limiter=RateLimits(1e9, 1e9, clock).of_stream(session.account),
            lines=RepeatedLines(logging.getLogger(__name__), clock),
            clock=clock,
        )
        self.session, self.pipeline = session, pipeline
        self.codec = CountingCodec()
        self._server = server
        self._sent, self._received = ClientMessages(), ServerMessages()
        self._acks: deque[Acknowledgement] = deque()

    async def start(self) -> asyncio.Task[bool]:
        await self.session.claim(self.connection.abandon)
        self.running = asyncio.create_task(self.connection.run(WELCOME))
        assert await self.receive() == WELCOME
        return self.running

    def stall(self) -> None:
        """Stops reading: what the receiver writes from now on waits for ever."""

        async def write(_: bytes, *, droppable: bool = False) -> None:
            await asyncio.Event().wait()

        self._server.write = write  # type: ignore[method-assign, assignment]

    async def receive(self) -> ServerMessage:
        data = await self.end.read()
        assert data is not None
        return self._received.decode(data)

    async def receive_ack(self) -> Acknowledgement:
        if not self._acks:
            message = await self.receive()
            assert isinstance(message, Acknowledgements)
            self._acks.extend(message.frames)
        return self._acks.popleft()

    async def write(self, *messages: ClientMessage) -> None:
        for message in messages:
            await self.end.write(self._sent.encode(message))
        await settle()

    async def send(self, sequences: Sequence[int]) -> None:
        await self.write(*(self.frame(sequence) for sequence in sequences))

    def frame(self, sequence: int) -> FrameMessage:
        encoded = self.codec.encode(label_frame(sequence))
        return FrameMessage(sequence, encoded.payload)
