"""Files of the output directory: permissions, the cost of the index, syncing, and changes by other programs."""

import errno
import json
import logging
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.clock import Clock
from common.errors import OutputError
from receiver.config import PublishConfig
from receiver.publish.files import LineFile, OutputGuard, output_error
from receiver.publish.session_directory import SessionDirectory
from tests.support.meshes.posed_body import box
from tests.support.receiver.published_session import OWNER, frame_record, publish


def _sequences(out: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in (out / "frames.jsonl").read_text().splitlines()]


def _modes(out: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (out, *out.iterdir(), *(out / "meshes").iterdir())}


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_output_is_readable_by_its_owner_alone(tmp_path: Path, usual_umask: None) -> None:
    modes = _modes(publish(tmp_path / "out", 1))
    assert {"meshes", "out", "frames.jsonl", "index.json", "sessions.jsonl", "000000.glb"} <= modes.keys()
    for name, mode in modes.items():
        assert mode == (0o700 if name in ("out", "meshes") else 0o600), name


def test_shared_output_is_readable_by_others(tmp_path: Path, usual_umask: None) -> None:
    with SessionDirectory(PublishConfig(tmp_path / "out", share_output=True)) as directory:
        directory.session("a", OWNER).write_surface(0, box())
    modes = _modes(tmp_path / "out")
    assert modes.pop("sessions.jsonl") == 0o600
    assert (modes.pop("out"), modes.pop("meshes")) == (0o755, 0o755)
    assert set(modes.values()) == {0o644}


@pytest.mark.parametrize(
    ("mode", "share", "warning"),
    [
        (0o755, False, "can read"),
        (0o750, False, "can read"),
        (0o777, True, "can replace"),
        (0o755, True, ""),
        (0o700, False, ""),
    ],
)
def test_existing_directory_keeps_its_mode_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, share: bool, warning: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(mode)
    caplog.set_level(logging.WARNING)
    SessionDirectory(PublishConfig(out, share_output=share)).close()
    assert stat.S_IMODE(out.stat().st_mode) == mode
    assert len(caplog.messages) == bool(warning)
    assert warning in caplog.text


def test_index_costs_a_fraction_of_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    publish_file = SessionDirectory._write_index

    def counted(self: SessionDirectory) -> None:
        publish_file(self)
        written.append((tmp_path / "index.json").stat().st_size)

    monkeypatch.setattr(SessionDirectory, "_write_index", counted)
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        for number in range(300):
            directory.session(f"{number:032x}", OWNER)
        writer = directory.session(f"{0:032x}", OWNER)
        for sequence in range(3000):
            writer.append(frame_record(sequence))
        appended = (tmp_path / "frames.jsonl").stat().st_size + (tmp_path / "sessions.jsonl").stat().st_size
    _, *checkpoints, _ = written  # without those at opening and closing
    assert checkpoints
    assert sum(checkpoints) <= appended / 16


def test_reopening_after_a_kill_counts_the_frames_since_the_index(tmp_path: Path) -> None:
    out, killed = tmp_path / "out", tmp_path / "killed"
    with SessionDirectory(PublishConfig(out)) as directory:
        for sequence in range(40):
            directory.session("ab"[sequence % 2], OWNER).append(frame_record(sequence))
        # As after kill -9: what the operating system has now.
        shutil.copytree(out, killed)
    assert json.loads((killed / "index.json").read_text())["sessions"] == []
    with SessionDirectory(PublishConfig(killed)) as directory:
        assert [directory.session(name, OWNER).last_sequence for name in "ab"] == [38, 39]


