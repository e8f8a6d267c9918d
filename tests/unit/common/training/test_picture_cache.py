"""Decoded pictures in one file, and crops of them."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import SourceError
from common.imaging.picture_file import write_picture
from common.training.picture_cache import open_cache, picture_files, random_crops


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("a.png", (40, 50)), ("b.png", (10, 90)), ("c.png", (64, 32))):
        write_picture(folder / name, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_are_decoded_once_and_small_ones_left_out(folder: Path, tmp_path: Path) -> None:
    files = picture_files([folder])
    cache = open_cache(files, tmp_path / "cache", 32)
    assert [cache[index].shape for index in range(len(cache))] == [(40, 50, 3), (64, 32, 3)]
    for path in files:
        path.write_bytes(b"decoded already")
    again = open_cache(files, tmp_path / "cache", 32)
    assert np.array_equal(again[1], cache[1]) and np.array_equal(again.subset([1])[0], cache[1])


def test_crops_are_of_the_pictures_and_repeat_with_the_seed(folder: Path, tmp_path: Path) -> None:
    cache = open_cache(picture_files([folder]), tmp_path / "cache", 32)
    crops, again = (next(random_crops(cache, 6, 32, np.random.default_rng(3))) for _ in range(2))
    assert crops.shape == (6, 3, 32, 32)
    assert float(crops.min()) >= 0.0 and 0.9 < float(crops.max()) <= 1.0
    assert np.array_equal(crops.numpy(), again.numpy())


def test_no_pictures_or_too_small_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no pictures"):
        picture_files([tmp_path / "empty"])
    with pytest.raises(SourceError, match="smaller than 128"):
        open_cache(picture_files([folder]), tmp_path / "cache", 128)
    nothing = open_cache(picture_files([folder]), tmp_path / "cache", 32).subset([])
    with pytest.raises(SourceError, match=r"no picture has 64 pixels a side"):
        next(random_crops(nothing, 2, 64, np.random.default_rng(0)))


def test_damaged_picture_is_refused_and_leaves_no_cache(folder: Path, tmp_path: Path) -> None:
    (folder / "d.png").write_bytes(b"damaged")
    with pytest.raises(SourceError, match=r"d\.png"):
        open_cache(picture_files([folder]), tmp_path / "cache", 32)
    assert list((tmp_path / "cache").iterdir()) == []
