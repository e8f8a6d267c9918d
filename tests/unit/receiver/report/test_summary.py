import dataclasses
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from receiver.mesh.mesh_files import write_mesh
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.publish.frame_record import FrameRecord, PersonRecord
from receiver.publish.session_directory import PublishConfig, SessionDirectory
from receiver.report.contact_sheet import fit_focal_px, read_clip, spread
from receiver.report.summary import main, read_frames
from tests.support.posed_body import box, posed_box

FRAMES = 6


def _person() -> PersonRecord:
    """Joints 3 m before a camera of 240 pixels' focal length, and where it sees them."""
    joints = np.random.default_rng(0).normal(scale=0.4, size=(17, 3)).astype(np.float32)
    joints[:, 2] = 3.0
    pixels = joints / joints[:, 2:] * 240.0 + np.array([100.0, 80.0, 0.0], np.float32)
    return PersonRecord(0, 0.9, pixels.astype(np.float32), joints)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 200, 160, "yuv420p"
        for n in range(FRAMES):
            image = np.full((160, 200, 3), 40 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def _publish(out: Path, frames: int = FRAMES, surface: SurfaceMesh | None = None) -> Path:
    body, skeleton = posed_box()
    with SessionDirectory(PublishConfig(out)) as directory:
        session = directory.session("demo")
        for n in range(frames):
            paths = session.write_surface(n, surface or box()), session.write_body(n, body, skeleton)
            person = dataclasses.replace(_person(), surface=paths[0], body=paths[1])
            sizes = {"total": 200 + n, "root": 20}
            session.append(
                FrameRecord(n, "clip.mp4", 10.0 + 0.1 * n, 50.0, 1.0, sizes, {}, {"surface": 20.0}, (person,))
            )
    return out


def test_summary_of_a_good_session(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _publish(tmp_path / "out")
    assert main([str(out), "--clip", str(clip)]) == 0
    rows = {line.rsplit(None, 1)[0].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (rows["frames"], rows["frames a second"], rows["age p95, ms"]) == ("6", "10.0", "50")
    assert rows["surface p50, ms"] == "20.0"
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    assert sheet is not None
    width = round(200 * 288 / 160)
    assert sheet.shape == (20 + 3 * 288, FRAMES * width, 3)
    # The box stands in the middle of the two lower tiles.
    middles = [sheet[20 + 288 * row + 144, width // 2 + 10] for row in (1, 2)]
    assert all((middle < 250).all() for middle in middles)


@pytest.mark.parametrize(
    ("frames", "surface", "message"),
    [
        (FRAMES - 1, None, "1 of 6 frames are missing, the first is 5"),
        (FRAMES, dataclasses.replace(box(), faces=box().faces[1:]), "not one watertight piece"),
        (FRAMES, dataclasses.replace(box(), vertices=box().vertices * 3.0), "not of human size"),
    ],
)
def test_summary_says_what_is_wrong(
    tmp_path: Path,
    clip: Path,
    capsys: pytest.CaptureFixture[str],
    frames: int,
    surface: SurfaceMesh | None,
    message: str,
) -> None:
    out = _publish(tmp_path / "out", frames, surface)
    assert main([str(out), "--clip", str(clip)]) == 1
    assert message in capsys.readouterr().err
    assert (out / "contact-sheet.png").exists()


def test_summary_when_nobody_was_found(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SessionDirectory(PublishConfig(tmp_path / "out")) as directory:
        for n in range(FRAMES):
            directory.session("demo").append(FrameRecord(n, "clip.mp4", 1.0, None, None, {"total": 9}))
    assert main([str(tmp_path / "out"), "--clip", str(clip)]) == 1
    assert "6 frames have nobody" in capsys.readouterr().err


def test_summary_when_a_mesh_is_damaged(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _publish(tmp_path / "out")
    (out / "meshes" / "000002.glb").write_bytes(b"glTF")
    assert main([str(out), "--clip", str(clip)]) == 1
    assert "000002.glb" in capsys.readouterr().err


def test_summary_of_two_pieces(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, first = _publish(tmp_path / "out"), box()
    vertices = np.concatenate([first.vertices, first.vertices + np.array([0.8, 0.0, 0.0], np.float32)])
    faces = np.concatenate([first.faces, first.faces + len(first.vertices)])
    write_mesh(out / "meshes" / "000000.glb", SurfaceMesh(vertices, faces.astype(np.int32)))
    assert main([str(out), "--clip", str(clip)]) == 1
    assert "1 meshes are not one watertight piece" in capsys.readouterr().err


def test_summary_without_directory_or_clip(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing"), "--clip", str(clip)]) == 2
    assert main([str(_publish(tmp_path / "out")), "--clip", str(tmp_path / "no.mp4")]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "frames.jsonl" in errors[0] and "no.mp4" in errors[1]


def test_read_frames_takes_the_last_session(tmp_path: Path) -> None:
    lines = [{"seq": 0, "session": 1}, {"seq": 1, "session": 2}, {"seq": 0, "session": 2}]
    (tmp_path / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["seq"] for line in read_frames(tmp_path)] == [0, 1]


def test_read_clip_counts_frames_and_keeps_a_few(clip: Path) -> None:
    read = read_clip(clip)
    assert read.frame_count == FRAMES
    assert sorted(read.chosen) == spread(FRAMES, 8)
    assert abs(float(read.chosen[3].mean()) - 120.0) < 4.0


def test_spread_stays_inside() -> None:
    assert spread(96, 8) == [6, 18, 30, 42, 54, 66, 78, 90]
    assert spread(1, 8) == [0]


def test_fit_focal_px_finds_the_camera() -> None:
    person = _person()
    assert fit_focal_px(person.keypoints_2d, person.joints_3d, 200, 160) == pytest.approx(240.0, rel=1e-4)
