import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from common.errors import SourceError
from receiver.config import PublishConfig
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.report import ages_ms, main, read_clip, read_frames, render_people, spread, table
from receiver.web.library.service import thumbnail
from tests.support.meshes.posed_body import box
from tests.support.receiver.published_session import FRAMES, OWNER, publish, write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


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


def test_summary_of_a_good_session(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = publish(tmp_path / "out")
    assert main([str(out), "--clip", str(clip)]) == 0
    rows = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (rows["frames"], rows["frames a second, published"], rows["age p95, ms"]) == ("6", "10.0", "50")
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    assert sheet.shape[0] == 20 + 3 * 384
    # Beside the names, the box fills most of the height of the two lower tiles.
    drawn = np.any(sheet[20 + 384 :, 90:].max(axis=2) < 250, axis=1).reshape(2, 384)
    assert (drawn.sum(axis=1) > 200).all()
    # Each row has a name at the left.
    named = np.any(sheet[20:, :90].max(axis=2) < 128, axis=1).reshape(3, 384)
    assert named[:, 150:250].any(axis=1).all() and not named[:, :150].any()


@pytest.mark.parametrize(("kind", "other"), [("surface", "bodies"), ("body", "surfaces")])
def test_summary_of_a_session_without_meshes_of_a_kind(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], kind: str, other: str
) -> None:
    out = publish(tmp_path / "out")
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    for line in lines:
        line["people"][0][kind] = None
    (out / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert thumbnail(out, lines[0]) is not None
    assert main([str(out), "--clip", str(clip)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "watertight" in line]
    assert [row.split() for row in rows] == [["watertight", other, "6", "of", "6"]]
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    upper, lower = sheet[20 + 384 : 20 + 2 * 384, 90:], sheet[20 + 2 * 384 :, 90:]
    assert upper.min() < 250 and (upper == lower).all()
    lines[3]["people"] = []
    (out / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([str(out), "--clip", str(clip)]) == 1
    assert "1 frame has no person with " in capsys.readouterr().err


def two_boxes() -> SurfaceMesh:
    """In one mesh, beside each other."""
    first = box()
    vertices = np.concatenate([first.vertices, first.vertices + np.array([0.8, 0.0, 0.0], np.float32)])
    return SurfaceMesh(vertices, np.concatenate([first.faces, first.faces + len(first.vertices)]).astype(np.int32))


@pytest.mark.parametrize(
    ("frames", "surface", "message"),
    [
        (FRAMES - 1, None, "1 of 6 frames are missing, the first is 5"),
        (FRAMES, dataclasses.replace(box(), faces=box().faces[1:]), "6 meshes are not watertight and connected"),
        (FRAMES, two_boxes(), "6 meshes are not watertight and connected"),
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


def test_frames_of_a_session_that_was_played_slowly_have_two_rates() -> None:
    records = [
        {"captured_at": 100 + n / 30, "age_ms": 1e3 * n * (0.5 - 1 / 30), "bytes": {"total": 9}} for n in range(9)
    ]
    assert rates(records) == ("2.0", "30.0")
    assert rates([{**record, "age_ms": None} for record in records]) == ("unknown", "30.0")


def rates(records: list[dict[str, Any]]) -> tuple[str, ...]:
    rows = [line.rsplit(None, 1) for line in table(records, {}, {}).splitlines()]
    return tuple(value for name, value in rows if name.strip().startswith("frames a second"))


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


def test_directory_that_cannot_be_written_is_told_before_meshes_are_checked(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = publish(tmp_path / "out")

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    assert main([str(out), "--clip", str(clip)]) == 5
    written = capsys.readouterr()
    assert written.out == "" and f"cannot write {out / 'contact-sheet.png'}: Permission denied" in written.err


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
    assert sheet is not None and sheet.shape == (20 + 3 * 384, 90 + 2 * round(200 * 384 / 160), 3)


def test_read_frames_takes_the_last_session(tmp_path: Path) -> None:
    lines = [{"seq": 0, "session": 1}, {"seq": 1, "session": 2}, {"seq": 0, "session": 2}]
    (tmp_path / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["seq"] for line in read_frames(tmp_path)] == [0, 1]
    assert [line["seq"] for line in read_frames(tmp_path, 1)] == [0]


@pytest.mark.parametrize("path", ["/dev/zero", "../secret.glb", "meshes/../../secret.glb", "meshes/a/b.glb", 7])
def test_summary_reads_meshes_of_the_directory_alone(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], path: object
) -> None:
    out = publish(tmp_path / "out")
    lines = (out / "frames.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    record["people"][0]["surface"] = path
    (out / "frames.jsonl").write_text("\n".join([json.dumps(record), *lines[1:]]) + "\n")
    assert main([str(out), "--clip", str(clip)]) == 2
    assert "a path is neither that of a mesh nor null" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"people": [{}]},
        {"people": 7},
        {"bytes": []},
        {"captured_at": "x"},
        {"captured_at": 1e999},
        {"age_ms": []},
        {"seq": 1e999},
    ],
)
def test_summary_of_forged_records(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object]
) -> None:
    out = publish(tmp_path / "out")
    record = json.loads((out / "frames.jsonl").read_text().splitlines()[0]) | change
    (out / "frames.jsonl").write_text(json.dumps(record) + "\n")
    assert main([str(out), "--clip", str(clip)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_summary_follows_no_links_and_reads_no_pipes(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = publish(tmp_path / "out")
    mesh = out / "meshes" / "000002.glb"
    mesh.rename(tmp_path / "elsewhere.glb")
    mesh.symlink_to(tmp_path / "elsewhere.glb")
    (out / "meshes" / "000003.glb").unlink()
    os.mkfifo(out / "meshes" / "000003.glb")
    assert main([str(out), "--clip", str(clip)]) == 1
    assert "2 meshes are not watertight" in capsys.readouterr().err
    (out / "meshes").rename(tmp_path / "meshes")
    (out / "meshes").symlink_to(tmp_path / "meshes")
    assert main([str(out), "--clip", str(clip)]) == 2
    assert "is a link" in capsys.readouterr().err


def test_ages_of_a_video_are_those_of_one_that_keeps_its_pace() -> None:
    kept = [{"captured_at": 0.1 * number, "age_ms": 80.0 + number % 3} for number in range(50)]
    assert ages_ms(kept) == [record["age_ms"] for record in kept]
    lagging = [{"captured_at": 0.1 * number, "age_ms": 80.0 + 90 * number} for number in range(50)]
    assert ages_ms(lagging) == [] and ages_ms(lagging[:1]) == [80.0] and ages_ms([{"age_ms": None}]) == []
