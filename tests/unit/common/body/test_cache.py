"""The body model's cache: what is damaged, foreign or cannot be written is replaced, with one line in the log."""

import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from common.body import __main__ as command
from common.body import cache
from common.body.bake import Arrays
from common.body.cache import cache_file, load_arrays, read_arrays
from common.errors import OutputError, WeightsError
from common.io import cache_folder
from common.io.cache_folder import cache_directory

BAKED: Arrays = {
    "weights": np.arange(600, dtype=np.float32).reshape(20, 30),
    "faces": np.arange(9, dtype=np.int64),
    "curl_axes": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache directory, a directory for temporary files, and a bake that takes no time."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("BODYWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(cache, "bake", lambda space, anny_cache=None: dict(BAKED))
    cache._load_arrays.cache_clear()
    yield tmp_path / "cache"
    cache._load_arrays.cache_clear()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def assert_baked(arrays: Arrays | None) -> None:
    assert arrays is not None
    assert arrays.keys() == BAKED.keys()
    for name, array in BAKED.items():
        assert np.array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def bakes(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows with every bake from now on."""
    done: list[None] = []

    def bake(space: Arrays, anny_cache: Path | None = None) -> Arrays:
        done.append(None)
        return dict(BAKED)

    monkeypatch.setattr(cache, "bake", bake)
    cache._load_arrays.cache_clear()
    return done


def test_second_load_reads_the_cache(monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]) -> None:
    assert_baked(load_arrays())
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert done == []
    assert warnings() == []


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def without_digest(_: bytes) -> bytes:
    path = cache_directory() / "other.npz"
    cache.save_arrays(path, BAKED)
    return path.read_bytes()


def other_values(_: bytes) -> bytes:
    path = cache_directory() / "other.npz"
    cache.save_arrays(path, BAKED | {"faces": BAKED["faces"] + 1, "sha256": cache._digest(BAKED)})
    return path.read_bytes()


def pickled(_: bytes) -> bytes:
    path = cache_directory() / "other.npz"
    np.savez(path, weights=np.array([{"a": 1}], dtype=object))
    return path.read_bytes()


def single_array(_: bytes) -> bytes:
    path = cache_directory() / "other.npy"
    np.save(path, BAKED["faces"])
    return path.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda _: b"", lambda _: b"garbage" * 999, truncated, flipped),
        *(without_digest, other_values, pickled, single_array),
    ],
)
def test_damaged_file_is_baked_again(
    damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    load_arrays()
    path = cache_file()
    path.write_bytes(damage(path.read_bytes()))
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert len(done) == 1
    assert len(warnings()) == 1
    assert f"{path} cannot be used and is baked again" in warnings()[0]
    assert_baked(read_arrays(path))


def test_pipe_in_place_of_the_file(warnings: Callable[[], list[str]]) -> None:
    cache_directory().mkdir()
    os.mkfifo(cache_file())
    assert_baked(load_arrays())
    assert_baked(read_arrays(cache_file()))


def test_file_of_another_user_is_not_used(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]], folder: Path
) -> None:
    load_arrays()
    real = os.fstat

    def foreign(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor))
        fields[4] = 12345
        return os.stat_result(fields)

    monkeypatch.setattr("os.fstat", foreign)
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert len(done) == 1
    assert any("is not used: another user may have made it" in line for line in warnings())


@pytest.mark.parametrize(("path", "mode", "used"), [("file", 0o666, False), ("", 0o777, False), ("", 0o1777, True)])
def test_file_that_others_can_write_is_not_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path, path: str, mode: int, used: bool
) -> None:
    before = os.umask(0)
    try:
        load_arrays()
    finally:
        os.umask(before)
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert done == []
    (cache_file() if path else folder).chmod(mode)
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert (done == []) is used


def test_link_to_a_file_of_this_user_is_used(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    load_arrays()
    path = cache_file()
    path.rename(folder / "elsewhere.npz")
    path.symlink_to(folder / "elsewhere.npz")
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert done == []


def test_unwritable_directory_is_replaced_by_a_temporary_one(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]], folder: Path, tmp_path: Path
) -> None:
    folder.write_text("not a directory")
    assert_baked(load_arrays())
    assert len(warnings()) == 1
    assert f"cannot be written ({folder}: " in warnings()[0]
    replacement = tmp_path / "tmp" / f"bodywire-{os.geteuid()}"
    assert str(replacement) in warnings()[0]
    assert replacement.stat().st_mode & 0o777 == 0o700
    done = bakes(monkeypatch)
    assert_baked(load_arrays())
    assert done == []
    assert len(warnings()) == 1


def test_full_disk_means_baking_at_every_start(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]], folder: Path
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    assert_baked(load_arrays())
    assert len(warnings()) == 1
    assert "No space left on device), so that the model is baked at every start: set HOME" in warnings()[0]
    assert list(folder.iterdir()) == []
    # In one process, it is baked once.
    done: list[None] = []
    monkeypatch.setattr(cache, "bake", lambda *_: done.append(None))
    assert_baked(load_arrays())
    assert done == []


def test_temporary_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "tmp" / f"bodywire-{os.geteuid()}"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    assert cache_folder.temporary_directory() is None
    path.rmdir()
    path.symlink_to(tmp_path)
    assert cache_folder.temporary_directory() is None


def test_user_without_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BODYWIRE_CACHE")
    monkeypatch.setattr(Path, "expanduser", unknown)
    assert cache_directory() == tmp_path / "tmp" / f"bodywire-{os.geteuid()}"
    assert_baked(load_arrays())
    monkeypatch.setattr(cache_folder, "temporary_directory", lambda: None)
    with pytest.raises(OutputError, match="there is no directory for a cache: set HOME or BODYWIRE_CACHE"):
        load_arrays()


def without_own_cache(space: Arrays, anny_cache: Path | None = None) -> Arrays:
    """Fails as Anny does when its cache cannot be written."""
    if anny_cache is None:
        raise OSError(errno.EROFS, "Read-only file system", "/root/.cache/anny")
    assert anny_cache.is_dir()
    assert os.environ["HOME"] == os.environ["WARP_CACHE_PATH"] == str(anny_cache)
    return dict(BAKED)


def test_bake_where_the_cache_of_anny_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]], tmp_path: Path
) -> None:
    monkeypatch.delenv("WARP_CACHE_PATH", raising=False)
    monkeypatch.setattr(cache, "bake", without_own_cache)
    home = os.environ.get("HOME")
    assert_baked(load_arrays())
    assert len(warnings()) == 1
    assert "Anny's own cache cannot be used" in warnings()[0]
    assert os.environ.get("HOME") == home
    assert "WARP_CACHE_PATH" not in os.environ
    assert list((tmp_path / "tmp").glob("bodywire-bake-*")) == []


def test_no_directory_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "bake", without_own_cache)
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    with pytest.raises(OutputError, match=r"cannot bake the body model .*: set TMPDIR to a directory"):
        load_arrays()


@pytest.mark.parametrize("content", [b"", b"garbage" * 99])
def test_damaged_shape_space(content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "shape_space.safetensors"
    monkeypatch.setattr(cache, "SHAPE_SPACE_FILE", path)
    with pytest.raises(WeightsError, match=r"shape_space\.safetensors is missing"):
        load_arrays()
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"shape_space\.safetensors is damaged"):
        load_arrays()


_WRITER = """
import sys
import numpy as np
from common.body import cache

baked = dict(np.load(sys.argv[1]))
input()
for _ in range(20):
    assert cache._saving_failure(cache.cache_file(), baked) is None
    read = cache.read_arrays(cache.cache_file())
    assert read is not None and all(np.array_equal(read[name], baked[name]) for name in baked)
"""


def test_processes_that_bake_at_the_same_time(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "baked.npz", allow_pickle=False, **BAKED)
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "baked.npz")]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        with writer:
            assert writer.wait(timeout=60) == 0
    assert_baked(read_arrays(cache_file()))
    assert [path.name for path in folder.iterdir()] == [cache_file().name]


def test_threads_that_load_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done, loaded = bakes(monkeypatch), []
    barrier = threading.Barrier(6)

    def load() -> None:
        barrier.wait(timeout=10)
        loaded.append(load_arrays())

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(loaded) == 6
    assert len(done) == 1


def test_set_up_without_a_cache_fails(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_text("not a directory")
    monkeypatch.setattr("common.body.model.BodyModel.load", load_arrays)
    assert command.main([]) == 5
    assert f"the body model is not in {folder}" in capsys.readouterr().err
