"""Numbers of a session: the arrays are what the receiver has published."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.labels import GROUP_NAMES, group_slices
from receiver.body.person_scale import PersonScale
from receiver.config import PublishConfig
from receiver.export import label_table
from receiver.export.command import main
from receiver.publish.frame_record import FrameRecord
from receiver.publish.session_directory import SessionDirectory
from tests.support.receiver.published_session import CAMERA, OWNER, person_record

FRAMES = 5
TORSO = np.array([0.5, -1.25], np.float32)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session without meshes: person 0 in all frames but the last, person 7 from the third on; a damaged line."""
    monkeypatch.chdir(tmp_path)
    with SessionDirectory(PublishConfig(tmp_path / "out")) as directory:
        writer = directory.session("a", OWNER)
        first = dataclasses.replace(
            person_record(), labels={"torso": TORSO}, scale=PersonScale(1.7, 0.1, 0.5), unseen_limbs={"head"}
        )
        second = dataclasses.replace(person_record(), identity=7, activations=np.full(52, 0.25, np.float32))
        for n in range(FRAMES):
            people = (*([first] if n < FRAMES - 1 else []), *([second] if n >= 2 else []))
            sizes, rho = {"total": 20 + n, "header": 7, "torso": 5}, {"torso": 0.5}
            frame = FrameRecord(n, "clip.mp4", 10.0 + 0.1 * n, None, None, sizes, rho, {}, people, camera=CAMERA)
            writer.append(dataclasses.replace(frame, people=()) if n == 1 else frame)
    with open(tmp_path / "out/frames.jsonl", "a") as lines:
        lines.write('{"seq":9,"session":1,"source":"","captured_at":11.0,"people":[{"id":0}]}\n')
    return tmp_path / "out"


def test_arrays_are_those_of_the_lines(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1", "--format", "npz"]) == 0
    written = capsys.readouterr()
    assert "clip-1.npz: 2 people, 5 frames" in written.out and "left out 1 damaged lines" in written.err
    found = np.load("clip-1.npz")
    assert found["person"].tolist() == [0, 7]
    assert found["present"].tolist() == [[True, False], [False, False], [True, True], [True, True], [False, True]]
    np.testing.assert_allclose(found["time_s"], 0.1 * np.arange(FRAMES), atol=1e-6)
    np.testing.assert_allclose(found["joints_3d"][2, 1], person_record().joints_3d, atol=6e-5)
    np.testing.assert_allclose(found["keypoints_2d"][0, 0], person_record().keypoints_2d, atol=6e-5)
    assert np.isnan(found["joints_3d"][1]).all() and np.isnan(found["labels"][:, 1]).all()
    torso = group_slices()["torso"]
    assert [str(name) for name in found["label_names"][torso][:2]] == ["torso.0", "torso.1"]
    np.testing.assert_array_equal(found["labels"][0, 0, torso][:2], TORSO)
    assert np.isnan(found["labels"][0, 0]).sum() == found["labels"].shape[2] - 2
    sigmas = [found[name][0].tolist()[0] for name in ("height_m", "height_sigma_m", "distance_sigma_m")]
    np.testing.assert_allclose(sigmas, [1.7, 0.1, 0.5], atol=1e-6)
    assert dict(zip(found["limb_names"].tolist(), found["seen"][0, 0].tolist(), strict=True))["head"] == 0
    assert (found["face"][4, 1] == 0.25).all() and np.isnan(found["face"][:, 0]).all()
    sizes = dict(zip(found["bytes_names"].tolist(), found["bytes"].T.tolist(), strict=True))
    assert sizes["total"] == [20, 21, 22, 23, 24] and sizes["torso"] == [5] * 5 and sizes["root"] == [0] * 5
    assert found["rho"][0].tolist()[GROUP_NAMES.index("torso")] == 0.5
    assert found["camera"][0].tolist()[:3] == [CAMERA.width, CAMERA.height, CAMERA.focal_px]


def test_table_has_a_row_for_each_person_and_for_a_frame_of_nobody(out: Path) -> None:
    assert main(["1", "--format", "csv", "--output", "numbers"]) == 0
    with open("numbers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seq"], row["person"]) for row in rows] == [
        ("0", "0"), ("1", ""), ("2", "0"), ("2", "7"), ("3", "0"), ("3", "7"), ("4", "7")
    ]  # fmt: skip
    assert float(rows[0]["joints_3d.nose.z"]) == 3.0 and rows[1]["joints_3d.nose.z"] == ""
    assert (rows[0]["bytes.total"], rows[0]["labels.torso.1"], rows[0]["face.jawOpen"]) == ("20", "-1.25", "")


def test_part_and_person(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1", "--format", "npz", "--person", "7", "--from", "0.3"]) == 0
    found = np.load("clip-1-p7.npz")
    assert found["seq"].tolist() == [3, 4] and found["joints_3d"].shape == (2, 1, 17, 3)
    for arguments, words in (
        (["--person", "3"], "nobody with the id 3; it has 0, 7"),
        (["--from", "60"], "no frame between"),
        (["--in-place"], "--in-place is not for --format npz, which has the numbers as they were published"),
    ):
        assert main(["1", "--format", "npz", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_damaged_people_are_left_out(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (out / "frames.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    changes: tuple[dict[str, Any], ...] = (
        {"joints_3d": [[0, 0, 0]]},
        {"labels": {"torso": [0.0] * 10}},
        {"labels": {"tail": [0.0]}},
        {"keypoints_2d": "x"},
        {"seen": []},
        {"id": 256},
    )
    for change in changes:
        people = [record["people"][0] | change]
        lines.append(json.dumps(record | {"seq": 20, "captured_at": 12.0, "people": people}))
    lines.append(json.dumps(record | {"seq": 20, "captured_at": 12.0, "bytes": {"total": 10**30}}))
    (out / "frames.jsonl").write_text("\n".join([*lines, ""]))
    assert main(["1", "--format", "npz"]) == 0
    assert "left out 8 damaged lines" in capsys.readouterr().err


def test_more_than_memory_holds_is_refused(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(label_table, "_MOST_CELLS", 3)
    assert main(["1", "--format", "npz"]) == 2
    assert "choose a part with --from and --to" in capsys.readouterr().err
