"""The list of photographs that are trained on."""

from pathlib import Path

import pytest

from common.errors import UsageError
from sender.train.photographs.credits import parse, table
from sender.train.photographs.dataset import PhotographDataset, convert, source_folders
from tests.support.photograph_sources import write_photographs


def test_every_photograph_of_the_training_split_is_listed(tmp_path: Path) -> None:
    folders = write_photographs(tmp_path)
    convert(folders, tmp_path / "out")
    photographs = PhotographDataset(tmp_path / "out", "train")
    header, *lines = table(folders).splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    listed = {(row["source"], row["name"]) for row in rows}
    assert listed == {(photographs[index].source, photographs[index].name) for index in range(len(photographs))}
    person = next(row for row in rows if row["source"] == "people")
    assert person["licence"] == "CC-BY-2.0"
    assert person["address"].startswith("http://x/")


def test_held_back_photographs_are_the_others(tmp_path: Path) -> None:
    folders = write_photographs(tmp_path)
    listed, held_back = (table(folders, held).splitlines()[1:] for held in (False, True))
    assert held_back and not set(listed) & set(held_back)
    convert(folders, tmp_path / "out")
    validation = PhotographDataset(tmp_path / "out", "val")
    assert len(held_back) == len(validation)


def test_no_source_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one source"):
        source_folders(parse([]))
