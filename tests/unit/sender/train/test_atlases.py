"""Atlases of rendered people are written once each."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import OutputError
from sender.train.atlases import observed as observed_atlases


def test_people_are_known_in_part_and_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed_atlases, "_PEOPLE_PER_FILE", 1)
    options = observed_atlases.parse(["--out", str(tmp_path), "--split", "val", "--count", "1", "--seed", "4"])
    observed_atlases.write_observed_atlases(options)
    [path] = tmp_path.iterdir()
    with np.load(path) as arrays:
        known, whole = arrays["known"], arrays["whole"]
    assert path.name == "val-4-00000.npz"
    assert known.shape == (1, 4, 128, 128, 4) and whole.shape == (1, 128, 128, 4)
    there, all_sides = known[0, ..., 3] > 0, whole[0, ..., 3] > 0
    assert set(np.unique(known[..., 3])) == {0, 255}
    # What is known from some sides is part of what all sides show.
    assert (there & all_sides).sum() > 0.97 * there.sum() and there[0].sum() < 0.6 * all_sides.sum()
    # The same colours, up to light.
    front = there[0] & all_sides
    assert np.corrcoef(known[0, 0, front, 0], whole[0, front, 0])[0, 1] > 0.8
    written = path.stat().st_mtime_ns
    observed_atlases.write_observed_atlases(options)
    assert path.stat().st_mtime_ns == written


def test_choices_are_the_front_any_side_two_neighbours_and_several() -> None:
    for seed in range(50):
        front, any_side, neighbours, several = observed_atlases.choices_of_sides(np.random.default_rng(seed))
        assert front == [0] and len(any_side) == 1
        assert (neighbours[1] - neighbours[0]) % 8 == 1
        assert 2 <= len(set(several)) == len(several) <= 6


def test_folder_that_cannot_be_written_and_counts_that_fill_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = ["--out", str(tmp_path / "file" / "below")]
    with pytest.raises(OutputError, match="cannot write"):
        observed_atlases.write_observed_atlases(observed_atlases.parse([*out, "--count", "16"]))
    with pytest.raises(SystemExit):
        observed_atlases.parse([*out, "--count", "17"])
