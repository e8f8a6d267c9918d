import zlib

import pytest

from common.blobs import Blob
from common.errors import ChecksumMismatch, MalformedPacket
from common.wire.convert import Chunk
from receiver.link.blob_assembly import BlobAssembly

DATA = b"abcdefgh"


def _first(data: bytes = DATA, *, total: int = len(DATA), checksum: int = zlib.crc32(DATA), blob: int = 1) -> Chunk:
    return Chunk(blob, 0, data, "colours", 7, total, checksum)


def test_chunks_are_assembled() -> None:
    assembly = BlobAssembly()
    assert assembly.add(_first(DATA[:3])) is None
    assert assembly.add(Chunk(1, 3, DATA[3:])) == Blob("colours", 7, DATA)


@pytest.mark.parametrize(
    "chunk", [Chunk(1, 3, b"x"), Chunk(2, 2, b"x"), Chunk(1, 2, bytes(7))], ids=["gap", "another blob", "too long"]
)
def test_chunks_that_do_not_follow_are_malformed(chunk: Chunk) -> None:
    assembly = BlobAssembly()
    assembly.add(_first(DATA[:2]))
    with pytest.raises(MalformedPacket):
        assembly.add(chunk)


def test_chunk_without_a_first_chunk_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        BlobAssembly().add(Chunk(1, 3, b"x"))


def test_first_chunk_longer_than_its_blob_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        BlobAssembly().add(_first(total=7))


def test_blob_with_a_wrong_checksum_is_dropped() -> None:
    assembly = BlobAssembly()
    with pytest.raises(ChecksumMismatch, match="blob 1 has a wrong checksum"):
        assembly.add(_first(checksum=0))
    assert assembly.add(_first(blob=2)) == Blob("colours", 7, DATA)


def test_new_blob_replaces_an_unfinished_one() -> None:
    assembly = BlobAssembly()
    assembly.add(_first(DATA[:3]))
    assert assembly.add(_first(blob=2)) == Blob("colours", 7, DATA)


def test_restarted_sender_counts_blobs_from_one() -> None:
    assembly = BlobAssembly()
    assembly.add(_first(blob=1))
    assembly.add(_first(blob=2))
    first = _first(b"other", total=5, checksum=zlib.crc32(b"other"), blob=1)
    assert assembly.add(first) == Blob("colours", 7, b"other")
