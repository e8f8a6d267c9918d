"""The spool across restarts, full disks and truncated files."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from common.errors import OutputError, UsageError
from common.frames import Camera, LabelFrame, PersonLabels
from common.recording.reader import Recording
from common.recording.writer import file_head
from sender.spool.spool import Spool, SpoolContent
from tests.support.receiver.recordings import FACTS

CONTENT = SpoolContent("walk.mp4", 1, b"\x01" * 8)
ALL_FRAMES = 1000


def frame(sequence: int) -> LabelFrame:
    person = PersonLabels(0, 1.0, {"root": np.full(9, sequence, np.float32)})
    return LabelFrame(sequence, "walk.mp4", 1.7e9 + sequence, Camera(8, 8, 9.0), (person,))


def spool_in(directory: Path, limit_bytes: float = 1e9, content: SpoolContent = CONTENT) -> Spool:
    return Spool(directory / "spool", content, limit_bytes)


def read(spool: Spool, first: int, most: int = ALL_FRAMES) -> list[int]:
    """Sequences of the frames from one on, in one read."""
    frames = spool.read(first, most)
    for frame in frames:
        assert frame.people[0].labels["root"][0] == frame.sequence
    return [frame.sequence for frame in frames]


def read_all(spool: Spool, first: int = 0, most: int = ALL_FRAMES) -> list[int]:
    found: list[int] = []
    while more := read(spool, found[-1] + 1 if found else first, most):
        found += more
    return found


def files(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in (directory / "spool").glob("*.bw"))


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.spool.spool._FRAMES_PER_SEGMENT", 4)


def fill(spool: Spool, count: int) -> None:
    for sequence in range(spool.next_sequence, spool.next_sequence + count):
        spool.append(frame(sequence))


def test_files_are_private_and_partial_ones_are_removed(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    spool_in(tmp_path).close()
    assert (tmp_path / "spool" / "000000000000.bw").stat().st_mode & 0o777 == 0o600
    partial = tmp_path / "spool" / ".000000000000.bw.01234567.partial"
    partial.touch()
    spool_in(tmp_path).close()
    assert not partial.exists()


@pytest.mark.parametrize("batch", [1, 3, ALL_FRAMES])
@pytest.mark.parametrize("ahead", [1, 4, 11])
def test_frames_are_read_in_order_once_each(tmp_path: Path, batch: int, ahead: int) -> None:
    spool, found = spool_in(tmp_path), list[int]()
    for _ in range(5):
        fill(spool, ahead)
        found += read(spool, len(found), batch)
    found += read_all(spool, len(found), batch)
    assert found == list(range(5 * ahead))
    assert read(spool, 5 * ahead) == []
    assert spool.pending == 5 * ahead
    spool.release(5 * ahead)
    assert spool.pending == 0
    spool.close()


def test_delivered_files_are_deleted_except_the_newest(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 10)
    assert files(tmp_path) == [0, 4, 8]
    spool.release(7)
    assert files(tmp_path) == [4, 8]
    spool.release(10)
    assert files(tmp_path) == [8]
    spool.close()
    again = spool_in(tmp_path)
    assert again.resumed
    assert again.next_sequence == 10
    again.release(10)
    assert files(tmp_path) == [8]
    again.close()


def test_next_sender_resumes(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    assert not spool.resumed
    fill(spool, 6)
    read(spool, 0, 3)
    session = spool.session_id, spool.session_secret
    spool.close()
    spool = spool_in(tmp_path)
    assert (spool.session_id, spool.session_secret) == session
    assert (spool.next_sequence, spool.pending) == (6, 6)
    spool.skip(2)
    assert spool.pending == 4
    fill(spool, 3)
    assert read_all(spool, 2) == [2, 3, 4, 5, 6, 7, 8]
    spool.close()


def test_truncated_file_loses_only_incomplete_frames(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 6)
    spool.close()
    last = tmp_path / "spool" / "000000000004.bw"
    last.write_bytes(last.read_bytes()[:-5])
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 5
    spool.close()
    os.truncate(last, last.stat().st_size - 5)
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 4
    fill(spool, 1)
    assert read(spool, 0) == [0, 1, 2, 3]
    assert read(spool, 4) == [4]
    spool.close()


def test_damaged_file_loses_only_its_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 12)
    spool.close()
    (tmp_path / "spool" / "000000000004.bw").write_bytes(b"something else")
    spool = spool_in(tmp_path)
    assert read_all(spool) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert "frames 4 to 7 are lost" in caplog.text
    assert read(spool, 6) == [8, 9, 10, 11] and "frames 6 to 7 are lost" in caplog.text
    spool.close()


def test_frames_are_synced_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    spool = spool_in(tmp_path)
    fill(spool, 2)
    before = len(synced)
    assert read(spool, 0) == [0, 1]
    assert len(synced) == before + 1
    spool.close()


def test_full_spool_has_no_room_until_frames_are_delivered(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, limit_bytes=3000)
    while spool.has_room:
        fill(spool, 1)
    count = spool.next_sequence
    assert 4 < count < 20
    spool.release(count - 1)
    assert spool.has_room
    spool.close()


def test_finished_session_leaves_no_files(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 6)
    session = spool.session_id
    spool.finish()
    spool.close()
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"lock"}
    again = spool_in(tmp_path)
    assert again.session_id != session
    assert (again.next_sequence, again.resumed) == (0, False)
    again.close()


def test_frames_of_another_source_or_version_are_refused(tmp_path: Path) -> None:
    for content, message in (
        (SpoolContent("dance.mp4", 1, b"\x01" * 8), "contains frames of walk.mp4, not of dance.mp4"),
        (SpoolContent("walk.mp4", 2, b"\x01" * 8), "another version"),
        (SpoolContent("walk.mp4", 1, b"\x02" * 8), "another version"),
    ):
        spool_in(tmp_path).close()
        with pytest.raises(UsageError, match=message):
            spool_in(tmp_path, content=content)
        spool_in(tmp_path).close()


def test_misuse_is_refused(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    with pytest.raises(UsageError, match="another sender uses the spool"):
        spool_in(tmp_path)
    with pytest.raises(ValueError, match="appended instead of frame 0"):
        spool.append(frame(1))
    fill(spool, 3)
    with pytest.raises(UsageError, match="receiver has 4 frames"):
        spool.skip(4)  # an outdated copy
    spool.close()
    spool_in(tmp_path).close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no Bodywire recording: remove .*, or give another --spool"),
        (b"\x93BODYWIRE\x01", "version 1, not 3: .*: remove .*, or give another --spool"),
        (file_head(FACTS), "is no file of a spool"),
    ],
)
def test_newest_file_that_is_none_of_a_spool_is_reported(tmp_path: Path, content: bytes, message: str) -> None:
    spool_in(tmp_path).close()
    (tmp_path / "spool" / "000000000000.bw").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        spool_in(tmp_path)


def test_damage_within_the_newest_file_loses_what_follows_it_and_not_what_is_captured_later(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 4)
    spool.close()
    newest = tmp_path / "spool" / "000000000000.bw"
    with Recording(newest) as recording:
        third = recording.blocks[2]
    data = bytearray(newest.read_bytes())
    data[third.end - 3] ^= 1
    newest.write_bytes(data)
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 2
    fill(spool, 1)
    spool.close()
    spool = spool_in(tmp_path)
    assert read(spool, 0) == [0, 1, 2]
    spool.close()


def test_files_with_foreign_names_are_left_alone(tmp_path: Path) -> None:
    spool_in(tmp_path).close()
    for name in ("notes.bw", "٣.bw", f"{'9' * 100}.bw", "-00000000001.bw"):
        (tmp_path / "spool" / name).touch()
    spool = spool_in(tmp_path)
    assert spool.resumed and spool.next_sequence == 0
    spool.close()


def test_disk_that_becomes_read_only_is_reported_at_the_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    spool.append(frame(0))

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("write", "fsync"):
        monkeypatch.setattr(f"common.recording.writer.os.{name}", refuse)
    with pytest.raises(OutputError, match="Read-only file system; give another --spool"):
        spool.append(frame(1))
    with pytest.raises(OutputError, match="Read-only file system; give another --spool"):
        spool.close()
    monkeypatch.undo()
    spool_in(tmp_path).close()
