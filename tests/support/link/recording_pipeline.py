"""A handler of frames that decodes and notes what it gets, in place of the receiver's pipeline."""

import asyncio
from collections.abc import Callable

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.errors import MalformedPacket
from common.wire.convert import FrameMessage
from receiver.link.session import Arrival, FrameOutcome, Session
from tests.support.link.counting_codec import CountingCodec


class RecordingPipeline:
    """Decodes every frame as the receiver's pipeline does, and holds it while `gate` is closed.

    Attributes:
        failure: raised for a frame behind the gate, if it is set.
    """

    def __init__(self, new_decoder: Callable[[], FrameCodec | CountingCodec] | None = None) -> None:
        self._new_decoder = new_decoder or CountingCodec
        self._decoders: dict[bytes, FrameCodec | CountingCodec] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.arrivals: list[Arrival] = []
        self.decoded: list[int] = []
        self.keys: list[int] = []
        self.done: list[int] = []
        self.unused: list[int | None] = []
        self.blobs: list[Blob] = []
        self.opened = 0
        self.ended: asyncio.Queue[Session] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def on_session(self, session: Session) -> int:
        self.opened += 1
        self._decoders[session.session_id] = self._new_decoder()
        return 0

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        self.arrivals.append(arrival)
        decoded = self._decode(session, frame)
        self.decoded += frame.sequences
        if decoded.reference is None:
            self.keys.append(frame.sequence)
        self._changed.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.done += frame.sequences
        return FrameOutcome.PUBLISHED

    def _decode(self, session: Session, frame: FrameMessage) -> DecodedFrame:
        session.check_leap(frame.sequence)
        decoder = self._decoders.setdefault(session.session_id, self._new_decoder())
        return decoder.decode_bundle(frame.payload, frame.sequences)[0]

    def on_blob(self, session: Session, blob: Blob) -> None:
        if blob.kind == "broken":
            raise MalformedPacket("invalid content")
        self.blobs.append(blob)

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        self.unused.append(None if frame is None else frame.sequence)

    def on_stream_end(self, session: Session) -> None:
        """Keeps what the next stream may begin with."""
        if session.session_id in self._decoders:
            self._decoders[session.session_id].keep_only(session.decodable_from)

    async def on_session_end(self, session: Session) -> None:
        self.ended.put_nowait(session)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_decoded(self, sequence: int) -> None:
        await self.until(lambda: bool(self.decoded) and self.decoded[-1] >= sequence)
