import zlib

import pytest

from common.blobs import Parcel
from common.errors import MalformedPacket
from common.wire.convert import Piece, Receipt
from receiver.link.blob_assembly import ParcelAssembly

DATA = b"abcdefgh"


def _first(data: bytes = DATA, *, total: int = len(DATA), checksum: int = zlib.crc32(DATA), parcel: int = 1) -> Piece:
    return Piece(parcel, 0, data, "colours", 7, total, checksum)


def test_pieces_make_the_parcel_and_each_is_answered() -> None:
    assembly = ParcelAssembly()
    assert assembly.add(_first(DATA[:3])) == (Receipt(1, 3), None)
    assert assembly.add(Piece(1, 3, DATA[3:])) == (Receipt(1, 8), Parcel("colours", 7, DATA))


@pytest.mark.parametrize(
    "piece", [Piece(1, 3, b"x"), Piece(2, 2, b"x"), Piece(1, 2, bytes(7))], ids=["gap", "another parcel", "too long"]
)
def test_pieces_that_do_not_fit_are_malformed(piece: Piece) -> None:
    assembly = ParcelAssembly()
    assembly.add(_first(DATA[:2]))
    with pytest.raises(MalformedPacket):
        assembly.add(piece)


def test_a_piece_without_a_beginning_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        ParcelAssembly().add(Piece(1, 3, b"x"))


def test_a_first_piece_may_not_be_longer_than_its_parcel() -> None:
    with pytest.raises(MalformedPacket):
        ParcelAssembly().add(_first(total=7))


def test_a_parcel_that_is_not_what_was_sent_is_dropped_and_answered() -> None:
    assert ParcelAssembly().add(_first(checksum=0)) == (Receipt(1, 8), None)


def test_the_next_parcel_may_begin_before_the_last_has_ended() -> None:
    assembly = ParcelAssembly()
    assembly.add(_first(DATA[:3]))
    assert assembly.add(_first(parcel=2))[1] == Parcel("colours", 7, DATA)


def test_another_run_of_the_sender_counts_from_the_beginning() -> None:
    assembly = ParcelAssembly()
    assembly.add(_first(parcel=1))
    assembly.add(_first(parcel=2))
    other = _first(b"other", total=5, checksum=zlib.crc32(b"other"), parcel=1)
    assert assembly.add(other)[1] == Parcel("colours", 7, b"other")
