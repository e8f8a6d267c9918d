"""Sessions that receivers with outputs in one folder share."""

import os
from pathlib import Path

import pytest

from receiver.config import PublishConfig
from receiver.link.refusals import NotOwner, Refusal, SessionOwner, StreamRefused
from receiver.link.session import Session
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory, SharedSessions

SESSION = bytes(range(16))
IDENTIFIER = SESSION.hex()
OWNER = SessionOwner("", bytes(32))


def directory(folder: Path, name: str) -> SessionDirectory:
    return SessionDirectory(PublishConfig(folder / name, share_sessions=True))


def record(opened: SessionDirectory, *sequences: int) -> None:
    writer = opened.session(IDENTIFIER, OWNER, durable=True)
    for sequence in sequences:
        assert writer.append(FrameRecord(sequence, "clip", 0.0, 0.0, None, {}, {}, {}, ()))


def session(next_sequence: int = 0) -> Session:
    return Session(SESSION, "test", False, next_sequence, owner=OWNER, account="x")


def test_last_frame_is_found_in_the_directories_of_others(tmp_path: Path) -> None:
    shared = SharedSessions(tmp_path / "c")
    assert shared.last_sequence(IDENTIFIER) == -1
    with directory(tmp_path, "a") as first, directory(tmp_path, "b") as second:
        record(first, 0, 1, 2)
        record(second, 3, 4)
        assert shared.last_sequence(IDENTIFIER) == 4
        assert SharedSessions(tmp_path / "b").last_sequence(IDENTIFIER) == 2
        assert shared.last_sequence("00" * 16) == -1


def test_frames_of_closed_directories_and_behind_their_index_count(tmp_path: Path) -> None:
    with directory(tmp_path, "a") as first:
        record(first, 0, 1)
    with directory(tmp_path, "a") as first:
        record(first, 2)
        assert SharedSessions(tmp_path / "b").last_sequence(IDENTIFIER) == 2


def test_line_without_its_end_does_not_count(tmp_path: Path) -> None:
    with directory(tmp_path, "a") as first:
        record(first, 0)
        with open(tmp_path / "a" / "frames.jsonl", "ab") as file:
            file.write(b'{"session": 1, "seq": 7')
        assert SharedSessions(tmp_path / "b").last_sequence(IDENTIFIER) == 0


def test_folder_beside_that_is_no_output_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("text")
    assert SharedSessions(tmp_path / "a").last_sequence(IDENTIFIER) == -1


def test_folder_of_somebody_else_is_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's folder is not believed, and one that cannot be read does not end all sessions."""
    for name in ("b", "c", "d"):
        with directory(tmp_path, name) as other:
            record(other, *range({"b": 9, "c": 7, "d": 2}[name]))
    (tmp_path / "e").symlink_to(tmp_path / "b")
    looked_at, is_file, lstat = tmp_path / "c", Path.is_file, Path.lstat

    def is_readable_file(path: Path) -> bool:
        if path.parent == looked_at:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    def of_a_stranger(path: Path) -> os.stat_result:
        found = lstat(path)
        return os.stat_result((*found[:4], found.st_uid + 1, *found[5:])) if path.name == "b" else found

    monkeypatch.setattr(Path, "is_file", is_readable_file)
    monkeypatch.setattr(Path, "lstat", of_a_stranger)
    shared = SharedSessions(tmp_path / "a")
    for _ in range(3):
        assert shared.last_sequence(IDENTIFIER) == 1
        shared.check_owner(IDENTIFIER, OWNER)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert any("Permission denied" in line for line in said) and any("another user" in line for line in said)


def test_other_sender_cannot_take_a_session_at_another_receiver(tmp_path: Path) -> None:
    with directory(tmp_path, "a") as first, directory(tmp_path, "b") as second:
        record(first, 0)
        with pytest.raises(NotOwner):
            second.session(IDENTIFIER, SessionOwner("", b"\x01" * 32))
        assert second.session(IDENTIFIER, OWNER).last_sequence == -1


def test_one_receiver_uses_a_session_at_a_time(tmp_path: Path) -> None:
    first, second = SharedSessions(tmp_path / "a"), SharedSessions(tmp_path / "b")
    lease = first.acquire(IDENTIFIER)
    with pytest.raises(StreamRefused, match="another receiver"):
        second.acquire(IDENTIFIER)
    second.acquire("00" * 16).close()
    lease.close()
    lease.close()
    second.acquire(IDENTIFIER).close()


async def test_session_goes_on_behind_the_frames_of_another_receiver(tmp_path: Path) -> None:
    shared = SharedSessions(tmp_path / "b")
    with directory(tmp_path, "a") as first:
        record(first, 0, 1, 2)
        taken = session()
        await taken.claim(lambda _: None)
        await shared.use(taken)
        assert taken.next_sequence == 3
        ahead = session(next_sequence=9)
        await ahead.claim(lambda _: None)
        with pytest.raises(StreamRefused) as refused:
            await SharedSessions(tmp_path / "c").use(ahead)
        assert refused.value.refusal is Refusal.ELSEWHERE and refused.value.reason.startswith("full for now")
        taken.release()
        await SharedSessions(tmp_path / "c").use(ahead)
        assert ahead.next_sequence == 9
        ahead.release()
