"""What blobs have brought of a session's people: their textures and clothes."""

from collections.abc import Callable, Mapping

from common.blobs import TEXTURE, WEARS, Blob
from common.frames import LabelFrame
from receiver.engine.engine import PersonAppearance
from receiver.texture.received_texture import ReceivedTextures
from receiver.wears.received import ReceivedWears

BlobHandler = Callable[[Blob], None]
"""Takes a session's blobs of one kind; raises MalformedPacket for one that must not be used."""


class ReceivedPeople:
    """What a session's newest blobs say of its people.

    Attributes:
        handlers: of blobs, by kind.
    """

    def __init__(self) -> None:
        self.textures, self.wears = ReceivedTextures(), ReceivedWears()
        self.handlers: Mapping[str, BlobHandler] = {
            TEXTURE: self.textures.take,
            WEARS: self.wears.take,
        }
        self._source = ""
        self._seen: set[int] = set()

    def begin(self, frame: LabelFrame) -> None:
        """Forgets the people of the source before if a frame is the first one of its source, such as a picture.

        Call it for every frame, in order.  Identities are given again some time; blobs of later frames are kept.
        """
        people = {person.identity for person in frame.people}
        if frame.source != self._source:
            for received in (self.textures, self.wears):
                received.forget(self._seen - people)
            self._source, self._seen = frame.source, set()
        self._seen |= people

    def appearance(self, frame: LabelFrame, *, live: bool) -> Mapping[int, PersonAppearance]:
        """What is known of a frame's people, by identity."""
        worn = {person.identity: self.wears.of(person.identity) for person in frame.people}
        textures = self.textures.of_next_frame(frame.captured_at, wait=live)
        return {identity: PersonAppearance(textures.get(identity), *each) for identity, each in worn.items()}