def test_removed_index_is_written_again(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        writer = directory.session("a", OWNER)
        (tmp_path / "index.json").unlink()
        assert writer.append(frame_record(0))
        assert json.loads((tmp_path / "index.json").read_text())["sessions"][0]["frames"] == 1


def test_index_that_cannot_be_written_fails_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("cannot write index.json: No space left on device")

    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        writer = directory.session("a", OWNER)
        (tmp_path / "index.json").unlink()
        monkeypatch.setattr("receiver.publish.session_directory.publish_file", full)
        assert all(writer.append(frame_record(n)) for n in range(5))
        assert len(caplog.messages) == 1
    assert "it is rebuilt when the directory is opened again" in caplog.messages[-1]
    monkeypatch.undo()
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        assert directory.session("a", OWNER).last_sequence == 4


def _move_meshes(out: Path) -> None:
    (out / "meshes").rename(out / "elsewhere")
    (out / "meshes").mkdir()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda out: (out / "frames.jsonl").rename(out / "frames.1"), "frames.jsonl was moved or removed"),
        (lambda out: (out / "sessions.jsonl").unlink(), "sessions.jsonl was moved or removed"),
        (lambda out: os.truncate(out / "sessions.jsonl", 1), "sessions.jsonl has 1 bytes"),
        (_move_meshes, "meshes was replaced"),
        (lambda out: out.rename(out.with_name("moved")), "sessions.jsonl was moved or removed"),
    ],
)
@pytest.mark.parametrize("durable", [False, True])
def test_changed_directory_is_noticed_by_the_next_append(
    tmp_path: Path, change: Callable[[Path], None], name: str, durable: bool
) -> None:
    out = tmp_path / "out"
    directory = SessionDirectory(PublishConfig(out))
    writer = directory.session("a", OWNER, durable=durable)
    assert writer.append(frame_record(0))
    change(out)
    for _ in range(2):
        with pytest.raises(OutputError, match=name):
            writer.append(frame_record(1))
        with pytest.raises(OutputError, match=name):
            directory.check()
    if not out.exists():
        with pytest.raises(OutputError, match=name):
            writer.write_surface(1, box())
    assert writer.last_sequence == 0
    directory.close()


def test_folder_swapped_for_a_link_is_not_written_through(tmp_path: Path) -> None:
    out, private = tmp_path / "out", tmp_path / "private"
    private.mkdir()
    with SessionDirectory(PublishConfig(out)) as directory:
        writer = directory.session("a", OWNER)
        (out / "meshes").rename(out / "aside")
        (out / "meshes").symlink_to(private)
        with pytest.raises(OutputError, match=r"out/meshes (was replaced|is a link)"):
            writer.write_surface(1, box())
        assert list(private.iterdir()) == []
        (out / "meshes").unlink()
        (out / "aside").rename(out / "meshes")


@pytest.mark.parametrize("name", ["meshes", "frames.jsonl", "sessions.jsonl"])
def test_links_in_the_directory_are_refused_at_the_start(tmp_path: Path, name: str) -> None:
    out, private = tmp_path / "out", tmp_path / "private"
    out.mkdir()
    (private.mkdir if name == "meshes" else private.touch)()
    (out / name).symlink_to(private)
    with pytest.raises(OutputError, match=rf"{name}.* link"):
        SessionDirectory(PublishConfig(out))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "close other programs, or raise the limit of open files (ulimit -n)"),
        (errno.ENFILE, "close other programs, or raise the limit of open files (ulimit -n)"),
        (errno.EROFS, "choose another --out"),
        (errno.ENOSPC, "free some space or choose another --out"),
    ],
)
def test_remedy_fits_the_reason(number: int, remedy: str) -> None:
    error = output_error(Path("out"), OSError(number, os.strerror(number)))
    assert str(error) == f"cannot write out: {os.strerror(number)}; {remedy}"


@pytest.mark.parametrize("durable", [False, True])
def test_meshes_are_synced_in_durable_sessions_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        writer = directory.session("a", OWNER, durable=durable)
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", synced.append)
        writer.write_surface(0, box())
        assert len(synced) == durable
        monkeypatch.undo()


