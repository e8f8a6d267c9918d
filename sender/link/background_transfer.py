"""Blobs in chunks: what goes next, and what is on its way.  Pure.

One blob goes after the other.  What waits is replaced by what is newer of the same kind and key; what has begun is
finished, so that a source that always has something newer gets something through.  A receiver that was started anew
gets the newest of everything again.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

from common.blobs import Blob
from common.wire.convert import MAX_BLOB_BYTES, MAX_CHUNK_BYTES, Chunk, ChunkAck


class Pacer(Protocol):
    """How fast bulk may go; rate control has the real one."""

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        """How much may go now, right behind a frame.

        Args:
            in_flight_bytes: of bulk, sent and without a chunk ack.
            parcel_bytes: of the blob that is next or on its way, in all.
        """


class NoBackgroundTransfer:
    """Nothing goes."""

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        return 0


class BackgroundTransfer:
    """The blobs of one session, over any number of streams."""

    def __init__(self, pace: Pacer) -> None:
        self._pace = pace
        self._waiting: dict[tuple[str, int], Blob] = {}
        self._arrived: dict[tuple[str, int], Blob] = {}
        self._going: Blob | None = None
        self._number = 0
        self._sent = self._held = 0

    @property
    def idle(self) -> bool:
        """Whether everything posted is at the receiver."""
        return self._going is None and not self._waiting

    def post(self, blob: Blob) -> None:
        """Takes in a blob.

        Raises:
            ValueError: it is empty or too large.
        """
        if not 1 <= len(blob.data) <= MAX_BLOB_BYTES:
            raise ValueError(f"a blob has 1 to {MAX_BLOB_BYTES} bytes, not {len(blob.data)}")
        self._waiting[blob.kind, blob.key] = blob

    def restart(self, *, anew: bool = False) -> None:
        """A new stream began: the blob that was on its way goes again, from its beginning.

        Args:
            anew: the receiver knows nothing of the session.
        """
        self._sent = self._held = 0
        if anew:
            self._waiting = self._arrived | self._waiting
            self._arrived = {}

    def received(self, chunk_ack: ChunkAck) -> None:
        """The receiver holds so much of a blob."""
        if self._going is None or chunk_ack.blob != self._number:
            return
        self._held = min(max(self._held, chunk_ack.held), self._sent)
        if self._held == len(self._going.data):
            self._arrived[self._going.kind, self._going.key] = self._going
            self._going = None

    def chunks(self, now_ms: float) -> Iterator[Chunk]:
        """What shall follow the frame that has just left."""
        if self._going is None and not self._begin():
            return
        assert self._going is not None
        data = self._going.data
        allowed = self._pace.background_bytes(self._sent - self._held, len(data), now_ms)
        while allowed > 0 and self._sent < len(data):
            part = data[self._sent : self._sent + min(allowed, MAX_CHUNK_BYTES)]
            chunk = self._first(part) if self._sent == 0 else Chunk(self._number, self._sent, part)
            self._sent += len(part)
            allowed -= len(part)
            yield chunk

    def _first(self, part: bytes) -> Chunk:
        assert self._going is not None
        blob = self._going
        return Chunk(self._number, 0, part, blob.kind, blob.key, len(blob.data), zlib.crc32(blob.data))

    def _begin(self) -> bool:
        if not self._waiting:
            return False
        self._going = self._waiting.pop(next(iter(self._waiting)))
        self._number += 1
        self._sent = self._held = 0
        return True
