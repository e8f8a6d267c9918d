"""The spool across restarts, full disks and truncated files."""

import errno
import os
import re
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest

from common.errors import OutputError, UsageError
from common.frames import Camera, LabelFrame, PersonLabels
from common.recording.reader import Recording
from common.recording.writer import file_head
from sender.spool import Spool, SpoolContent
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
    monkeypatch.setattr("sender.spool._FRAMES_PER_SEGMENT", 4)


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


def test_what_was_delivered_is_not_said_to_be_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 10)
    spool.release(9)
    assert read_all(spool) == [8, 9] and not caplog.messages, "of another receiver that has nothing"
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


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("more_bytes", [0, 7])
def test_numbers_of_a_truncated_file_are_not_given_again(
    tmp_path: Path, blocks: int, more_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 6)
    spool.close()
    last = tmp_path / "spool" / "000000000004.bw"
    with Recording(last) as recording:
        os.truncate(last, recording.end_of(blocks) + more_bytes * (blocks < 2))
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 6
    fill(spool, 1)
    assert read_all(spool) == [0, 1, 2, 3, *range(4, 4 + blocks), 6]
    assert (f"frames {4 + blocks} to 5 are lost" in caplog.text) == (blocks < 2)
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
    assert all(record.levelname == "WARNING" for record in caplog.records)
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


def test_no_number_is_missing_after_a_loss_of_power(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool, file, lock = spool_in(tmp_path), *(tmp_path / "spool" / name for name in ("000000000000.bw", "lock"))
    fill(spool, 2)
    read(spool, 0)
    on_disk = file.stat().st_size
    fill(spool, 1)
    # The disk has the mark as it was written last, and of the file only what was synced.
    mark = lock.read_bytes()
    spool.close()
    os.truncate(file, on_disk)
    lock.write_bytes(mark)
    spool = spool_in(tmp_path)
    fill(spool, 1)
    assert read_all(spool) == [0, 1, 2] and not caplog.records
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


def test_damage_within_a_file_loses_one_frame_and_no_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 8)
    spool.close()
    for name in ("000000000000.bw", "000000000004.bw"):
        path = tmp_path / "spool" / name
        with Recording(path) as recording:
            third = recording.blocks[2]
        data = bytearray(path.read_bytes())
        data[third.end - 3] ^= 1
        path.write_bytes(data)
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 8
    fill(spool, 1)
    assert read_all(spool) == [0, 1, 3, 4, 5, 7, 8]
    assert caplog.messages[-2:] == [
        f"the spool {tmp_path / 'spool'} is damaged: frames {n} to {n} are lost (1 frame)" for n in (2, 6)
    ]
    spool.close()


def test_without_its_mark_a_damaged_file_gives_no_number_again(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 6)
    spool.close()
    (tmp_path / "spool" / "lock").write_text("")
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 6, "nothing else is damaged"
    spool.close()
    (tmp_path / "spool" / "lock").write_text("")
    last = tmp_path / "spool" / "000000000004.bw"
    os.truncate(last, last.stat().st_size - 5)
    spool = spool_in(tmp_path)
    assert spool.next_sequence == 8
    spool.close()


def test_files_of_other_sessions_and_places_are_not_delivered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("mine", "other"):
        spool = spool_in(tmp_path / name)
        fill(spool, 10)
        spool.close()
    mine, other = (tmp_path / name / "spool" for name in ("mine", "other"))
    shutil.copy(other / "000000000004.bw", mine)
    shutil.copy(mine / "000000000000.bw", mine / "000000000900.bw")
    shutil.copy(mine / "000000000000.bw", mine / "000000000002.bw")
    (mine / "000000000008.bw").rename(mine / "000000000700.bw")
    spool = spool_in(tmp_path / "mine")
    assert (read_all(spool), spool.next_sequence, spool.resumed) == ([0, 1, 2, 3, 8, 9], 10, True)
    assert "frames 4 to 7 are lost (4 frames)" in caplog.text and files(tmp_path / "mine") == [0, 8]
    assert sum("is not of this session and place" in text for text in caplog.messages) == 3
    spool.finish()
    spool.close()
    assert len(list(mine.iterdir())) == 4, "the lock, and what is not of this session stays"


def test_links_folders_and_pipes_in_a_spool_are_neither_read_nor_written(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    fill(spool, 6)
    spool.close()
    folder, elsewhere = tmp_path / "spool", tmp_path / "elsewhere"
    elsewhere.write_bytes((folder / "000000000004.bw").read_bytes())
    (folder / "000000000004.bw").unlink()
    (folder / "000000000004.bw").symlink_to(elsewhere)
    (folder / "000000000002.bw").mkdir()
    os.mkfifo(folder / "000000000009.bw")
    spool = spool_in(tmp_path)
    assert (read_all(spool), spool.next_sequence, files(tmp_path)) == ([0, 1, 2, 3], 6, [0, 6])
    spool.close()
    content = elsewhere.read_bytes()
    (folder / "lock").unlink()
    (folder / "lock").symlink_to(elsewhere)
    with pytest.raises(OutputError, match="give another --spool"):
        spool_in(tmp_path)
    assert elsewhere.read_bytes() == content


def damaged(random: Random, folder: Path) -> None:
    """Does something to a file of a spool."""
    path, other = (random.choice(sorted(folder.iterdir())) for _ in range(2))
    content, at = bytearray(path.read_bytes()), random.randrange(1 << 30)
    match random.choice(("flip", "truncate", "extend", "copy", "rename", "swap", "remove")):
        case "flip" if content:
            content[at % len(content)] ^= 1 << random.randrange(8)
            path.write_bytes(content)
        case "truncate":
            os.truncate(path, at % (len(content) + 1))
        case "extend":
            path.write_bytes(content + random.randbytes(at % 100))
        case "copy":
            random.choice((other, folder / f"{at % 40:012d}.bw")).write_bytes(content)
        case "rename":
            path.rename(random.choice((other, folder / f"{at % 40:012d}.bw")))
        case "swap":
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        case "remove":
            path.unlink()


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_to_files_lost_frames_are_said_and_none_comes_twice(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    random, lock = Random(seed), tmp_path / "spool" / "lock"
    spool, written = spool_in(tmp_path), 4 + random.randrange(14)
    fill(spool, written)
    spool.release(first := random.randrange(written))
    spool.close()
    mark = lock.read_bytes()
    for _ in range(1 + seed % 3):
        damaged(random, tmp_path / "spool")
    is_marked = lock.exists() and lock.read_bytes() == mark
    try:
        spool = spool_in(tmp_path)
    except UsageError as error:
        assert "give another --spool" in str(error), "an end"
        return
    begun = spool.next_sequence
    if is_marked and spool.resumed:
        assert (spool.delivered, begun) == (first, written)
    fill(spool, 3)
    found = read_all(spool, spool.delivered)
    assert found == sorted(set(found)) and found[-3:] == [begun, begun + 1, begun + 2]
    ranges = [range(int(one), int(other) + 1) for one, other in re.findall(r"frames (\d+) to (\d+)", caplog.text)]
    lost = [number for each in ranges for number in each]
    assert sorted([*found, *lost]) == list(range(spool.delivered, begun + 3))
    spool.close()
    again = spool_in(tmp_path)
    assert (again.next_sequence, read_all(again, again.delivered)) == (begun + 3, found)
    again.close()


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