def test_file_size_limit(tmp_path: Path) -> None:
    """`RLIMIT_FSIZE` fails writes in the kernel, as a full disk does, for root too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        writer = directory.session("a", OWNER, durable=True)
        assert writer.append(frame_record(0))
        size = (tmp_path / "frames.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            with pytest.raises(OutputError):
                writer.append(frame_record(1))
            with pytest.raises(OutputError, match="File too large"):
                writer.write_surface(1, box())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list((tmp_path / "meshes").iterdir()) == []
        assert writer.append(frame_record(1))
    assert _sequences(tmp_path) == [0, 1]


class Disk:
    """A disk that the test fills, and a guard before it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.full = False
        self.attempts = 0
        self.guard = OutputGuard(Clock(monotonic=lambda: self.now_s, wall=lambda: 0.0))

    def write(self) -> bool:
        """Writes a frame, if the guard lets it; returns whether it was written."""
        try:
            self.guard.check()
            self.attempts += 1
            with self.guard.attempt():
                if self.full:
                    raise OutputError("cannot write out: No space left on device")
        except OutputError as error:
            assert "No space left" in str(error)
            return False
        return True

    def write_for(self, seconds: float) -> list[bool]:
        """Writes 30 frames a second."""
        written = []
        for _ in range(round(30 * seconds)):
            written.append(self.write())
            self.now_s += 1 / 30
        return written


@pytest.fixture
def disk(caplog: pytest.LogCaptureFixture) -> Disk:
    caplog.set_level(logging.INFO)
    return Disk()


def test_full_disk_is_logged_once_and_attempted_twice_a_second(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    assert all(disk.write_for(1.0))
    disk.full, disk.attempts = True, 0
    assert not any(disk.write_for(50.0))
    assert disk.attempts <= 100
    (begin,) = caplog.messages
    assert begin == "cannot write out: No space left on device; senders wait until it can be written"
    disk.full = False
    written = disk.write_for(5.0)
    assert written.index(True) <= 15 and all(written[15:])
    assert caplog.messages[1:] == ["the output can be written again"]


def test_nearly_full_disk_is_logged_once_a_minute(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    for second in range(50):
        disk.full = second % 2 == 0
        disk.write_for(1.0)
    assert len(caplog.messages) == 2


def test_other_errors_pass(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), disk.guard.attempt():
        raise ZeroDivisionError
    disk.guard.check()
    assert caplog.messages == []


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[LineFile]:
    with LineFile(tmp_path / "frames.jsonl", mode=0o600) as file:
        file.append(b"first\n", synced=False)
        yield file


def _move(path: Path) -> None:
    path.rename(path.with_name("moved"))


def _replace(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    os.truncate(path, 3)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _extend(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"of another program\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_move, "was moved or removed while the receiver writes to it: put it back, or restart the receiver"),
        (Path.unlink, "was moved or removed"),
        (_replace, "was replaced"),
        (_truncate, "has 3 bytes instead of 6: another program has changed it; restart the receiver"),
        (_empty, "has 0 bytes instead of 6"),
        (_extend, "has 25 bytes instead of 6"),
    ],
)
def test_append_to_a_file_that_was_changed(lines: LineFile, change: Callable[[Path], None], message: str) -> None:
    change(lines.path)
    with pytest.raises(OutputError, match=message):
        lines.append(b"second\n", synced=True)
    assert not lines.path.exists() or b"second" not in lines.path.read_bytes()


def test_append_to_a_file_that_is_moved_between_check_and_write(
    lines: LineFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def moved_before(descriptor: int, data: bytes) -> int:
        lines.path.rename(tmp_path / "moved")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", moved_before)
    with pytest.raises(OutputError, match="was moved or removed while the receiver writes to it"):
        lines.append(b"second\n", synced=False)
    monkeypatch.undo()
    (tmp_path / "moved").rename(lines.path)
    lines.append(b"second\n", synced=False)
    assert lines.path.read_bytes() == b"first\nsecond\n"


def _raise_io_error(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_line_whose_sync_failed_is_appended_once(lines: LineFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", _raise_io_error)
    with pytest.raises(OutputError, match="Input/output error"):
        lines.append(b"second\n", synced=True)
    assert lines.path.read_bytes() == b"first\n"
    monkeypatch.undo()
    lines.append(b"second\n", synced=True)
    assert lines.path.read_bytes() == b"first\nsecond\n"


def test_partial_line_that_could_not_be_removed_at_once(lines: LineFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    monkeypatch.setattr(os, "ftruncate", _raise_io_error)
    for _ in range(2):
        with pytest.raises(OutputError):
            lines.append(b"second\n", synced=False)
        assert lines.path.read_bytes() == b"first\nse"
    monkeypatch.undo()
    lines.append(b"second\n", synced=False)
    assert lines.path.read_bytes() == b"first\nsecond\n"
