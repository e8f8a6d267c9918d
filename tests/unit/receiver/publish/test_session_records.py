"""What is counted over the lines of a session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.clock import Clock
from common.errors import OutputError
from receiver.config import PublishConfig
from receiver.publish.retention import delete_expired, expired
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import (
    SessionInUse,
    SessionState,
    SessionStatistics,
    head_of_line,
    is_album,
    session_of_file,
    session_of_line,
)
from receiver.publish.session_writer import SessionWriter
from tests.support.meshes.posed_body import box
from tests.support.receiver.published_session import OWNER, frame_record, person_record


@pytest.mark.parametrize(
    ("counted", "total"),
    [
        ([4000, 9000, 8600, 9100], 9100),  # an estimate is corrected
        ([4000, 9000, 1000, 1500], 10_500),  # the receiver was restarted
    ],
)
def test_link_is_counted_over_corrections_and_restarts(counted: list[int], total: int) -> None:
    statistics = SessionStatistics()
    for number, size in enumerate(counted):
        statistics.add({"captured_at": 10.0 + number, "bytes": {"total": 20}, "link_bytes": size}, 100, 50.0 + number)
    assert statistics.link_bytes == total


@pytest.mark.parametrize(
    ("sources", "album"),
    [
        (["a.jpg", "b.jpg", "c.jpg"], True),
        (["a.jpg", "a.jpg (2)", "b.tif"], True),
        (["IMG.jpg", "IMG.jpg", "b.jpg", "c.jpg"], True),  # of two folders
        (["clip.mp4"] * 3, False),
        ([""] * 3, False),
        (["/dev/video0"] * 9 + ["/dev/video2"] * 9, False),
        (["a.jpg"], False),
    ],
)
def test_frames_with_names_of_their_own_are_an_album(sources: list[str], album: bool) -> None:
    statistics = SessionStatistics()
    for number, source in enumerate(sources):
        statistics.add({"source": source, "captured_at": 10.0 + number}, 100, 50.0)
    kept = SessionStatistics.from_dict(statistics.as_dict())
    assert is_album(len(sources), statistics.sources) == is_album(len(sources), kept.sources) == album


NAMES = ("alice", "bob", "carol")


class Time:
    """A clock that tests set."""

    now_s = 1000.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now_s, wall=lambda: self.now_s)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def directory(tmp_path: Path, time: Time) -> Iterator[SessionDirectory]:
    with SessionDirectory(PublishConfig(tmp_path / "out"), time.clock()) as directory:
        yield directory


def publish(directory: SessionDirectory, name: str, frames: int = 3) -> SessionWriter:
    """A session that has ended, with meshes, a picture, and a line of another program's channel."""
    writer = directory.session(name, OWNER)
    for n in range(frames):
        surface = writer.write_surface(n, box())
        record = frame_record(n)
        object.__setattr__(record, "source", f'of {name}, "session":9')
        object.__setattr__(record, "people", (person_record(),))
        assert surface
        writer.append(record)
    pictures = directory.config.out / "channel"
    pictures.mkdir(exist_ok=True)
    (pictures / f"s{writer.number}-000002.png").write_bytes(name.encode())
    writer.close()
    return writer


def kill(directory: SessionDirectory) -> None:
    """What the end of a process does: all files are closed, and nothing is written."""
    opened, directory._opened = directory._opened, None
    assert opened is not None
    opened.close()


