"""Reassembles blobs from chunks, one blob after the other."""

import zlib

from common.blobs import Blob
from common.errors import ChecksumMismatch, MalformedPacket
from common.wire.convert import Chunk


class BlobAssembly:
    """The blobs of one session, over any number of streams; stores at most one unfinished blob."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._first: Chunk | None = None
        self._data = bytearray()

    def add(self, chunk: Chunk) -> Blob | None:
        """Adds a chunk.

        A blob that is sent again, because its last chunk ack was lost, is not returned again.

        Returns:
            The blob if this was its last chunk.

        Raises:
            MalformedPacket: the chunk does not follow the one before.
            ChecksumMismatch: the blob is complete, but damaged; it is dropped, and the next one may begin.
        """
        if chunk.offset == 0:
            self._first, self._data = chunk, bytearray()
        first = self._first
        if first is None or chunk.blob != first.blob or chunk.offset != len(self._data):
            raise MalformedPacket("a chunk does not follow the one before")
        if len(self._data) + len(chunk.data) > first.total:
            raise MalformedPacket("a chunk exceeds the size of its blob")
        self._data += chunk.data
        if len(self._data) < first.total:
            return None
        data, self._first, self._data = bytes(self._data), None, bytearray()
        if zlib.crc32(data) != first.checksum:
            raise ChecksumMismatch(f"blob {first.blob} has a wrong checksum")
        duplicate = self._last == (first.blob, first.checksum)
        self._last = first.blob, first.checksum
        return None if duplicate else Blob(first.kind, first.key, data)
