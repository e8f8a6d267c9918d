"""What people wear, as it has arrived."""

from collections.abc import Iterable, Mapping

from common.blobs import Blob
from common.errors import MalformedPacket
from common.frames import IDENTITIES
from common.wears import WITHDRAWN, Wears


class ReceivedWears:
    """What the people of a session wear."""

    def __init__(self) -> None:
        self._wears: dict[int, Wears] = {}

    @property
    def newest(self) -> Mapping[int, Wears]:
        """By identity; stays as it is when others arrive."""
        return self._wears

    def take(self, blob: Blob) -> None:
        """Takes a blob of the kind `WEARS`. Raises MalformedPacket if it does not decode, or for its identity."""
        if blob.key >= IDENTITIES:
            raise MalformedPacket(f"clothes of person {blob.key}; identities end at {IDENTITIES - 1}")
        # A new mapping: a request in the engine refers to the old one.
        others = {each: wears for each, wears in self._wears.items() if each != blob.key}
        self._wears = others if blob.data == WITHDRAWN else {**others, blob.key: _decoded(blob.data)}

    def pop(self, identities: Iterable[int]) -> dict[int, Wears]:
        """Takes what people wear out."""
        popped = {each: self._wears[each] for each in identities if each in self._wears}
        self._wears = {each: wears for each, wears in self._wears.items() if each not in popped}
        return popped


def _decoded(data: bytes) -> Wears:
    try:
        return Wears.decode(data)
    except ValueError as error:
        raise MalformedPacket(str(error)) from error
