"""Blobs are sent one after the other, the newest of each kind and key, from the beginning on a new stream."""

import pytest

from common.blobs import PREVIEW, SIGNAL, TEXTURE, Blob
from common.errors import PeerError
from common.wire.convert import MAX_BLOB_BYTES, MAX_CHUNK_BYTES, Chunk, ChunkAck
from common.wire.frame_messages import MAX_BLOB
from receiver.link.session import BlobAssembly
from sender.link.background_transfer import BackgroundTransfer
from tests.support.link.link_samples import ConstantPacer


class Transfer(BackgroundTransfer):
    """A transfer whose chunks arrive at a receiver, and are acknowledged unless the test keeps the acknowledgement."""

    def __init__(self, bytes_per_frame: int, most: int = 10**9) -> None:
        super().__init__(ConstantPacer(bytes_per_frame, most))
        self.assembly = BlobAssembly()

    def send(self, *blobs: Blob) -> list[Chunk]:
        """The chunks behind one frame."""
        for blob in blobs:
            self.post(blob)
        return list(self.chunks(0.0))

    def acknowledge(self, chunk: Chunk) -> None:
        self.received(ChunkAck(chunk.blob, chunk.offset + len(chunk.data)))

    def deliver(self, *blobs: Blob, frames: int = 100) -> list[Blob]:
        """The blobs that arrive behind this many frames if every chunk is acknowledged at once."""
        for blob in blobs:
            self.post(blob)
        delivered = []
        for _ in range(frames):
            for chunk in self.chunks(0.0):
                delivered.append(self.assembly.add(chunk))
                self.acknowledge(chunk)
        return [blob for blob in delivered if blob]


def _sizes(chunks: list[Chunk]) -> list[int]:
    return [len(chunk.data) for chunk in chunks]


def test_blob_is_delivered_intact() -> None:
    transfer, blob = Transfer(100), Blob(TEXTURE, 3, bytes(range(256)) * 4)
    transfer.post(blob)
    assert not transfer.idle
    assert transfer.deliver() == [blob]
    assert transfer.idle


def test_chunks_keep_to_the_limits_of_pacer_and_protocol() -> None:
    transfer = Transfer(100, most=250)
    assert _sizes(transfer.send(Blob(TEXTURE, 0, bytes(1000)))) == [100]
    assert [_sizes(transfer.send()) for _ in range(3)] == [[100], [50], []]
    transfer.received(ChunkAck(1, 100))
    assert _sizes(transfer.send()) == [100]
    pacer = transfer._pacer
    assert isinstance(pacer, ConstantPacer) and set(pacer.blob_sizes) == {1000}
    whole = [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]
    assert _sizes(Transfer(3 * MAX_CHUNK_BYTES).send(Blob(TEXTURE, 0, bytes(sum(whole))))) == whole
    unpaced = BackgroundTransfer(None)
    unpaced.post(Blob(TEXTURE, 0, b"1"))
    assert list(unpaced.chunks(0.0)) == [] and not unpaced.idle


def test_waiting_blob_is_replaced_and_begun_blob_is_finished() -> None:
    transfer = Transfer(2)
    assert len(transfer.send(Blob(TEXTURE, 0, b"first"))) == 1
    waiting = [Blob(TEXTURE, 0, b"second"), Blob(TEXTURE, 0, b"third"), Blob(TEXTURE, 1, b"other")]
    for blob in waiting:
        transfer.post(blob)
    transfer.restart()
    assert transfer.deliver() == [Blob(TEXTURE, 0, b"first"), *waiting[1:]]


def test_new_stream_restarts_the_blob_in_transfer() -> None:
    transfer, blob = Transfer(3), Blob(TEXTURE, 0, b"abcdefgh")
    for chunk in (*transfer.send(blob), *transfer.send()):
        transfer.assembly.add(chunk)
    transfer.restart()
    chunks = [chunk for _ in range(3) for chunk in transfer.send()]
    assert chunks[0].offset == 0
    assert [transfer.assembly.add(chunk) for chunk in chunks] == [None, None, blob]
    # The acknowledgement of the last chunk is lost: the blob is sent again, and delivered once.
    transfer.restart()
    assert transfer.deliver() == [] and transfer.idle


def test_restarted_receiver_gets_the_newest_blobs_again_but_those_out_of_date() -> None:
    transfer = Transfer(100)
    for blob in (
        Blob(PREVIEW, 0, b"gone"),
        Blob(SIGNAL, 0, b"gone"),
        Blob(TEXTURE, 0, b"old"),
        Blob(TEXTURE, 1, b"other"),
        Blob(TEXTURE, 0, b"new"),
    ):
        assert transfer.deliver(blob) == [blob]
    transfer.restart()
    assert transfer.deliver() == []
    transfer.post(Blob(TEXTURE, 1, b"newer"))
    transfer.restart(receiver_is_new=True)
    assert {blob.key: blob.data for blob in transfer.deliver()} == {0: b"new", 1: b"newer"}


def test_chunk_acks_of_earlier_blobs_and_of_a_transfer_that_began_again_change_nothing() -> None:
    transfer = Transfer(8)
    assert transfer.deliver(Blob(TEXTURE, 0, b"abcdefgh"))
    transfer.send(Blob(TEXTURE, 1, bytes(20)))
    transfer.restart()
    transfer.received(ChunkAck(1, 8))
    transfer.received(ChunkAck(2, 8))
    assert [chunk.offset for chunk in transfer.send()] == [0]
    transfer.received(ChunkAck(2, 4))
    assert not transfer.idle


@pytest.mark.parametrize(("blob", "held"), [(2, 8), (MAX_BLOB, 1), (1, 4), (1, 2)])
def test_chunk_acks_of_what_was_never_sent_or_that_take_bytes_back_end_the_link(blob: int, held: int) -> None:
    transfer = Transfer(3)
    (chunk,) = transfer.send(Blob(TEXTURE, 0, b"abcdefgh"))
    transfer.acknowledge(chunk)
    with pytest.raises(PeerError, match="see --peer"):
        transfer.received(ChunkAck(blob, held))


def test_empty_and_oversized_blobs_are_refused() -> None:
    for size in (0, MAX_BLOB_BYTES + 1):
        with pytest.raises(ValueError, match="a blob has"):
            Transfer(1).post(Blob(TEXTURE, 0, bytes(size)))


def test_blobs_ahead_of_a_frame_are_sent_whole_and_the_transfer_begins_again() -> None:
    transfer = Transfer(100)
    slow, urgent = Blob(TEXTURE, 1, bytes(range(250))), Blob(TEXTURE, 2, bytes(2 * MAX_CHUNK_BYTES + 1))
    chunks = transfer.send(slow)
    assert list(transfer.ahead([])) == []
    chunks += transfer.send()
    assert [chunk.offset for chunk in chunks] == [0, 100]
    chunks += transfer.ahead([urgent])
    assert _sizes(chunks[2:]) == [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]
    arrived = [blob for chunk in chunks if (blob := transfer.assembly.add(chunk))]
    # Of the part that was sent before; it must not count for the second time.
    transfer.received(ChunkAck(1, 100))
    assert arrived + transfer.deliver() == [urgent, slow]
    assert transfer.idle


def test_order_of_kinds() -> None:
    transfer = Transfer(100)
    posted = [Blob(kind, 0, b"?") for kind in (PREVIEW, TEXTURE, "new")] + [Blob(PREVIEW, 0, b"newest")]
    assert transfer.deliver(*posted) == [posted[2], posted[1], posted[3]]
