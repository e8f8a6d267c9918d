"""What blobs have brought of a session's people: their textures, clothes and faces."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from common.blobs import FACE, TEXTURE, WEARS, Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES, LabelFrame
from common.texture.atlas import Tile
from common.texture.face_picture import FacePacket, FaceVideoDecoder, LandmarkShapes, LiveFace
from common.wears import WITHDRAWN, Wears
from receiver.engine.engine import PersonAppearance
from receiver.outfits.mixture import Kinds, kept_kinds
from receiver.texture.received_texture import ReceivedTexture

BlobHandler = Callable[[Blob], None]
"""Takes a session's blobs of one kind; raises MalformedPacket for one that must not be used."""

_MAX_TEXTURES: Final = 24
"""People whose textures are kept, those with the newest tiles: each takes up to 2.4 MB."""
_STATE_S: Final = 1.0
"""So long a live session's frames share one state of a texture: a new one takes some 20 ms to paint, and two or three
tiles come in a second."""


@dataclass(slots=True, eq=False)
class _Person:
    """What has arrived of a person.

    Attributes:
        kinds: that were drawn; they stay while the posterior finds them plausible.
        worn: `wears` with these as known.
        video: of the face.
        face: its newest picture.
    """

    texture: ReceivedTexture = field(default_factory=ReceivedTexture)
    wears: Wears | None = None
    kinds: Kinds = field(default_factory=dict)
    worn: Wears | None = None
    video: FaceVideoDecoder = field(default_factory=FaceVideoDecoder)
    face: LiveFace | None = None


class ReceivedPeople:
    """What a session's newest blobs say of its people.

    Attributes:
        handlers: of blobs, by kind.
    """

    def __init__(self) -> None:
        self.handlers: Mapping[str, BlobHandler] = {
            TEXTURE: self._take_tile,
            WEARS: self._take_wears,
            FACE: self._take_face,
        }
        # Those with the newest tiles are last.
        self._people: dict[int, _Person] = {}
        self._textures: Mapping[int, ReceivedTexture] = {}
        self._textures_since_s = -math.inf
        self._source = ""
        self._seen: set[int] = set()

    def begin(self, frame: LabelFrame) -> None:
        """Forgets the people of the source before if a frame is the first one of its source, such as a picture.

        Call it for every frame, in order.  Identities are given again some time; blobs of later frames are kept.
        """
        people = {person.identity for person in frame.people}
        if frame.source != self._source:
            for identity in self._seen - people:
                self._people.pop(identity, None)
            self._source, self._seen = frame.source, set()
        self._seen |= people

    def appearance(self, frame: LabelFrame, *, live: bool) -> Mapping[int, PersonAppearance]:
        """What is known of a frame's people, by identity.

        Args:
            live: tiles may wait for others, except a person's first.
        """
        newest = {identity: person.texture for identity, person in self._people.items() if person.texture.tiles}
        # A sender's clock may have been set back.
        is_old = not 0 <= frame.captured_at - self._textures_since_s < _STATE_S
        if not live or is_old or self._textures.keys() != newest.keys():
            self._textures_since_s, self._textures = frame.captured_at, newest
        known = {person.identity: self._people.get(person.identity, _Person()) for person in frame.people}
        return {
            identity: PersonAppearance(self._textures.get(identity), person.wears, person.worn)
            for identity, person in known.items()
        }

    def face(self, identity: int) -> LiveFace | None:
        """The newest picture of somebody's face; None if there is none."""
        person = self._people.get(identity)
        return None if person is None else person.face

    def _take_face(self, blob: Blob) -> None:
        identity = _identity(blob)
        packet = FacePacket.of_content(identity, blob.data)
        person = self._people.setdefault(identity, _Person())
        picture = person.video.decode(packet.data, packet.side, key=packet.key)
        person.face = None if picture is None else LiveFace(picture, LandmarkShapes.load().decode(packet.shape))

    def _take_tile(self, blob: Blob) -> None:
        tile, identity = Tile.of_key(blob.key)
        person = self._people.get(identity) or _Person()
        person.texture = person.texture.with_tile(tile, blob.data)
        self._people.pop(identity, None)
        self._people[identity] = person
        textured = [each for each in self._people.values() if each.texture.tiles]
        if len(textured) > _MAX_TEXTURES:
            textured[0].texture = ReceivedTexture()

    def _take_wears(self, blob: Blob) -> None:
        identity = _identity(blob)
        try:
            wears = None if blob.data == WITHDRAWN else Wears.decode(blob.data)
        except ValueError as error:
            raise MalformedPacket(str(error)) from error
        person = self._people.setdefault(identity, _Person())
        person.wears, person.kinds = wears, {} if wears is None else kept_kinds(wears, identity, person.kinds)
        person.worn = None if wears is None else wears.as_known(person.kinds)


def _identity(blob: Blob) -> int:
    """Whose a blob is. Raises MalformedPacket if nobody can have it."""
    if blob.key >= IDENTITIES:
        raise MalformedPacket(f"{blob.traits.purpose} of person {blob.key}; identities end at {IDENTITIES - 1}")
    return blob.key
