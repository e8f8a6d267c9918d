"""Blobs: bulky data that is sent in chunks beside the frames, without delaying them."""

from dataclasses import dataclass

TEXTURE = "texture"
"""Kind of blob: a tile of a person's texture atlas (`common.texture.atlas_tiles`), with the tile's key."""
PREVIEW = "preview"
"""Kind of blob: a small JPEG of what the sender sees, with 0 as key."""
MAX_PREVIEW_BYTES = 16_384
WEARS = "wears"
"""Kind of blob: what a person wears (`common.wears`), with the identity as key."""
SIGNAL = "signal"
"""Kind of blob: a picture as symbols of a simulated channel (`common.channel.signal`), with 0 as key."""
NOT_RECORDED = frozenset({PREVIEW, SIGNAL})
"""Kinds of blobs that show people as they look: to be seen, not to be kept in recordings."""


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
