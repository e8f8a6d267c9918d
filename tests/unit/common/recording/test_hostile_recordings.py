"""Forged, cut and damaged recordings are refused, whatever they announce, and never take much memory."""

import os
import struct
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common.blobs import Blob
from common.errors import RecordingError
from common.recording.format import (
    HEAD,
    MAGIC,
    MAX_CONTENT_BYTES,
    Block,
    BlockKind,
    RecordedState,
    _checksum,
    encode_block,
    encode_records,
)
from common.recording.reader import Recording
from tests.support.receiver.recordings import FACTS, counted_frame, write_counted

START = MAGIC + encode_block(BlockKind.FACTS, FACTS.encode())


def forged_block(kind: int, stored: bytes) -> bytes:
    """A block with a right checksum and any content."""
    head = HEAD.pack(kind, 0, len(stored), 0)
    return head[:-4] + struct.pack("<I", _checksum(head, stored)) + stored


def read_all(path: Path) -> int:
    with Recording(path) as recording:
        _ = recording.duration_us
        return sum(1 for _ in recording.read())


def test_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\x93BODY", b"PK\x03\x04" + bytes(100), MAGIC, START[:-1], bytes(5000)):
        (tmp_path / "talk.bw").write_bytes(data)
        with pytest.raises(RecordingError, match=r"talk\.bw: "):
            Recording(tmp_path / "talk.bw")


@pytest.mark.parametrize("version", [2, 4])
def test_other_format_is_refused_with_what_to_do(tmp_path: Path, version: int) -> None:
    (tmp_path / "talk.bw").write_bytes(MAGIC[:-1] + bytes([version]) + START[len(MAGIC) :])
    with pytest.raises(RecordingError, match=f"version {version}, not 3: use the version that recorded it"):
        Recording(tmp_path / "talk.bw")


def test_last_block_may_have_states_alone(tmp_path: Path) -> None:
    states = encode_block(BlockKind.ENTRY_POINT, encode_records([RecordedState(7, b"state")]), 5)
    (tmp_path / "talk.bw").write_bytes(START + states)
    with Recording(tmp_path / "talk.bw") as recording:
        assert recording.duration_us == 0 and len(list(recording.read())) == 1


def test_missing_file_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        Recording(tmp_path / "talk.bw")
    with pytest.raises(RecordingError, match="Is a directory"):
        Recording(tmp_path)
    os.mkfifo(tmp_path / "pipe.bw")
    with pytest.raises(RecordingError, match="not a regular file"):
        Recording(tmp_path / "pipe.bw")


def test_announced_sizes_beyond_the_limit_are_refused_before_anything_is_read() -> None:
    for kind in list(BlockKind):
        for stored in (2 * MAX_CONTENT_BYTES, 0xFFFFFFFF):
            with pytest.raises(RecordingError, match="more than it may have"):
                Block.parse(0, HEAD.pack(kind, 0, stored, 0))


def test_decompression_bomb_takes_no_memory(tmp_path: Path) -> None:
    """Frames of much more than a block may have: of unknown size, of a known one, and of one that is forged."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    chunks = [compressor.compress(bytes(1 << 20)) for _ in range(1024)]
    unsized = b"".join(chunks) + compressor.flush()
    sized = zstandard.ZstdCompressor(level=3).compress(bytes(64 << 20))
    # 64 MiB as four bytes of little-endian size in the frame's header, after the magic number and its descriptor.
    assert sized[5:9] == (64 << 20).to_bytes(4, "little") or sized[6:10] == (64 << 20).to_bytes(4, "little")
    forged = sized.replace((64 << 20).to_bytes(4, "little"), (200_000).to_bytes(4, "little"), 1)
    for bomb in (unsized, sized, forged):
        # Not the last block, which is read when the file is opened.
        blocks = forged_block(BlockKind.ENTRY_POINT, bomb) + encode_block(BlockKind.BLOB, b"\x01k\0\0\0\0")
        (tmp_path / "talk.bw").write_bytes(START + blocks)
        tracemalloc.start()
        try:
            with pytest.raises(RecordingError, match=r"damaged after 0\.0 s"):
                read_all(tmp_path / "talk.bw")
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("recordings") / "talk.bw"
    write_counted(path, 70, entry_every=20, blob_every=25)
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_file_is_refused_or_plays_frames_that_were_written(
    small: tuple[Path, bytes], data: st.DataObject
) -> None:
    path, whole = small
    mutated = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "insert", "copy"))):
            case "flip":
                mutated[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del mutated[place + 1 :]
            case "insert":
                mutated[place:place] = data.draw(st.binary(max_size=20))
            case "copy":
                mutated[place:place] = mutated[place : place + 200]
    path.write_bytes(mutated)
    written = {(f.sequence, f.payload) for f in (counted_frame(n) for n in range(70))}
    try:
        with Recording(path) as recording:
            for each in recording.read(data.draw(st.integers(0, 3_000_000))):
                assert isinstance(each, Blob) or (each.sequence, each.payload) in written  # type: ignore[union-attr]
    except RecordingError:
        pass
