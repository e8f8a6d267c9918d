"""Something bulky that may take its time: it goes beside the frames, in chunks, and must not delay any."""

from dataclasses import dataclass

COLOURS = "colours"
"""Kind of blob: what somebody's surface looks like (`common.texture.point_colours`); its key is their identity."""


@dataclass(frozen=True, slots=True)
class Blob:
    """What is sent whole or not at all.

    Args:
        kind: what it is.
        key: whose it is, such as a person's identity; a newer one of the same kind and key takes its place.
        data: opaque to the link, at least one byte.
    """

    kind: str
    key: int
    data: bytes
