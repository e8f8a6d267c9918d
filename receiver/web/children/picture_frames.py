"""Takes the frames of the sender process for pictures, and gives each to the job that waits for it."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from common.blobs import Blob
from common.errors import MalformedPacket
from common.frames import LabelFrame
from common.wears import Wears
from common.wire.convert import FrameMessage
from receiver.link.frame_handler import Arrival, FrameOutcome
from receiver.link.session import Session
from receiver.received_people import ReceivedPeople
from receiver.texture.inpainting import TextureInpainter, inpaint_in_thread
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures


@dataclass(frozen=True, slots=True)
class PictureLabels:
    """What has arrived of one picture.

    Args:
        textures: of its people, by identity.
        wears: what they wear, by identity.
        payload_bytes: size of the packet.
        session: the sender's; its report may still come.
    """

    frame: LabelFrame
    textures: Mapping[int, ReceivedTexture]
    wears: Mapping[int, Wears]
    payload_bytes: int
    session: Session


class PictureFrames:
    """A `FrameHandler` that publishes nothing: a frame goes to the job that expects its source, or nowhere.

    The sender sends what belongs to a picture's people ahead of their frame.

    Args:
        inpainter: estimates what a picture does not show of people; without it, that is filled from the surroundings.
    """

    def __init__(self, inpainter: TextureInpainter | None = None) -> None:
        self._inpaint_later = inpaint_in_thread(inpainter)
        self._expected: dict[str, asyncio.Future[PictureLabels]] = {}
        self._people = self._nobody()
        self.arrived = 0

    @contextmanager
    def expect(self, name: str) -> Iterator[asyncio.Future[PictureLabels]]:
        """Announces a picture, for the time of a `with` block; yields what will have arrived of it."""
        self._expected[name] = labels = asyncio.get_running_loop().create_future()
        try:
            yield labels
        finally:
            del self._expected[name]

    def fail(self, error: Exception) -> None:
        """Ends all waiting for frames: the sender has ended."""
        for labels in self._expected.values():
            if not labels.done():
                labels.set_exception(error)
                # A job that is about to send its picture will not ask.
                labels.exception()

    async def on_session(self, session: Session) -> None:
        self._people.textures.close()
        self._people = self._nobody()

    def _nobody(self) -> ReceivedPeople:
        return ReceivedPeople(ReceivedTextures(self._inpaint_later))

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        """Decodes a frame and acknowledges it at once, for the pictures behind it. Raises WireError if it is wrong."""
        labels = session.decode(frame).frame
        self.arrived += 1
        people = self._people
        people.begin(labels)
        await people.textures.completed(person.identity for person in labels.people)
        textures = people.textures.of_next_frame(wait=False)
        expected = self._expected.get(labels.source)
        if expected is not None and not expected.done():
            wears = people.wears.newest
            expected.set_result(PictureLabels(labels, textures, wears, len(frame.payload), session))
        return FrameOutcome.PUBLISHED

    def on_blob(self, session: Session, blob: Blob) -> None:
        """Keeps clothes or a tile for their frame. Raises MalformedPacket if the blob must not be used."""
        if blob.kind not in self._people.handlers:
            raise MalformedPacket("its kind is unknown")
        self._people.handlers[blob.kind](blob)

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        """A duplicate, or what is not readable, belongs to nobody."""

    async def on_session_end(self, session: Session) -> None:
        """The jobs are told by the end of the process."""
