"""One file of a spool: a zstandard stream of records, readable up to any truncation.

Each record is a block of its own, so that all complete records can be read from a truncated file; checksums detect the
first incomplete one.
"""

import struct
import zlib
from pathlib import Path

import zstandard

from common.io.append_file import AppendFile
from common.io.regular_file import open_regular

_HEAD = struct.Struct("<II")
_LEVEL = 3
# A thousand times as much at most comes out of it.
_CHUNK_BYTES = 1024
# Far above any record written; a larger length is damage.
_MAX_RECORD_BYTES = 1 << 20
# Of a file, on the disk and decompressed; 256 frames of a hundred people have a tenth of it.
_MAX_BYTES = 1 << 28


class SegmentWriter(AppendFile):
    """Appends records to a new file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()

    def append(self, record: bytes) -> None:
        framed = _HEAD.pack(len(record), zlib.crc32(record)) + record
        super().append(self._compressor.compress(framed) + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))


def read_segment(path: Path) -> list[bytes]:
    """The complete records of a file, up to the first truncation or damage.

    Raises:
        OSError: the file cannot be read, is not regular, or is larger than any that is written.
    """
    with open_regular(path, _MAX_BYTES) as file:
        data, content = file.read(), bytearray()
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        for start in range(0, len(data), _CHUNK_BYTES):
            content += decompressor.decompress(data[start : start + _CHUNK_BYTES])
            if len(content) > _MAX_BYTES:
                break
    except zstandard.ZstdError:
        pass  # the content before the damage is used
    records, start = [], 0
    while start + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, start)
        record = bytes(content[start + _HEAD.size : start + _HEAD.size + length])
        if length > _MAX_RECORD_BYTES or len(record) < length or zlib.crc32(record) != checksum:
            break
        records.append(record)
        start += _HEAD.size + length
    return records
