import gzip
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.body.anny_model import read_blend_shape


class Halved:
    """Stands for a change of coordinates."""

    def apply(self, points: Tensor) -> Tensor:
        return points / 2


@pytest.mark.parametrize(
    ("text", "moved"), [("3 1 -0.5 2e-3\n0 .25 0 4\n", {3: (1, -0.5, 0.002), 0: (0.25, 0, 4)}), ("", {})]
)
def test_blend_shape_has_the_offsets_of_its_file(
    tmp_path: Path, text: str, moved: dict[int, tuple[float, ...]]
) -> None:
    path = tmp_path / "nose.target.gz"
    path.write_bytes(gzip.compress(text.encode()))
    expected = torch.zeros((5, 3), dtype=torch.float64)
    for vertex, offset in moved.items():
        expected[vertex] = torch.tensor(offset, dtype=torch.float64) / 2
    assert torch.equal(read_blend_shape(path, 5, Halved(), torch.float64), expected)


def test_vertex_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nose.target.gz"
    path.write_bytes(gzip.compress(b"5 1 1 1\n"))
    with pytest.raises(IndexError):
        read_blend_shape(path, 5, Halved(), torch.float64)
