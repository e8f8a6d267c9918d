"""Parcels in pieces: what goes next, and what is on its way.  Pure.

One parcel goes after the other.  What waits is replaced by what is newer of the same kind and key; what has begun is
finished, so that a source that always has something newer gets something through.  A receiver that was started anew
gets the newest of everything again.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

from common.blobs import Parcel
from common.wire.convert import MAX_PARCEL_BYTES, MAX_PIECE_BYTES, Piece, Receipt


class Pace(Protocol):
    """How fast bulk may go; rate control has the real one."""

    def bulk_bytes(self, in_flight_bytes: int, parcel_bytes: int, now_ms: float) -> int:
        """How much may go now, right behind a frame.

        Args:
            in_flight_bytes: of bulk, sent and without a receipt.
            parcel_bytes: of the parcel that is next or on its way, in all.
        """


class NoBulk:
    """Nothing goes."""

    def bulk_bytes(self, in_flight_bytes: int, parcel_bytes: int, now_ms: float) -> int:
        return 0


class BulkLane:
    """The parcels of one session, over any number of streams."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waiting: dict[tuple[str, int], Parcel] = {}
        self._arrived: dict[tuple[str, int], Parcel] = {}
        self._going: Parcel | None = None
        self._number = 0
        self._sent = self._held = 0

    @property
    def idle(self) -> bool:
        """Whether everything posted is at the receiver."""
        return self._going is None and not self._waiting

    def post(self, parcel: Parcel) -> None:
        """Takes in a parcel.

        Raises:
            ValueError: it is empty or too large.
        """
        if not 1 <= len(parcel.data) <= MAX_PARCEL_BYTES:
            raise ValueError(f"a parcel has 1 to {MAX_PARCEL_BYTES} bytes, not {len(parcel.data)}")
        self._waiting[parcel.kind, parcel.key] = parcel

    def restart(self, *, anew: bool = False) -> None:
        """A new stream began: the parcel that was on its way goes again, from its beginning.

        Args:
            anew: the receiver knows nothing of the session.
        """
        self._sent = self._held = 0
        if anew:
            self._waiting = self._arrived | self._waiting
            self._arrived = {}

    def received(self, receipt: Receipt) -> None:
        """The receiver holds so much of a parcel."""
        if self._going is None or receipt.parcel != self._number:
            return
        self._held = min(max(self._held, receipt.held), self._sent)
        if self._held == len(self._going.data):
            self._arrived[self._going.kind, self._going.key] = self._going
            self._going = None

    def pieces(self, now_ms: float) -> Iterator[Piece]:
        """What shall follow the frame that has just left."""
        if self._going is None and not self._begin():
            return
        assert self._going is not None
        data = self._going.data
        allowed = self._pace.bulk_bytes(self._sent - self._held, len(data), now_ms)
        while allowed > 0 and self._sent < len(data):
            part = data[self._sent : self._sent + min(allowed, MAX_PIECE_BYTES)]
            piece = self._first(part) if self._sent == 0 else Piece(self._number, self._sent, part)
            self._sent += len(part)
            allowed -= len(part)
            yield piece

    def _first(self, part: bytes) -> Piece:
        assert self._going is not None
        parcel = self._going
        return Piece(self._number, 0, part, parcel.kind, parcel.key, len(parcel.data), zlib.crc32(parcel.data))

    def _begin(self) -> bool:
        if not self._waiting:
            return False
        self._going = self._waiting.pop(next(iter(self._waiting)))
        self._number += 1
        self._sent = self._held = 0
        return True
