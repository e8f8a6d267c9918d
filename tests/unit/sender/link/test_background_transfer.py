"""Blobs are sent one after the other, the newest of each kind and key, from the beginning on a new stream."""

import pytest

from common.blobs import COLOURS, PICTURE, PREVIEW, TEXTURE, Blob
from common.wire.convert import MAX_BLOB_BYTES, MAX_CHUNK_BYTES, Chunk, ChunkAck
from receiver.link.blob_assembly import BlobAssembly
from sender.link.background_transfer import BackgroundTransfer, NoBackgroundTransfer


class ConstantPacer(NoBackgroundTransfer):
    """Allows a fixed number of bytes per frame, and at most `most` in flight."""

    def __init__(self, bytes_per_frame: int, most: int = 10**9) -> None:
        self.bytes_per_frame, self.most = bytes_per_frame, most

    def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        return max(min(self.bytes_per_frame, self.most - in_flight_bytes), 0)

    def signal_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
        return 2 * self.background_bytes(in_flight_bytes, blob_bytes, now_ms)


def _chunks(transfer: BackgroundTransfer) -> list[Chunk]:
    return list(transfer.chunks(0.0))


def acknowledgement(chunk: Chunk) -> ChunkAck:
    return ChunkAck(chunk.blob, chunk.offset + len(chunk.data))


def _deliver(transfer: BackgroundTransfer, frames: int = 100) -> list[Blob]:
    """The blobs that arrive behind this many frames if every chunk is acknowledged at once."""
    assembly, delivered = BlobAssembly(), []
    for _ in range(frames):
        for chunk in transfer.chunks(0.0):
            blob = assembly.add(chunk)
            transfer.received(acknowledgement(chunk))
            delivered += [blob] if blob else []
    return delivered


def test_blob_is_delivered_intact() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    blob = Blob("colours", 3, bytes(range(256)) * 4)
    transfer.post(blob)
    assert not transfer.idle
    assert _deliver(transfer) == [blob]
    assert transfer.idle


def test_chunks_keep_to_the_pacers_limit() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100, most=250))
    transfer.post(Blob("colours", 0, bytes(1000)))
    assert [[len(chunk.data) for chunk in _chunks(transfer)] for _ in range(4)] == [[100], [100], [50], []]
    transfer.received(ChunkAck(1, 100))
    assert [len(chunk.data) for chunk in _chunks(transfer)] == [100]


def test_pacer_is_given_the_size_of_the_whole_blob() -> None:
    calls = []

    class RecordingPacer(ConstantPacer):
        def background_bytes(self, in_flight_bytes: int, blob_bytes: int, now_ms: float) -> int:
            calls.append((in_flight_bytes, blob_bytes))
            return super().background_bytes(in_flight_bytes, blob_bytes, now_ms)

    transfer = BackgroundTransfer(RecordingPacer(100))
    transfer.post(Blob("colours", 0, bytes(250)))
    assert len(_deliver(transfer, 3)) == 1
    assert calls == [(0, 250)] * 3


def test_nothing_is_sent_without_a_pacer() -> None:
    transfer = BackgroundTransfer(NoBackgroundTransfer())
    transfer.post(Blob("colours", 0, b"1"))
    assert _chunks(transfer) == []
    assert not transfer.idle


def test_chunks_are_at_most_as_large_as_the_protocol_allows() -> None:
    transfer = BackgroundTransfer(ConstantPacer(3 * MAX_CHUNK_BYTES))
    transfer.post(Blob("colours", 0, bytes(2 * MAX_CHUNK_BYTES + 1)))
    assert [len(chunk.data) for chunk in _chunks(transfer)] == [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]


def test_waiting_blob_is_replaced_and_begun_blob_is_finished() -> None:
    transfer = BackgroundTransfer(ConstantPacer(2))
    transfer.post(Blob("colours", 0, b"first"))
    assert len(_chunks(transfer)) == 1
    for data in (b"second", b"third"):
        transfer.post(Blob("colours", 0, data))
    transfer.post(Blob("colours", 1, b"other"))
    transfer.restart()
    assert [blob.data for blob in _deliver(transfer)] == [b"first", b"third", b"other"]


