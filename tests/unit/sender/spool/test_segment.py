"""Complete records of a segment can be read wherever it is truncated or damaged."""

import os
from pathlib import Path

import pytest
import zstandard

from sender.spool.segment import SegmentWriter, read_segment

RECORDS = [bytes([number]) * (number * 7 % 50 + 1) + os.urandom(40) for number in range(16)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "segment"
    writer = SegmentWriter(path)
    for record in RECORDS:
        writer.append(record)
    writer.close()
    assert path.stat().st_size == writer.size_bytes
    return path


def test_records_can_be_read_before_close(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "segment")
    writer.append(b"one")
    assert read_segment(tmp_path / "segment") == [b"one"]
    writer.append(b"two")
    assert read_segment(tmp_path / "segment") == [b"one", b"two"]
    writer.close()
    writer.close()


def test_truncated_file_gives_complete_records(path: Path) -> None:
    assert read_segment(path) == RECORDS
    data = path.read_bytes()
    last = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        records = read_segment(path)
        assert records == RECORDS[: len(records)]
        assert last <= len(records) < len(RECORDS)
        last = len(records)
    assert last == len(RECORDS) - 1


def test_damaged_file_gives_no_wrong_record(path: Path) -> None:
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        records = read_segment(path)
        assert records == RECORDS[: len(records)]


def test_full_disk_keeps_earlier_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "segment"
    writer = SegmentWriter(path)
    writer.append(b"one")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space left"):
        writer.append(b"two")
    monkeypatch.undo()
    writer.close()
    assert read_segment(path) == [b"one"]


def test_file_is_private_and_never_overwritten(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        SegmentWriter(path)


def test_bombs_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.spool.segment._MAX_BYTES", 1 << 20)
    bomb = tmp_path / "bomb"
    bomb.write_bytes(zstandard.ZstdCompressor().compress(bytes(1 << 26)))
    assert len(read_segment(bomb)) < 1 << 22
    os.truncate(bomb, 1 << 40)
    with pytest.raises(OSError, match="more than"):
        read_segment(bomb)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_segment(tmp_path / "pipe")
