"""The index of a recording: where each block begins and what it is.

number of kinds of blobs 1 B · each kind (1 B of length, UTF-8) │ offset, time, kind, flags, blob, key of each block
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.errors import RecordingError
from common.recording.block import ENTRY_POINT, MAGIC, MAX_RAW_BYTES, BlockKind

_ROW: Final = np.dtype(
    [("offset", "<u8"), ("time_us", "<i8"), ("kind", "u1"), ("flags", "u1"), ("blob", "<u2"), ("key", "<u4")]
)
_MAX_KINDS: Final = 255
_INDEXED: Final = (BlockKind.FRAMES, BlockKind.BLOB)


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """A block of frames or a blob.

    Args:
        offset: of its head in the file.
        time_us: capture time of its first frame; of a blob, that of the block before it (0 before the first).
        kind: FRAMES or BLOB.
        entry_point: decoding can begin here.
        blob: kind and key of the blob; None for frames.
    """

    offset: int
    time_us: int
    kind: BlockKind
    entry_point: bool = False
    blob: tuple[str, int] | None = None


def encode_index(entries: Sequence[BlockEntry]) -> bytes | None:
    """The content of the index's block; None if it would exceed the limit: readers then rebuild it."""
    kinds = list(dict.fromkeys(entry.blob[0] for entry in entries if entry.blob))
    number = {kind: place for place, kind in enumerate(kinds)}
    rows = np.array(
        [
            (
                entry.offset,
                entry.time_us,
                entry.kind,
                ENTRY_POINT if entry.entry_point else 0,
                number[entry.blob[0]] if entry.blob else 0,
                entry.blob[1] if entry.blob else 0,
            )
            for entry in entries
        ],
        _ROW,
    )
    names = b"".join(bytes([len(name)]) + name for name in (kind.encode()[:255] for kind in kinds))
    if len(kinds) > _MAX_KINDS or 1 + len(names) + rows.nbytes > MAX_RAW_BYTES[BlockKind.INDEX]:
        return None
    # By columns: they compress to a third.
    return bytes([len(kinds)]) + names + b"".join(rows[name].tobytes() for name in _ROW.names or ())


def decode_index(content: bytes, end: int) -> list[BlockEntry]:
    """The inverse of `encode_index`, for untrusted bytes.

    Args:
        end: the offset of the index itself, behind the last block.

    Raises:
        RecordingError: the content is inconsistent.
    """
    kinds, start = _decode_kinds(content)
    count, rest = divmod(len(content) - start, _ROW.itemsize)
    if rest:
        raise RecordingError("its index is damaged")
    rows = np.zeros(count, _ROW)
    for name in _ROW.names or ():
        column = np.frombuffer(content, _ROW[name], count, start)
        rows[name] = column
        start += column.nbytes
    offsets = rows["offset"].astype(np.float64)
    ordered = count == 0 or (offsets[0] >= len(MAGIC) and offsets[-1] < end and bool((np.diff(offsets) > 0).all()))
    known = np.isin(rows["kind"], _INDEXED).all() and (rows["blob"] < max(len(kinds), 1)).all()
    if not (ordered and known) or (not kinds and (rows["kind"] == BlockKind.BLOB).any()):
        raise RecordingError("its index is damaged")
    return list(_entries(zip(*(rows[name].tolist() for name in _ROW.names or ()), strict=True), kinds))


def _entries(rows: Iterable[tuple[int, ...]], kinds: Sequence[str]) -> Iterator[BlockEntry]:
    for offset, time_us, number, flags, blob, key in rows:
        kind = BlockKind(number)
        named = (kinds[blob], key) if kind is BlockKind.BLOB else None
        yield BlockEntry(offset, time_us, kind, bool(flags & ENTRY_POINT), named)


def _decode_kinds(content: bytes) -> tuple[list[str], int]:
    """The kinds of blobs, and where the rows begin."""
    kinds: list[str] = []
    start = 1
    try:
        for _ in range(content[0]):
            length = content[start]
            kinds.append(content[start + 1 : start + 1 + length].decode())
            start += 1 + length
    except (IndexError, UnicodeDecodeError) as error:
        raise RecordingError("its index is damaged") from error
    if start > len(content):
        raise RecordingError("its index is damaged")
    return kinds, start
