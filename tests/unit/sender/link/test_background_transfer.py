"""The lane of parcels: one after the other, newest of its kind and key, anew on a new stream."""

import pytest

from common.blobs import Parcel
from common.wire.convert import MAX_PARCEL_BYTES, MAX_PIECE_BYTES, Piece, Receipt
from receiver.link.blob_assembly import ParcelAssembly
from sender.link.background_transfer import BulkLane, NoBulk


class Steady:
    """So many bytes a frame, and no more than `most` on their way."""

    def __init__(self, a_frame: int, most: int = 10**9) -> None:
        self.a_frame, self.most = a_frame, most

    def bulk_bytes(self, in_flight_bytes: int, parcel_bytes: int, now_ms: float) -> int:
        return max(min(self.a_frame, self.most - in_flight_bytes), 0)


def _pieces(lane: BulkLane) -> list[Piece]:
    return list(lane.pieces(0.0))


def _deliver(lane: BulkLane, frames: int = 100) -> list[Parcel]:
    """What arrives if a frame leaves so many times, and every piece is answered at once."""
    assembly, arrived = ParcelAssembly(), []
    for _ in range(frames):
        for piece in lane.pieces(0.0):
            receipt, parcel = assembly.add(piece)
            lane.received(receipt)
            arrived += [parcel] if parcel else []
    return arrived


def test_a_parcel_arrives_as_it_was_posted() -> None:
    lane = BulkLane(Steady(100))
    parcel = Parcel("colours", 3, bytes(range(256)) * 4)
    lane.post(parcel)
    assert not lane.idle
    assert _deliver(lane) == [parcel]
    assert lane.idle


def test_no_more_goes_than_the_pace_allows() -> None:
    lane = BulkLane(Steady(100, most=250))
    lane.post(Parcel("colours", 0, bytes(1000)))
    assert [[len(piece.data) for piece in _pieces(lane)] for _ in range(4)] == [[100], [100], [50], []]
    lane.received(Receipt(1, 100))
    assert [len(piece.data) for piece in _pieces(lane)] == [100]


def test_the_pace_knows_the_whole_parcel_however_much_of_it_has_gone() -> None:
    asked = []

    class Asking(Steady):
        def bulk_bytes(self, in_flight_bytes: int, parcel_bytes: int, now_ms: float) -> int:
            asked.append((in_flight_bytes, parcel_bytes))
            return super().bulk_bytes(in_flight_bytes, parcel_bytes, now_ms)

    lane = BulkLane(Asking(100))
    lane.post(Parcel("colours", 0, bytes(250)))
    assert len(_deliver(lane, 3)) == 1
    assert asked == [(0, 250)] * 3


def test_without_a_pace_nothing_goes() -> None:
    lane = BulkLane(NoBulk())
    lane.post(Parcel("colours", 0, b"1"))
    assert _pieces(lane) == []
    assert not lane.idle


def test_much_at_a_time_goes_in_pieces_that_the_wire_takes() -> None:
    lane = BulkLane(Steady(3 * MAX_PIECE_BYTES))
    lane.post(Parcel("colours", 0, bytes(2 * MAX_PIECE_BYTES + 1)))
    assert [len(piece.data) for piece in _pieces(lane)] == [MAX_PIECE_BYTES, MAX_PIECE_BYTES, 1]


def test_what_waits_is_replaced_and_what_has_begun_is_finished() -> None:
    lane = BulkLane(Steady(2))
    lane.post(Parcel("colours", 0, b"first"))
    assert len(_pieces(lane)) == 1
    for data in (b"second", b"third"):
        lane.post(Parcel("colours", 0, data))
    lane.post(Parcel("colours", 1, b"other"))
    lane.restart()
    assert [parcel.data for parcel in _deliver(lane)] == [b"first", b"third", b"other"]


def test_a_new_stream_begins_anew_with_the_parcel_on_its_way() -> None:
    lane, assembly = BulkLane(Steady(3)), ParcelAssembly()
    lane.post(Parcel("colours", 0, b"abcdefgh"))
    for _ in range(2):
        assembly.add(_pieces(lane)[0])
    lane.restart()
    first = _pieces(lane)[0]
    assert first.offset == 0
    assert assembly.add(first)[0] == Receipt(1, 3)
    assert [assembly.add(_pieces(lane)[0])[1] for _ in range(2)] == [None, Parcel("colours", 0, b"abcdefgh")]


def test_a_parcel_whose_last_receipt_was_lost_arrives_once() -> None:
    lane, assembly = BulkLane(Steady(100)), ParcelAssembly()
    lane.post(Parcel("colours", 0, b"abc"))
    assert assembly.add(_pieces(lane)[0])[1] is not None
    lane.restart()
    receipt, parcel = assembly.add(_pieces(lane)[0])
    assert parcel is None
    lane.received(receipt)
    assert lane.idle


def test_a_receiver_that_was_started_anew_gets_the_newest_of_everything_again() -> None:
    lane = BulkLane(Steady(100))
    for key, data in ((0, b"old"), (1, b"other"), (0, b"new")):
        lane.post(Parcel("colours", key, data))
        assert len(_deliver(lane)) == 1
    lane.restart()
    assert _deliver(lane) == []
    lane.post(Parcel("colours", 1, b"newer"))
    lane.restart(anew=True)
    assert {parcel.key: parcel.data for parcel in _deliver(lane)} == {0: b"new", 1: b"newer"}


def test_receipts_of_other_parcels_and_of_what_was_not_sent_do_not_count() -> None:
    lane = BulkLane(Steady(3))
    lane.received(Receipt(1, 5))
    lane.post(Parcel("colours", 0, b"abcdefgh"))
    assert len(_pieces(lane)) == 1
    lane.received(Receipt(2, 8))
    lane.received(Receipt(1, 8))
    assert not lane.idle


@pytest.mark.parametrize("size", [0, MAX_PARCEL_BYTES + 1])
def test_what_is_no_parcel_is_not_taken(size: int) -> None:
    with pytest.raises(ValueError, match="a parcel has"):
        BulkLane(NoBulk()).post(Parcel("colours", 0, bytes(size)))
