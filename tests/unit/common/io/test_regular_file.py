"""Only regular files of bounded size are opened, without waiting, and no descriptor is left behind."""

import errno
import os
from pathlib import Path

import pytest

from common.io.files import read_regular


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_link_is_followed_on_demand_only(folder: Path) -> None:
    assert read_regular(folder / "link", 7, follow_links=True) == b"content"
    with pytest.raises(OSError, match="it is a link"):
        read_regular(folder / "link", 7)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pipe", errno.EINVAL),
        ("/dev/zero", errno.EINVAL),
        ("", errno.EISDIR),
        ("loop", errno.ELOOP),
        ("file", errno.EFBIG),
    ],
)
def test_anything_else_is_refused_at_once(folder: Path, name: str, code: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as refused:
        read_regular(folder / name, 6, follow_links=True)
    assert refused.value.errno == code
    assert len(os.listdir("/proc/self/fd")) == before


def test_file_whose_size_is_unknown_is_read_to_the_limit_only() -> None:
    # Files of /proc say that they are empty.
    with pytest.raises(OSError, match="more than 100 bytes"):
        read_regular(Path("/proc/self/maps"), 100)
