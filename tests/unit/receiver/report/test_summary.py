import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.config import PublishConfig
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.report.summary import main, read_frames
from tests.support.posed_body import box
from tests.support.published_session import FRAMES, OWNER, publish


def test_summary_of_a_good_session(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = publish(tmp_path / "out")
    assert main([str(out), "--clip", str(clip)]) == 0
    rows = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (rows["frames"], rows["frames a second"], rows["age p95, ms"]) == ("6", "10.0", "50")
    assert rows["surface p50, ms"] == "20.0"
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    width = round(200 * 288 / 160)
    assert sheet.shape == (20 + 3 * 288, FRAMES * width, 3)
    # The box is at the centre of the two lower tiles.
    centres = [sheet[20 + 288 * row + 144, width // 2 + 10] for row in (1, 2)]
    assert all((centre < 250).all() for centre in centres)


@pytest.mark.parametrize(
    ("frames", "surface", "message"),
    [
        (FRAMES - 1, None, "1 of 6 frames are missing, the first is 5"),
        (FRAMES, dataclasses.replace(box(), faces=box().faces[1:]), "not watertight and connected"),
        (FRAMES, dataclasses.replace(box(), vertices=box().vertices * 3.0), "not of human size"),
    ],
)
def test_summary_reports_faults(
    tmp_path: Path,
    clip: Path,
    capsys: pytest.CaptureFixture[str],
    frames: int,
    surface: SurfaceMesh | None,
    message: str,
) -> None:
    out = publish(tmp_path / "out", frames, surface)
    assert main([str(out), "--clip", str(clip)]) == 1
    assert message in capsys.readouterr().err
    assert (out / "contact-sheet.png").exists()


def test_summary_without_people(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SessionDirectory(PublishConfig(tmp_path / "out")) as directory:
        for n in range(FRAMES):
            directory.session("demo", OWNER).append(FrameRecord(n, "clip.mp4", 1.0, None, None, {"total": 9}))
    assert main([str(tmp_path / "out"), "--clip", str(clip)]) == 1
    assert "6 frames have no person" in capsys.readouterr().err


def test_summary_without_directory_or_clip(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing"), "--clip", str(clip)]) == 2
    assert main([str(publish(tmp_path / "out")), "--clip", str(tmp_path / "no.mp4")]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "frames.jsonl" in errors[0] and "no.mp4" in errors[1]


def test_summary_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a sheet of their own; nobody has to be found in them."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(pictures / name), np.full((160, 200, 3), 90, np.uint8))
    with SessionDirectory(PublishConfig(tmp_path / "out")) as directory:
        directory.session("demo", OWNER).append(FrameRecord(0, "b.png", 1.0, None, None, {"total": 9}))
    command = [str(tmp_path / "out"), "--clip", str(pictures), "--session", "1"]
    assert main(command) == 1
    assert "1 of 2 frames are missing, the first is a.png" in capsys.readouterr().err
    with SessionDirectory(PublishConfig(tmp_path / "out")) as directory:
        for number, name in enumerate(("a.png", "b.png")):
            directory.session("pictures", OWNER).append(FrameRecord(number, name, 1.0, None, None, {"total": 9}))
    assert main([*command[:-1], "2"]) == 0
    sheet = cv2.imread(str(tmp_path / "out" / "photographs.png"))
    assert sheet is not None and sheet.shape == (20 + 3 * 288, 2 * round(200 * 288 / 160), 3)


def test_read_frames_takes_the_last_session(tmp_path: Path) -> None:
    lines = [{"seq": 0, "session": 1}, {"seq": 1, "session": 2}, {"seq": 0, "session": 2}]
    (tmp_path / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["seq"] for line in read_frames(tmp_path)] == [0, 1]
    assert [line["seq"] for line in read_frames(tmp_path, 1)] == [0]
