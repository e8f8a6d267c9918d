"""A file of lines: failed writes leave nothing behind, and changes by other programs are noticed."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import OutputError
from receiver.publish.files import LineFile


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