def test_new_stream_restarts_the_blob_in_transfer() -> None:
    transfer, assembly = BackgroundTransfer(ConstantPacer(3)), BlobAssembly()
    transfer.post(Blob("colours", 0, b"abcdefgh"))
    for _ in range(2):
        assembly.add(_chunks(transfer)[0])
    transfer.restart()
    first = _chunks(transfer)[0]
    assert first.offset == 0
    assert assembly.add(first) is None
    assert [assembly.add(_chunks(transfer)[0]) for _ in range(2)] == [None, Blob("colours", 0, b"abcdefgh")]


def test_blob_whose_last_chunk_ack_was_lost_is_delivered_once() -> None:
    transfer, assembly = BackgroundTransfer(ConstantPacer(100)), BlobAssembly()
    transfer.post(Blob("colours", 0, b"abc"))
    assert assembly.add(_chunks(transfer)[0]) is not None
    transfer.restart()
    last = _chunks(transfer)[0]
    assert assembly.add(last) is None
    transfer.received(acknowledgement(last))
    assert transfer.idle


def test_restarted_receiver_gets_the_newest_blobs_again() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    for key, data in ((0, b"old"), (1, b"other"), (0, b"new")):
        transfer.post(Blob("colours", key, data))
        assert len(_deliver(transfer)) == 1
    transfer.restart()
    assert _deliver(transfer) == []
    transfer.post(Blob("colours", 1, b"newer"))
    transfer.restart(receiver_is_new=True)
    assert {blob.key: blob.data for blob in _deliver(transfer)} == {0: b"new", 1: b"newer"}


def test_unexpected_chunk_acks_are_ignored() -> None:
    transfer = BackgroundTransfer(ConstantPacer(3))
    transfer.received(ChunkAck(1, 5))
    transfer.post(Blob("colours", 0, b"abcdefgh"))
    assert len(_chunks(transfer)) == 1
    transfer.received(ChunkAck(2, 8))
    transfer.received(ChunkAck(1, 8))
    assert not transfer.idle


@pytest.mark.parametrize("size", [0, MAX_BLOB_BYTES + 1])
def test_empty_and_oversized_blobs_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="a blob has"):
        BackgroundTransfer(NoBackgroundTransfer()).post(Blob("colours", 0, bytes(size)))


def test_blobs_ahead_of_a_frame_are_sent_whole() -> None:
    transfer, assembly = BackgroundTransfer(NoBackgroundTransfer()), BlobAssembly()
    blobs = [Blob(COLOURS, 1, bytes(2 * MAX_CHUNK_BYTES + 1)), Blob(COLOURS, 2, b"small")]
    chunks = list(transfer.ahead(blobs))
    assert [len(chunk.data) for chunk in chunks] == [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1, 5]
    assert [blob for chunk in chunks if (blob := assembly.add(chunk))] == blobs
    assert transfer.idle


def test_blob_in_transfer_begins_again_behind_blobs_ahead_of_a_frame() -> None:
    transfer, assembly = BackgroundTransfer(ConstantPacer(100)), BlobAssembly()
    slow, urgent = Blob(COLOURS, 1, bytes(range(250))), Blob(COLOURS, 2, b"urgent")
    transfer.post(slow)
    arrived = [assembly.add(chunk) for chunk in _chunks(transfer)]
    arrived += [assembly.add(chunk) for chunk in transfer.ahead([urgent])]
    # Of the part that was sent before; it must not count for the second time.
    transfer.received(ChunkAck(1, 100))
    for _ in range(5):
        for chunk in transfer.chunks(0.0):
            arrived.append(assembly.add(chunk))
            transfer.received(acknowledgement(chunk))
    assert [blob for blob in arrived if blob] == [urgent, slow]
    assert transfer.idle


