from pathlib import Path

import numpy as np
import pytest

from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.errors import SourceError
from common.synthetic.assets.appearance import MATERIALS
from common.synthetic.clothed.outfit_table import OutfitTable, main


def test_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--split", "val", "--count", "5"]) == 0
    table = OutfitTable.read(tmp_path, "val")
    assert len(table) == 5
    assert table.surface.shape == (5, SURFACE_SIZE)
    assert table.material.max() < len(MATERIALS)
    fields = table.displacements(np.arange(5))
    assert fields.abs().max() < 0.3
    assert fields.norm(dim=-1).mean() > 0.002
    np.testing.assert_allclose(SurfaceSpace.load().encode(fields).numpy(), table.surface, atol=0.05)
    assert len(OutfitTable.read(tmp_path, "val", limit=2)) == 2


def test_written_shards_are_kept(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--split", "val", "--count", "2"]) == 0
    (shard,) = tmp_path.iterdir()
    before = (shard / "surface.npy").stat().st_mtime_ns
    assert main(["--out", str(tmp_path), "--split", "val", "--count", "2"]) == 0
    assert (shard / "surface.npy").stat().st_mtime_ns == before


def test_table_without_shards_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="outfit_table"):
        OutfitTable.read(tmp_path, "train")


def test_seed_outside_the_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--split", "val", "--seed", "3"])
