"""Blobs: bulky data that is sent in chunks beside the frames, without delaying them."""

from dataclasses import dataclass
from typing import Final

MAX_PREVIEW_BYTES, MAX_PREVIEW_PX = 16_384, 160
"""Of a preview, whose longer side has so many pixels at most: few bytes can say that they are a large picture."""


@dataclass(frozen=True, slots=True)
class BlobKind:
    """What is to be known of the blobs of a kind, but for their content.

    Args:
        name: as in the messages.
        purpose: what the link's account calls their bytes.
        order: kinds of a higher one wait for those of a lower one.
        recorded: what they say counts until a newer one says something else, so that recordings keep them, and a
            receiver that is new to the session gets them again; else they show people as they look, and are momentary.
    """

    name: str
    purpose: str
    order: int
    recorded: bool


WEARS: Final = "wears"
"""What a person wears (`common.wears`), with the identity as key."""
TEXTURE: Final = "texture"
"""A tile of a person's texture atlas (`common.texture.atlas`), with the tile's key."""
FACE: Final = "face"
"""A picture of a person's face (`common.texture.face_picture`), with the identity as key; frames carry its parts."""
PREVIEW: Final = "preview"
"""A small JPEG of what the sender sees, with 0 as key."""
SIGNAL: Final = "signal"
"""A picture as symbols of a simulated channel (`common.channel.channel`), with 0 as key."""

BLOB_KINDS: Final = {
    kind.name: kind
    for kind in (
        BlobKind(WEARS, "wears", order=0, recorded=True),
        BlobKind(TEXTURE, "colours", order=1, recorded=True),
        BlobKind(FACE, "faces", order=2, recorded=True),
        BlobKind(PREVIEW, "preview", order=2, recorded=False),
        BlobKind(SIGNAL, "channel", order=2, recorded=False),
    )
}
_OTHER: Final = BlobKind("", "other", order=0, recorded=True)


@dataclass(frozen=True, slots=True)
class Blob:
    """Data that is delivered as a whole.

    Args:
        kind: type of the content.
        key: what it belongs to, such as a person's identity; a newer blob of the same kind and key replaces it.
        data: opaque to the link, at least one byte.
    """

    kind: str
    key: int
    data: bytes

    @property
    def traits(self) -> BlobKind:
        """What is known of its kind; of a kind that nobody knows, that it may have to be kept."""
        return BLOB_KINDS.get(self.kind, _OTHER)