def test_no_blob_ahead_leaves_the_transfer_alone() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    transfer.post(Blob(COLOURS, 1, bytes(150)))
    _chunks(transfer)
    assert list(transfer.ahead([])) == []
    assert [chunk.offset for chunk in _chunks(transfer)] == [100]


def test_previews_wait_for_colours() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    posted = [Blob(PREVIEW, 0, b"old"), Blob(COLOURS, 1, b"1"), Blob(COLOURS, 2, b"2"), Blob(PREVIEW, 0, b"new")]
    for blob in posted:
        transfer.post(blob)
    assert _deliver(transfer) == [posted[1], posted[2], posted[3]]


def test_new_receiver_gets_no_old_preview() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    transfer.post(Blob(PREVIEW, 0, b"old"))
    transfer.post(Blob(COLOURS, 1, b"1"))
    _deliver(transfer)
    transfer.restart(receiver_is_new=True)
    assert _deliver(transfer) == [Blob(COLOURS, 1, b"1")]


def test_textures_wait_for_a_receiver_that_takes_them() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    tile, colours = Blob(TEXTURE, 3, b"tile"), Blob(COLOURS, 3, b"colours")
    for blob in (tile, colours):
        transfer.post(blob)
    assert list(transfer.ahead([tile])) == []
    assert _deliver(transfer) == [colours] and transfer.idle
    transfer.restart(takes_textures=True)
    assert not transfer.idle and _deliver(transfer) == [tile]


def test_texture_in_transfer_waits_when_the_next_receiver_does_not_take_it() -> None:
    transfer = BackgroundTransfer(ConstantPacer(3))
    transfer.restart(takes_textures=True)
    tile, colours = Blob(TEXTURE, 3, b"tile"), Blob(COLOURS, 3, b"colours")
    transfer.post(tile)
    assert [chunk.kind for chunk in _chunks(transfer)] == [TEXTURE]
    transfer.post(colours)
    transfer.restart()
    assert _deliver(transfer) == [colours]
    transfer.restart(takes_textures=True)
    assert _deliver(transfer) == [tile]


def test_colours_come_before_textures_and_both_before_previews() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100))
    transfer.restart(takes_textures=True)
    for kind in (PREVIEW, PICTURE, TEXTURE, COLOURS):
        transfer.post(Blob(kind, 0, b"?"))
    assert [blob.kind for blob in _deliver(transfer)] == [COLOURS, TEXTURE, PICTURE, PREVIEW]


def test_signals_wait_for_a_receiver_that_takes_them() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100), signals=True)
    transfer.post(Blob("signal", 0, bytes(300)))
    assert transfer.idle and not _chunks(transfer)
    transfer.restart(takes_textures=True)
    assert not _chunks(transfer)
    transfer.restart(takes_signals=True)
    chunks = _chunks(transfer)
    assert sum(len(chunk.data) for chunk in chunks) == 200 and all(chunk.signal for chunk in chunks)


def test_newest_signal_follows_the_one_in_transfer() -> None:
    transfer = BackgroundTransfer(ConstantPacer(100), signals=True)
    transfer.restart(takes_signals=True)
    transfer.post(Blob("signal", 0, b"1" * 300))
    sent = _chunks(transfer)
    for content in (b"2", b"3"):
        transfer.post(Blob("signal", 0, content * 300))
    assembly, arrived = BlobAssembly(), []
    for _ in range(6):
        for chunk in sent:
            arrived.append(assembly.add(chunk))
            transfer.received(acknowledgement(chunk))
        sent = _chunks(transfer)
    assert [blob.data[:1] for blob in arrived if blob] == [b"1", b"3"]


def test_signals_are_not_sent_again_to_a_new_receiver() -> None:
    transfer = BackgroundTransfer(ConstantPacer(1000), signals=True)
    transfer.restart(takes_signals=True)
    transfer.post(Blob("signal", 0, bytes(300)))
    for chunk in _chunks(transfer):
        transfer.received(acknowledgement(chunk))
    transfer.restart(receiver_is_new=True, takes_signals=True)
    assert transfer.idle
