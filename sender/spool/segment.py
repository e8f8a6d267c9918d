"""One file of a spool: a zstandard stream of records, readable up to any truncation.

Each record is a block of its own, so that all complete records can be read from a truncated file; checksums detect the
first incomplete one.
"""

import errno
import os
import struct
import zlib
from pathlib import Path

import zstandard

_HEAD = struct.Struct("<II")
_LEVEL = 3
_CHUNK_BYTES = 4096
# Far above any record written; a larger length is damage.
_MAX_RECORD_BYTES = 1 << 20


class SegmentWriter:
    """Appends records to a new file.

    Args:
        path: must not exist.

    Raises:
        OSError: here and in every method: the file cannot be written. Only `close` may be called afterwards; earlier
            records are complete.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        self._synced = True
        self.bytes_written = 0

    def append(self, record: bytes) -> None:
        """Adds a record, which survives a crash of this process and, after `sync`, of the machine."""
        framed = _HEAD.pack(len(record), zlib.crc32(record)) + record
        block = self._compressor.compress(framed) + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        self._synced = False
        self._write(block)

    def sync(self) -> None:
        """Waits until all records are on the disk."""
        if not self._synced:
            os.fsync(self._file)
            self._synced = True

    def close(self) -> None:
        """Syncs and closes the file; safe to call twice."""
        if self._file >= 0:
            try:
                self.sync()
            finally:
                os.close(self._file)
                self._file = -1

    def _write(self, data: bytes) -> None:
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            os.ftruncate(self._file, self.bytes_written)
            raise
        self.bytes_written += len(data)


def read_segment(path: Path) -> list[bytes]:
    """The complete records of a file, up to the first truncation or damage.

    Raises:
        OSError: the file cannot be read.
    """
    data, content = path.read_bytes(), bytearray()
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        for start in range(0, len(data), _CHUNK_BYTES):
            content += decompressor.decompress(data[start : start + _CHUNK_BYTES])
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
