"""Blobs on their way, in chunks behind frames, and ahead of them where it costs nothing.

A waiting blob is replaced by a newer one of the same kind and key.  A blob that was begun is finished, so that a source
of frequent updates still gets some of them through.  Kinds wait for each other in the order of `common.blobs`.  A
receiver without this session's state gets the newest blob of each recorded kind and key again.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from common.blobs import Blob
from common.errors import PeerError
from common.frames import LabelFrame
from common.wire.convert import MAX_BLOB_BYTES, MAX_CHUNK_BYTES, Chunk, ChunkAck


class Pacer(Protocol):
    """How fast blobs may be sent, and how labels share messages (`sender.rate.controller.RateController`)."""

    @property
    def bundle(self) -> int:
        """Most frames of a live message."""

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        """How many bytes may be sent now, right behind a frame.

        Args:
            in_flight_bytes: of blobs, sent and without a chunk ack.
            blob_bytes: size of the blob that is next or in transfer.
        """


def check_size(blob: Blob) -> None:
    """Raises ValueError if a blob is empty or too large."""
    if not 1 <= len(blob.data) <= MAX_BLOB_BYTES:
        raise ValueError(f"a blob has 1 to {MAX_BLOB_BYTES} bytes, not {len(blob.data)}")


@dataclass(slots=True)
class _Transfer:
    """The blob in transfer.

    Args:
        number: of the blob within the session, from 1.
        sent, acknowledged: bytes, from the first on.
        most_sent: the same before it was sent again, whose answers may yet arrive; 0 if it was not.
    """

    number: int
    blob: Blob
    sent: int = 0
    acknowledged: int = 0
    most_sent: int = 0

    def next_chunk(self, most_bytes: int) -> Chunk:
        data = self.blob.data[self.sent : self.sent + min(most_bytes, MAX_CHUNK_BYTES)]
        offset, self.sent = self.sent, self.sent + len(data)
        if offset:
            return Chunk(self.number, offset, data)
        blob = self.blob
        checksum = zlib.crc32(blob.data)
        return Chunk(self.number, 0, data, blob.kind, blob.key, len(blob.data), checksum)


class BackgroundTransfer:
    """The blobs of one session, over any number of streams.

    Args:
        pacer: None sends nothing.
    """

    def __init__(self, pacer: Pacer | None) -> None:
        self._pacer = pacer
        self._waiting: dict[tuple[str, int], Blob] = {}
        self._delivered: dict[tuple[str, int], Blob] = {}
        self._transfer: _Transfer | None = None
        self._number = 0

    @property
    def idle(self) -> bool:
        """Whether every blob posted has arrived."""
        return self._transfer is None and not self._waiting

    def post(self, blob: Blob) -> None:
        """Takes a blob. Raises ValueError if the blob is empty or too large."""
        check_size(blob)
        self._waiting[blob.kind, blob.key] = blob

    def restart(self, *, receiver_is_new: bool = False) -> None:
        """Resets the state for a new stream (`receiver_is_new`: the receiver has no state of the session)."""
        self._send_again()
        if receiver_is_new:
            self._waiting = self._delivered | self._waiting
            self._delivered = {}

    def _send_again(self) -> None:
        """The blob in transfer is sent again from its beginning."""
        if self._transfer is not None:
            self._transfer.most_sent = max(self._transfer.most_sent, self._transfer.sent)
            self._transfer.sent = self._transfer.acknowledged = 0

    def received(self, chunk_ack: ChunkAck) -> None:
        """Handles the answer to a chunk. Raises PeerError if it is to one that was never sent, or takes bytes back."""
        transfer = self._transfer
        if chunk_ack.blob > self._number:
            raise PeerError(f"the receiver has bytes of blob {chunk_ack.blob}, which was never sent; see --peer")
        if transfer is None or chunk_ack.blob != transfer.number:
            return
        taken_back = chunk_ack.held < transfer.acknowledged and not transfer.most_sent
        if chunk_ack.held > max(transfer.sent, transfer.most_sent) or taken_back:
            raise PeerError(
                f"the receiver has {chunk_ack.held} bytes of a blob of which {transfer.sent} were sent and "
                f"{transfer.acknowledged} confirmed: it is faulty, or no Bodywire receiver; see --peer"
            )
        transfer.acknowledged = min(max(transfer.acknowledged, chunk_ack.held), transfer.sent)
        if transfer.acknowledged == len(transfer.blob.data):
            if transfer.blob.traits.recorded:
                self._delivered[transfer.blob.kind, transfer.blob.key] = transfer.blob
            self._transfer = None

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the blob in transfer, or of the next one, that may be sent."""
        if self._pacer is None:
            return 0
        if self._transfer is not None:
            return len(self._transfer.blob.data) - self._transfer.sent
        first = self._first_waiting()
        return 0 if first is None else len(first.data)

    def take(self, most_bytes: int) -> Chunk | None:
        """The next chunk for a packet train, which sends as many bytes in any case; None if no blob waits."""
        if not self.waiting_bytes:
            return None
        transfer = self._transfer = self._transfer or self._next_transfer()
        return None if transfer is None else transfer.next_chunk(most_bytes)

    def chunks(self, now_ms: float, most_bytes: float = math.inf) -> Iterator[Chunk]:
        """The chunks to send behind the frame that has just left (`most_bytes`: what the link's budget allows)."""
        transfer = self._transfer = self._transfer or self._next_transfer()
        if transfer is None or self._pacer is None:
            return
        size = len(transfer.blob.data)
        in_flight = transfer.sent - transfer.acknowledged
        paced_bytes = self._pacer.background_bytes(in_flight, size, now_ms)
        allowed = int(min(paced_bytes, most_bytes))
        while allowed > 0 and transfer.sent < size:
            chunk = transfer.next_chunk(allowed)
            allowed -= len(chunk.data)
            yield chunk

    def ahead(self, blobs: Sequence[Blob], most_bytes: int = MAX_CHUNK_BYTES) -> Iterator[Chunk]:
        """All chunks of blobs that must arrive before the frame that leaves now, whatever the link carries.

        A blob in transfer is sent again from its beginning, because chunks of two blobs do not mix.

        Args:
            most_bytes: of each chunk.
        """
        if blobs:
            self._send_again()
        for blob in blobs:
            self._number += 1
            transfer = _Transfer(self._number, blob)
            while transfer.sent < len(blob.data):
                yield transfer.next_chunk(most_bytes)

    def _next_transfer(self) -> _Transfer | None:
        first = self._first_waiting()
        if first is None:
            return None
        self._number += 1
        return _Transfer(self._number, self._waiting.pop((first.kind, first.key)))

    def _first_waiting(self) -> Blob | None:
        """The first one that waits in the order of kinds."""
        return min(self._waiting.values(), key=lambda blob: blob.traits.order, default=None)


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