def everything(out: Path) -> bytes:
    """Names and contents of all files."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return b"".join(str(path.relative_to(out)).encode() + path.read_bytes() for path in files)


@pytest.mark.parametrize("deleted", [1, 2, 3])
def test_nothing_is_left_of_a_session_and_the_others_stay(
    directory: SessionDirectory, time: Time, deleted: int
) -> None:
    for name in NAMES:
        publish(directory, name)
    time.now_s += 10
    out, others = directory.config.out, [n for n in (1, 2, 3) if n != deleted]
    directory.delete([deleted])
    left = everything(out)
    assert NAMES[deleted - 1].encode() not in left
    assert all(NAMES[n - 1].encode() in left for n in others)
    assert {session_of_file(path.name) for path in (out / "meshes").iterdir()} == set(others)
    assert [state.number for state in directory.sessions()] == others
    assert publish(directory, "dave").number == 4, "a number is never given again"
    directory.close()
    before = (out / "frames.jsonl").stat().st_ino
    with SessionDirectory(PublishConfig(out)) as again:
        assert (out / "frames.jsonl").stat().st_ino == before, "what was deleted once is not looked for again"
        assert [(state.number, state.frames) for state in again.sessions()] == [*((n, 3) for n in others), (4, 3)]


def test_sender_of_a_deleted_session_begins_a_new_one(directory: SessionDirectory, time: Time) -> None:
    late = publish(directory, "alice")
    time.now_s += 10
    directory.delete([1])
    assert late.last_sequence == -1 and not late.append(frame_record(7)), "a frame that was in work is left out"
    directory.close()
    with SessionDirectory(directory.config) as again:
        assert again.session("alice", OWNER).number == 2


@pytest.mark.parametrize("step", ["remove_files", "copy", "replace", "_write_index"])
def test_deletion_that_was_cut_short_is_finished(
    directory: SessionDirectory, time: Time, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    for name in NAMES:
        publish(directory, name)
    time.now_s += 10
    owner: object = directory if step == "_write_index" else directory._lines
    if step == "remove_files":
        monkeypatch.setattr("receiver.publish.session_directory.remove_files", die)
    else:
        monkeypatch.setattr(owner, step, die)
    with pytest.raises(Killed):
        directory.delete([2])
    monkeypatch.undo()
    kill(directory)
    with SessionDirectory(directory.config) as again:
        assert [(state.number, state.frames) for state in again.sessions()] == [(1, 3), (3, 3)]
        assert b"bob" not in everything(directory.config.out)


def test_records_do_not_grow_by_sessions_that_are_deleted(directory: SessionDirectory, time: Time) -> None:
    publish(directory, "alice")
    for name in ("bob", "carol", "dave"):
        number = publish(directory, name).number
        time.now_s += 60.0
        directory.delete([number])
    lines = (directory.config.out / "sessions.jsonl").read_text().splitlines()
    assert [line[:12] for line in lines] == ['{"session":1', '{"session":4']
    assert publish(directory, "erin").number == 5


def test_session_that_is_live_is_not_deleted(directory: SessionDirectory, time: Time) -> None:
    live = directory.session("alice", OWNER)
    with pytest.raises(SessionInUse, match="session 1 is live"):
        directory.delete([1])
    live.close()
    with pytest.raises(SessionInUse, match="live"):
        directory.delete([1])  # frames in work are still written
    time.now_s += 10
    directory.delete([1])
    assert directory.sessions() == []


def test_disk_that_fails_leaves_the_deletion_to_the_next(
    directory: SessionDirectory, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        publish(directory, name)
    time.now_s += 10
    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OutputError, match=r"frames\.jsonl"):
            directory.delete([1])
    assert len(list((directory.config.out / "meshes").iterdir())) == 6, "room is made first"
    directory.delete([2])
    left = everything(directory.config.out)
    assert b"alice" not in left and b"bob" not in left and b"carol" in left
    assert not list(directory.config.out.glob(".*"))


@pytest.mark.parametrize(
    ("name", "session"),
    [
        *(("000123.glb", 1), ("s4-000123-p2.body.ply", 4), ("000001.body.obj", 1), ("../frames.jsonl", None)),
        *(("000123.body.gltf", 1), ("s12-skin-0123456789abcdef.bin", 12), ("texture-0123456789abcdef.jpg", 1)),
        *(("texture-0123456789abcdef.jpg.bin", None), ("s1-../texture-0123456789abcdef.jpg", None)),
        *(("000123.glb/..", None), (".000123.glb.1a2b3c4d.partial", None), ("000123.json", None), ("x.glb", None)),
    ],
)
def test_session_of_a_files_name(name: str, session: int | None) -> None:
    assert session_of_file(name) == session


_FRAME = (
    '{"seq":7,"session":3,"source":"\\"session\\":9, \u2028","captured_at":12.5,"people":[{"id":0}],"link_bytes":1}'
)


def test_head_of_a_line_is_read_whatever_stands_in_it() -> None:
    head = head_of_line(_FRAME.encode() + b"\n")
    assert head is not None and (head.seq, head.session, head.captured_at, len(head.people)) == (7, 3, 12.5, 1)
    assert session_of_line(b'{"deleted":[1]}\n') is None and session_of_line(b'{"id": "aa", "session": 4}\n') == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(
            ('"session":3,', ""),
            ("[{", "{"),
            ("}]", ""),
            ("12.5", "NaN"),
            ("12.5", '"12.5"'),
            (":7", ":-1"),
            (":7", ":7.5"),
        ),
        *(
            (":3,", ":0,"),
            (":3,", f":{10**12},"),
            ('"id":0', '"id":' + "[" * 100_000),
            ('"id":0', "\x00"),
            ("}]", "}],}"),
        ),
    ],
)
def test_damaged_line_is_of_no_frame(old: str, new: str) -> None:
    assert old in _FRAME and head_of_line(_FRAME.replace(old, new).encode()) is None


def test_damaged_lines_go_with_the_first_session_that_is_deleted(directory: SessionDirectory, time: Time) -> None:
    for name in NAMES:
        publish(directory, name)
    directory.close()
    lines = directory.config.out / "frames.jsonl"
    first, *others = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join((first.replace(b'"session"', b'"sess'), *others)))
    time.now_s += 10
    with SessionDirectory(directory.config, time.clock()) as again:
        assert b"alice" in lines.read_bytes()
        again.delete([1])
    assert b"alice" not in lines.read_bytes() and lines.read_bytes() == b"".join(others[2:])


def state(number: int, ended_at: float, gigabytes: float) -> SessionState:
    return SessionState(
        number, None, statistics=SessionStatistics(ended_at=ended_at, disk_bytes=round(1e9 * gigabytes))
    )


@pytest.mark.parametrize(
    ("keep_days", "keep_gb", "live", "expected"),
    [
        (None, None, set(), []),
        (1.5, None, set(), [3, 1]),
        (1.5, None, {3}, [1]),
        (None, 7, set(), []),
        (None, 6, set(), [3]),
        # A tenth more goes.
        (None, 5.2, set(), [3, 1]),
        (None, 3.5, set(), [3, 1]),
        (None, 3.5, {3}, [1, 2]),
        (0.5, 100, set(), [3, 1, 2]),
    ],
)
def test_old_sessions_expire(
    keep_days: float | None, keep_gb: float | None, live: set[int], expected: list[int]
) -> None:
    day = 86_400.0
    sessions = [state(1, 3 * day, 2), state(2, 4 * day, 3), state(3, 2 * day, 2)]
    config = PublishConfig(keep_days=keep_days, keep_gb=keep_gb)
    assert [each.number for each in expired(sessions, live, config, 5 * day)] == expected


def test_pictures_count_towards_what_is_kept(tmp_path: Path, time: Time) -> None:
    with SessionDirectory(PublishConfig(tmp_path, keep_gb=1e-3), time.clock()) as directory:
        for each in NAMES:
            publish(directory, each)
        time.now_s += 100
        delete_expired(directory, time.now_s)
        assert len(directory.sessions()) == len(NAMES), "without pictures all have room"
        picture = directory.config.out / "channel" / "s1-000001.png"
        picture.write_bytes(bytes(2_000_000))
        delete_expired(directory, time.now_s)
        assert [each.number for each in directory.sessions()] == [2, 3]
        assert not picture.exists()


def test_statistics_and_name_survive_a_kill(directory: SessionDirectory, time: Time) -> None:
    publish(directory, "alice")
    assert directory.change(1, name="Rehearsal") and not directory.change(9, name="Nothing")
    (before,) = directory.sessions()
    kill(directory)
    (directory.config.out / "index.json").unlink()
    with SessionDirectory(directory.config) as again:
        (after,) = again.sessions()
    assert (after.name, after.frames, after.last_sequence) == ("Rehearsal", 3, 2)
    statistics = after.statistics
    assert statistics.people == {0} and statistics.label_bytes == 300 and statistics.mean_age_ms == 5.0
    # The lines of this test name no meshes, so a reader finds less than the writer has written.
    assert 0 < statistics.disk_bytes < before.statistics.disk_bytes and statistics.began_at > 0


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_must_be_positive(value: float) -> None:
    with pytest.raises(ValueError, match="--keep-days must be above 0"):
        PublishConfig(keep_days=value)
    with pytest.raises(ValueError, match="--keep-gb must be above 0"):
        PublishConfig(keep_gb=value)
