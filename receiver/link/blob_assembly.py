"""Pieces back into blobs, one blob after the other."""

import logging
import zlib

from common.blobs import Blob
from common.errors import MalformedPacket
from common.wire.convert import Chunk, ChunkAck

logger = logging.getLogger(__name__)


class BlobAssembly:
    """Of one session, over any number of streams; holds one unfinished blob at most."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._first: Chunk | None = None
        self._data = bytearray()

    def add(self, chunk: Chunk) -> tuple[ChunkAck, Blob | None]:
        """Takes in a chunk; returns the answer to it, and the blob if this was its last.

        A blob that comes again, since its last chunk ack was lost, is not returned again; one that is not what was sent
        is dropped.

        Raises:
            MalformedPacket: the chunk does not follow the one before.
        """
        if chunk.offset == 0:
            self._first, self._data = chunk, bytearray()
        first = self._first
        if first is None or chunk.blob != first.blob or chunk.offset != len(self._data):
            raise MalformedPacket("a chunk does not follow the one before")
        if len(self._data) + len(chunk.data) > first.total:
            raise MalformedPacket("a chunk goes beyond its blob")
        self._data += chunk.data
        chunk_ack = ChunkAck(chunk.blob, len(self._data))
        if len(self._data) < first.total:
            return chunk_ack, None
        data, self._first, self._data = bytes(self._data), None, bytearray()
        if zlib.crc32(data) != first.checksum:
            logger.warning("blob %d (%s) is not what was sent, and is dropped", first.blob, first.kind)
            return chunk_ack, None
        again = self._last == (first.blob, first.checksum)
        self._last = first.blob, first.checksum
        return chunk_ack, None if again else Blob(first.kind, first.key, data)
