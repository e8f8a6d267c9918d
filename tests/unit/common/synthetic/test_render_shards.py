from pathlib import Path

import numpy as np
import pytest

from common.errors import SourceError
from common.synthetic.render_shards import BATCH, REQUIRED_FIELDS, SHARD, CropDataset, main, plan, render_shard
from common.synthetic.scene.scene import CROP_FIELDS, OPTIONAL_FIELDS


def render_small(out: Path, count: int = 6) -> None:
    for task in plan(out, "val", seed=3, count=count, size=64):
        assert render_shard(task) == count


def test_dataset_reads_rendered_shards(tmp_path: Path) -> None:
    render_small(tmp_path)
    dataset = CropDataset([tmp_path], "val")
    batch = dataset.batch([4, 0, 4])
    assert len(dataset) == 6
    assert set(batch) == set(REQUIRED_FIELDS)
    assert dataset.fields == tuple(name for name in CROP_FIELDS if name != "kinds")
    assert set(dataset.batch([1], dataset.fields)) == set(dataset.fields)
    assert batch["image"].shape == (3, 64, 64, 3)
    np.testing.assert_array_equal(batch["image"][0], batch["image"][2])
    assert (batch["image"][0] != batch["image"][1]).any()


def test_shards_of_earlier_versions_lack_optional_fields(tmp_path: Path) -> None:
    render_small(tmp_path, count=2)
    for name in OPTIONAL_FIELDS - {"kinds"}:
        (tmp_path / "val-0000" / f"{name}.npy").unlink()
    dataset = CropDataset([tmp_path], "val")
    assert dataset.fields == REQUIRED_FIELDS
    assert set(dataset.batch([0])) == set(REQUIRED_FIELDS)
    with pytest.raises(SourceError, match="lack outfit"):
        dataset.batch([0], ("image", "outfit"))


def test_existing_shards_are_kept(tmp_path: Path) -> None:
    render_small(tmp_path)
    image = tmp_path / "val-0000" / "image.npy"
    written = image.stat().st_mtime_ns
    assert plan(tmp_path, "val", seed=3, count=6, size=64) == []
    render_small(tmp_path)
    assert image.stat().st_mtime_ns == written


def test_plan_gives_every_batch_its_own_seed(tmp_path: Path) -> None:
    tasks = plan(tmp_path, "train", seed=1, count=SHARD + 100, size=128)
    assert [task.count for task in tasks] == [SHARD, 100]
    seeds = [seed for task in tasks for seed in task.batch_seeds()]
    assert len(seeds) == len(set(seeds)) == SHARD // BATCH + 2


def test_plan_refuses_a_seed_outside_the_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a val seed"):
        plan(tmp_path, "val", seed=1000, count=10, size=128)


def test_dataset_without_shards_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="render_shards"):
        CropDataset([tmp_path], "train")


def test_dataset_refuses_an_incomplete_shard(tmp_path: Path) -> None:
    (tmp_path / "test-0000").mkdir()
    (tmp_path / "test-0000" / "image.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(SourceError, match="render it again"):
        CropDataset([tmp_path], "test")


def test_main_with_an_unwritable_folder_exits_with_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert main(["--out", str(occupied / "shards"), "--count", "1"]) == 5
    assert "choose another --out" in capsys.readouterr().err
