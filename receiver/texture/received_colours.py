"""Colours of people's surface points that have arrived."""

from collections.abc import Iterable, Mapping

from common.blobs import Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.texture.point_colours import PointColours, decode


class ReceivedColours:
    """The colours of a session's people."""

    def __init__(self) -> None:
        self._colours: dict[int, PointColours] = {}

    @property
    def newest(self) -> Mapping[int, PointColours]:
        """By identity; stays as it is when others arrive."""
        return self._colours

    def take(self, blob: Blob) -> None:
        """Takes a blob of the kind `COLOURS`. Raises MalformedPacket if it does not decode, or for its identity."""
        if blob.key >= IDENTITIES:
            raise MalformedPacket(f"colours of person {blob.key}; identities end at {IDENTITIES - 1}")
        # A new mapping: a request in the engine refers to the old one.
        self._colours = {**self._colours, blob.key: decode(blob.data)}

    def pop(self, identities: Iterable[int]) -> dict[int, PointColours]:
        """Takes the colours of people out."""
        popped = {each: self._colours[each] for each in identities if each in self._colours}
        self._colours = {each: colours for each, colours in self._colours.items() if each not in popped}
        return popped
