"""Readers of other programs find in our files what was written: the large ones are slow, and optional."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from receiver.mesh.mesh_texture import MeshTexture, TextureCorners, encode_jpeg
from tests.bench.readers import File, cells, files_of, read_by
from tests.support.file_readers import READERS
from tests.support.posed_body import box
from tests.support.published_session import publish

LARGE = ("Open3D", "MeshLab", "Blender")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[File]:
    """Of a box with a skeleton of two joints, for half a second."""
    folder = tmp_path_factory.mktemp("files")
    mesh = box(colours=True)
    places = np.random.default_rng(4).random((*mesh.faces.shape, 2)).astype(np.float32)
    texture = MeshTexture(
        TextureCorners.from_triangles(mesh.faces, places), encode_jpeg(np.full((64, 64, 3), 90, np.uint8))
    )
    return list(files_of(publish(folder / "out", surface=mesh, texture=texture), folder))


@pytest.mark.parametrize(
    "reader", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in (*READERS, "three.js")]
)
def test_reader_finds_what_was_written(files: list[File], reader: str) -> None:
    if reader in READERS and find_spec(READERS[reader][1]) is None:
        pytest.skip(f"{READERS[reader][1]} is not installed")
    read: Mapping[str, Any] = {file.name: read_by(reader, file.path) for file in files}
    taken = [file for file in files if read[file.name] is not None]
    assert taken
    for file in taken:
        assert "fault" not in read[file.name], read[file.name]
        shown = cells(file, read[file.name])
        assert not any("WRONG" in cell for cell in shown), shown
        if file.colour:
            assert shown[1] != "no"


def test_wrong_facts_are_named() -> None:
    file = File("a", Path("a.glb"), [8], 1.6, [0.5, 0.5, 0.5], bones=2)
    right = {"vertices": 8, "low": [0, 0, 0], "high": [1, 1.6, 1], "up": "y", "colour": [0.5, 0.5, 0.5], "bones": 2}
    assert cells(file, right) == ["8", "yes", "–", "2", "–", "yes", "y"]
    wrong = {**right, "vertices": 9, "up": "z", "colour": [0.1, 0.5, 0.5], "bones": 1}
    assert ["WRONG" in cell for cell in cells(file, wrong)] == [True, True, False, True, False, True, False]
    assert cells(file, {**right, "colour": None, "bones": 0})[1:4] == ["no", "–", "no"]
