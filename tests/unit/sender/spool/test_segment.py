"""A segment of the spool: whatever was written whole can be read, wherever it was torn or damaged."""

import os
from pathlib import Path

import pytest

from sender.spool.segment import SegmentWriter, read_segment

RECORDS = [bytes([number]) * (number * 7 % 50 + 1) + os.urandom(40) for number in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "segment"
    writer = SegmentWriter(path)
    for record in RECORDS:
        writer.append(record)
    writer.close()
    assert path.stat().st_size == writer.bytes_written
    return path


def test_records_come_back(path: Path) -> None:
    assert read_segment(path) == RECORDS


def test_what_is_appended_can_be_read_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "segment")
    writer.append(b"one")
    assert read_segment(tmp_path / "segment") == [b"one"]
    writer.append(b"two")
    assert read_segment(tmp_path / "segment") == [b"one", b"two"]
    writer.close()
    writer.close()


def test_a_torn_file_gives_what_is_whole(path: Path) -> None:
    whole = path.read_bytes()
    last = 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        records = read_segment(path)
        assert records == RECORDS[: len(records)]
        assert last <= len(records) < len(RECORDS)
        last = len(records)
    assert last == len(RECORDS) - 1


def test_a_damaged_file_gives_nothing_wrong(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        records = read_segment(path)
        assert records == RECORDS[: len(records)]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_file_is_nobody_elses_and_never_written_over(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        SegmentWriter(path)
