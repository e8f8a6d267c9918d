from pathlib import Path

import cv2
import numpy as np
import pytest

from receiver.report.picture import COLUMNS, crop_window, main
from tests.support.published_session import FRAMES, publish


def test_picture_has_a_column_per_frame_with_input_and_two_views(tmp_path: Path, clip: Path) -> None:
    out = publish(tmp_path / "out")
    assert main([str(out), "--clip", str(clip)]) == 0
    path = out / "picture.jpg"
    picture = cv2.imread(str(path))
    assert picture is not None
    columns = min(COLUMNS, FRAMES)
    assert picture.shape == (24 + 280 + 24 + 280 + 6 + 280 + 6, 24 + 6 + columns * (224 + 6), 3)
    assert path.stat().st_size < 300_000
    centre_x = 24 + 6 + 112
    input_row, camera_row, side_row = (picture[y, centre_x] for y in (24 + 140, 24 + 280 + 24 + 140, 900 - 6 - 140))
    assert (input_row < 20).all() and (camera_row < 250).all() and (side_row < 250).all()
    assert (picture[-3:] > 250).all()


def test_picture_with_missing_frames(tmp_path: Path, clip: Path) -> None:
    out, path = publish(tmp_path / "out", frames=2), tmp_path / "wide.jpg"
    assert main([str(out), "--clip", str(clip), "--out", str(path)]) == 0
    picture = cv2.imread(str(path))
    assert picture is not None
    last_column = picture[24 + 280 + 24 :, -230:]
    assert (last_column > 250).all()


def test_picture_without_directory_or_clip(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing"), "--clip", str(clip)]) == 2
    assert main([str(publish(tmp_path / "out")), "--clip", str(tmp_path / "no.mp4")]) == 3
    assert main([str(tmp_path / "out"), "--clip", str(clip), "--out", str(tmp_path / "missing" / "a.jpg")]) == 5
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and "frames.jsonl" in errors[0] and "no.mp4" in errors[1] and "a.jpg" in errors[2]


def test_crop_window_contains_all_drawings_in_the_aspect_ratio() -> None:
    images = [np.full((400, 600, 3), 255, np.uint8) for _ in range(2)]
    images[0][100:200, 250:300] = 0
    images[1][150:250, 260:320] = 0
    rows, columns = crop_window(images, aspect=0.8)
    assert rows.start < 100 and rows.stop > 250 and columns.start < 250 and columns.stop > 320
    assert (columns.stop - columns.start) / (rows.stop - rows.start) == pytest.approx(0.8, rel=0.02)


def test_crop_window_at_the_border_stays_inside() -> None:
    image = np.full((100, 120, 3), 255, np.uint8)
    image[:, 100:] = 0
    assert crop_window([image], aspect=0.8) == (slice(0, 100), slice(27, 120))


def test_crop_window_of_empty_images_is_the_whole_image() -> None:
    assert crop_window([np.full((40, 60, 3), 255, np.uint8)], aspect=0.8) == (slice(0, 40), slice(0, 60))


def test_help_begins_with_the_purpose_and_ends_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("Draws one wide picture")
    assert shown[shown.index("examples:") :].count("python -m receiver.report.picture") == 3
