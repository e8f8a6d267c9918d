"""The lane of blobs: one after the other, newest of its kind and key, anew on a new stream."""

import pytest

from common.blobs import Blob
from common.wire.convert import MAX_BLOB_BYTES, MAX_CHUNK_BYTES, Chunk, ChunkAck
from receiver.link.blob_assembly import BlobAssembly
from sender.link.background_transfer import BackgroundTransfer, NoBackgroundTransfer


class Steady:
    """So many bytes a frame, and no more than `most` on their way."""

    def __init__(self, a_frame: int, most: int = 10**9) -> None:
        self.a_frame, self.most = a_frame, most

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        return max(min(self.a_frame, self.most - in_flight_bytes), 0)


def _chunks(lane: BackgroundTransfer) -> list[Chunk]:
    return list(lane.chunks(0.0))


def _deliver(lane: BackgroundTransfer, frames: int = 100) -> list[Blob]:
    """What arrives if a frame leaves so many times, and every chunk is answered at once."""
    assembly, arrived = BlobAssembly(), []
    for _ in range(frames):
        for chunk in lane.chunks(0.0):
            chunk_ack, blob = assembly.add(chunk)
            lane.received(chunk_ack)
            arrived += [blob] if blob else []
    return arrived


def test_a_parcel_arrives_as_it_was_posted() -> None:
    lane = BackgroundTransfer(Steady(100))
    blob = Blob("colours", 3, bytes(range(256)) * 4)
    lane.post(blob)
    assert not lane.idle
    assert _deliver(lane) == [blob]
    assert lane.idle


def test_no_more_goes_than_the_pace_allows() -> None:
    lane = BackgroundTransfer(Steady(100, most=250))
    lane.post(Blob("colours", 0, bytes(1000)))
    assert [[len(chunk.data) for chunk in _chunks(lane)] for _ in range(4)] == [[100], [100], [50], []]
    lane.received(ChunkAck(1, 100))
    assert [len(chunk.data) for chunk in _chunks(lane)] == [100]


def test_the_pace_knows_the_whole_parcel_however_much_of_it_has_gone() -> None:
    asked = []

    class Asking(Steady):
        def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
            asked.append((in_flight_bytes, blob_bytes))
            return super().background_bytes(in_flight_bytes, blob_bytes, now_ms)

    lane = BackgroundTransfer(Asking(100))
    lane.post(Blob("colours", 0, bytes(250)))
    assert len(_deliver(lane, 3)) == 1
    assert asked == [(0, 250)] * 3


def test_without_a_pace_nothing_goes() -> None:
    lane = BackgroundTransfer(NoBackgroundTransfer())
    lane.post(Blob("colours", 0, b"1"))
    assert _chunks(lane) == []
    assert not lane.idle


def test_much_at_a_time_goes_in_pieces_that_the_wire_takes() -> None:
    lane = BackgroundTransfer(Steady(3 * MAX_CHUNK_BYTES))
    lane.post(Blob("colours", 0, bytes(2 * MAX_CHUNK_BYTES + 1)))
    assert [len(chunk.data) for chunk in _chunks(lane)] == [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]


def test_what_waits_is_replaced_and_what_has_begun_is_finished() -> None:
    lane = BackgroundTransfer(Steady(2))
    lane.post(Blob("colours", 0, b"first"))
    assert len(_chunks(lane)) == 1
    for data in (b"second", b"third"):
        lane.post(Blob("colours", 0, data))
    lane.post(Blob("colours", 1, b"other"))
    lane.restart()
    assert [blob.data for blob in _deliver(lane)] == [b"first", b"third", b"other"]


def test_a_new_stream_begins_anew_with_the_parcel_on_its_way() -> None:
    lane, assembly = BackgroundTransfer(Steady(3)), BlobAssembly()
    lane.post(Blob("colours", 0, b"abcdefgh"))
    for _ in range(2):
        assembly.add(_chunks(lane)[0])
    lane.restart()
    first = _chunks(lane)[0]
    assert first.offset == 0
    assert assembly.add(first)[0] == ChunkAck(1, 3)
    assert [assembly.add(_chunks(lane)[0])[1] for _ in range(2)] == [None, Blob("colours", 0, b"abcdefgh")]


def test_a_parcel_whose_last_receipt_was_lost_arrives_once() -> None:
    lane, assembly = BackgroundTransfer(Steady(100)), BlobAssembly()
    lane.post(Blob("colours", 0, b"abc"))
    assert assembly.add(_chunks(lane)[0])[1] is not None
    lane.restart()
    chunk_ack, blob = assembly.add(_chunks(lane)[0])
    assert blob is None
    lane.received(chunk_ack)
    assert lane.idle


def test_a_receiver_that_was_started_anew_gets_the_newest_of_everything_again() -> None:
    lane = BackgroundTransfer(Steady(100))
    for key, data in ((0, b"old"), (1, b"other"), (0, b"new")):
        lane.post(Blob("colours", key, data))
        assert len(_deliver(lane)) == 1
    lane.restart()
    assert _deliver(lane) == []
    lane.post(Blob("colours", 1, b"newer"))
    lane.restart(anew=True)
    assert {blob.key: blob.data for blob in _deliver(lane)} == {0: b"new", 1: b"newer"}


def test_receipts_of_other_parcels_and_of_what_was_not_sent_do_not_count() -> None:
    lane = BackgroundTransfer(Steady(3))
    lane.received(ChunkAck(1, 5))
    lane.post(Blob("colours", 0, b"abcdefgh"))
    assert len(_chunks(lane)) == 1
    lane.received(ChunkAck(2, 8))
    lane.received(ChunkAck(1, 8))
    assert not lane.idle


@pytest.mark.parametrize("size", [0, MAX_BLOB_BYTES + 1])
def test_what_is_no_parcel_is_not_taken(size: int) -> None:
    with pytest.raises(ValueError, match="a blob has"):
        BackgroundTransfer(NoBackgroundTransfer()).post(Blob("colours", 0, bytes(size)))
