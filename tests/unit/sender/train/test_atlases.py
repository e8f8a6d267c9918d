"""Atlases of rendered people are written once each, with what is known in the alpha channel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from common.body.anatomy import ATLAS_SIZE
from common.errors import OutputError
from sender.train import atlases


def test_atlas_is_written_and_kept(tmp_path: Path) -> None:
    options = atlases.parse(["--out", str(tmp_path), "--split", "val", "--count", "1", "--seed", "4"])
    atlases.write_atlases(options)
    [path] = tmp_path.iterdir()
    rgba = np.asarray(Pictures.open(path))
    assert path.name == "val-4-00000.png" and rgba.shape == (ATLAS_SIZE, ATLAS_SIZE, 4)
    assert set(np.unique(rgba[..., 3])) == {0, 255} and rgba[rgba[..., 3] > 0, :3].std() > 5
    written = path.stat().st_mtime_ns
    atlases.write_atlases(options)
    assert path.stat().st_mtime_ns == written


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        atlases.write_atlases(atlases.parse(["--out", str(tmp_path / "file" / "below"), "--count", "1"]))


def test_count_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        atlases.parse(["--out", str(tmp_path), "--count", "0"])
