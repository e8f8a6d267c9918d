"""MakeHuman garments that are no part of the wardrobe."""

from pathlib import Path

import numpy as np
import pytest

from common.body.model import BodyModel
from common.errors import SourceError
from common.synthetic.assets.base_mesh import BaseMesh
from common.synthetic.assets.body_canvas import Canvas
from receiver.train.garments import GarmentReader

SCALES = "x_scale 5399 11998 1.3980\nz_scale 962 5320 1.8441\ny_scale 791 881 2.2028\n"


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    return Canvas.from_model(BodyModel.load())


def write(folder: Path, corners: list[int]) -> None:
    """A garment `patch`: triangles of the base mesh, one after the other."""
    (folder / "patch").mkdir()
    bound = "".join(f"{corner}\n" for corner in corners)
    (folder / "patch" / "patch.mhclo").write_text(f"name patch\nobj_file patch.obj\n{SCALES}verts 0\n{bound}")
    faces = "".join(f"f {first} {first + 1} {first + 2}\n" for first in range(1, len(corners), 3))
    (folder / "patch" / "patch.obj").write_text("v 0 0 0\n" * len(corners) + faces)


def test_points_are_on_the_garment_but_not_on_its_sleeves(tmp_path: Path, canvas: Canvas) -> None:
    mesh = BaseMesh.load()
    places = mesh.rest[0, mesh.body]
    distance = np.linalg.norm(places - [0, *np.median(places[np.abs(places[:, 0]) < 0.05], axis=0)[1:]], axis=1)
    trunk = mesh.body[np.argsort(distance)[:3]].tolist()
    hand = mesh.body[np.argsort(-places[:, 0])[:3]].tolist()
    write(tmp_path, [*trunk, *hand])
    points = GarmentReader(tmp_path, canvas).points("patch")
    low, high = mesh.rest[0, trunk].min(0), mesh.rest[0, trunk].max(0)
    assert len(points) > 1000 and (points > low - 1e-3).all() and (points < high + 1e-3).all()


def test_missing_garment_is_an_error(tmp_path: Path, canvas: Canvas) -> None:
    with pytest.raises(SourceError, match=r"coat\.mhclo is missing"):
        GarmentReader(tmp_path, canvas).points("coat")
