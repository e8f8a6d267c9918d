"""Colours of people's surface points that have arrived."""

from common.blobs import COLOURS, Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture.point_colours import PointColours, decode


def received_colours(blob: Blob) -> PointColours:
    """The colours of a person's surface points in a blob, whose key is the person's identity.

    Raises:
        MalformedPacket: it is of another kind, does not decode, or its identity is out of range.
    """
    if blob.kind != COLOURS:
        raise MalformedPacket("its kind is unknown")
    if blob.key >= IDENTITIES:
        raise MalformedPacket(f"colours of person {blob.key}; identities end at {IDENTITIES - 1}")
    return decode(blob.data)
