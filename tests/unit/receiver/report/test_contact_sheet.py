from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import SourceError
from receiver.report import read_clip, read_frames, render_people, spread
from tests.support.receiver.published_session import FRAMES, publish


def test_read_clip_counts_frames_and_keeps_a_selection(clip: Path) -> None:
    read = read_clip(clip)
    assert list(read.keys) == list(range(FRAMES)) and not read.stills
    assert sorted(read.frames) == spread(FRAMES, 8)
    assert abs(float(read.frames[3].mean()) - 120.0) < 4.0


def test_read_clip_takes_the_pictures_of_a_folder_by_name(tmp_path: Path) -> None:
    for name, size in (("b.png", (20, 10)), ("a.jpg", (10, 20))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    (tmp_path / "LICENSES.md").write_text("no picture")
    read = read_clip(tmp_path)
    assert (list(read.keys), [picture.shape for picture in read.frames.values()]) == (
        ["a.jpg", "b.png"],
        [(20, 10, 3), (10, 20, 3)],
    )
    assert read.by_key([{"source": "b.png", "seq": 0}]) == {"b.png": {"source": "b.png", "seq": 0}}
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceError, match="folder of pictures"):
        read_clip(tmp_path)
    for picture in tmp_path.glob("*.*g"):
        picture.unlink()
    with pytest.raises(SourceError, match="has no pictures"):
        read_clip(tmp_path)


def test_render_people_shows_the_box_where_it_was(tmp_path: Path) -> None:
    (record,) = read_frames(publish(tmp_path / "out", frames=1))
    shown = render_people(tmp_path / "out", record, "surface", np.zeros((160, 200, 3), np.uint8))
    assert shown.shape == (160, 200, 3)
    rows, columns = np.nonzero(shown.min(axis=2) < 255)
    plain = render_people(tmp_path / "out", record, "surface", np.zeros((160, 200, 3), np.uint8), plain=True)
    assert (plain.min(axis=2) < 255).sum() == len(rows)
    # The box is 0.1 m right of the optical axis, 3 m away.
    assert (columns.min() + columns.max()) / 2 == pytest.approx(108, abs=2)
    assert len(np.unique(rows)) > len(np.unique(columns)) > 20


def test_render_people_in_another_size_shows_the_same(tmp_path: Path) -> None:
    (record,) = read_frames(publish(tmp_path / "out", frames=1))
    small, large = (
        render_people(tmp_path / "out", record, "surface", np.zeros((160 * n, 200 * n, 3), np.uint8)) for n in (1, 2)
    )
    shares = [float((shown.min(axis=2) < 255).mean()) for shown in (small, large)]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_render_people_without_a_record_is_white(tmp_path: Path) -> None:
    source = np.zeros((160, 200, 3), np.uint8)
    assert (render_people(tmp_path, None, "surface", source) == 255).all()
