"""Pieces back into parcels, one parcel after the other."""

import logging
import zlib

from common.blobs import Parcel
from common.errors import MalformedPacket
from common.wire.convert import Piece, Receipt

_log = logging.getLogger(__name__)


class ParcelAssembly:
    """Of one session, over any number of streams; holds one unfinished parcel at most."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self._first: Piece | None = None
        self._data = bytearray()

    def add(self, piece: Piece) -> tuple[Receipt, Parcel | None]:
        """Takes in a piece; returns the answer to it, and the parcel if this was its last.

        A parcel that comes again, since its last receipt was lost, is not returned again; one that is not what was sent
        is dropped.

        Raises:
            MalformedPacket: the piece does not follow the one before.
        """
        if piece.offset == 0:
            self._first, self._data = piece, bytearray()
        first = self._first
        if first is None or piece.parcel != first.parcel or piece.offset != len(self._data):
            raise MalformedPacket("a piece does not follow the one before")
        if len(self._data) + len(piece.data) > first.total:
            raise MalformedPacket("a piece goes beyond its parcel")
        self._data += piece.data
        receipt = Receipt(piece.parcel, len(self._data))
        if len(self._data) < first.total:
            return receipt, None
        data, self._first, self._data = bytes(self._data), None, bytearray()
        if zlib.crc32(data) != first.checksum:
            _log.warning("parcel %d (%s) is not what was sent, and is dropped", first.parcel, first.kind)
            return receipt, None
        again = self._last == (first.parcel, first.checksum)
        self._last = first.parcel, first.checksum
        return receipt, None if again else Parcel(first.kind, first.key, data)
