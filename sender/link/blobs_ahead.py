"""Blobs that a receiver needs with a frame: they leave right before it, and again when it is sent again."""

from collections.abc import Sequence

from common.blobs import Blob
from common.frames import LabelFrame

# Of frames that wait: some hundred pictures.
_MOST_BYTES = 32_000_000


class BlobsAhead:
    """The blobs of the frames that have not met their fate."""

    def __init__(self) -> None:
        self._blobs: dict[int, Sequence[Blob]] = {}
        self._inherited: tuple[Blob, ...] = ()

    def keep(self, sequence: int, blobs: Sequence[Blob]) -> bool:
        """Takes the blobs of a frame; returns whether memory has room for them."""
        has_room = sum(len(blob.data) for kept in (*self._blobs.values(), blobs) for blob in kept) <= _MOST_BYTES
        if has_room:
            self._blobs[sequence] = blobs
        return has_room

    def belonging(self, frames: Sequence[LabelFrame]) -> Sequence[Blob]:
        """The blobs of frames that leave, and of those that they replace: nothing else brings what those wear."""
        own = [blob for frame in frames for blob in self._blobs.get(frame.sequence, ())]
        blobs = tuple({(blob.kind, blob.key): blob for blob in (*self._inherited, *own)}.values())
        if self._inherited:
            self._blobs[frames[-1].sequence], self._inherited = blobs, ()
        return blobs

    def ended(self, sequence: int, *, superseded: bool) -> None:
        """Handles the fate of a frame: what belonged to a superseded one belongs to the next that leaves."""
        blobs = self._blobs.pop(sequence, ())
        if superseded:
            self._inherited += tuple(blobs)
