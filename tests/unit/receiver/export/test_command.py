"""`receiver export`: the files that it writes, and what it says when it cannot."""

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import trimesh

from common.wear_kinds import VALUES
from receiver.config import PublishConfig
from receiver.export.character import Character, Placement
from receiver.export.command import main
from receiver.export.ground import grounded
from receiver.mesh.body_file import read_body
from receiver.publish.session_directory import SessionDirectory
from tests.support.meshes.glb_reader import Glb
from tests.support.motion.bvh_reader import Bvh
from tests.support.motion.recorded_motion import STEP_S, Pose, publish_motion, random_poses

FRAMES = 6


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session of two people, the second from the third frame on; the folder above is the current one."""
    monkeypatch.chdir(tmp_path)
    late: list[Pose | None] = [None, None, *random_poses(FRAMES - 2, seed=2)]
    return publish_motion(tmp_path / "out", [random_poses(FRAMES), late])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Runs a command that fails; returns its line."""
    assert main(arguments) == code
    written = capsys.readouterr()
    assert written.out == "" and len(written.err.splitlines()) == 1
    return written.err


def test_glb_has_everybody(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1"]) == 0
    path = out.parent / "clip-1.glb"
    assert capsys.readouterr().out == f"{path}: 2 people, {2 * FRAMES - 2} poses, 0.25 s\n"
    glb = Glb(path.read_bytes())
    assert [mesh["name"] for mesh in glb.document["meshes"]] == ["person-0-body", "person-1-body"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_is_called_after_the_name_of_the_session(out: Path) -> None:
    with SessionDirectory(PublishConfig(out)) as directory:
        assert directory.change(1, name="Tanz: im Park / 2")
    assert main(["1"]) == 0 and Path("Tanz_ im Park _ 2-1.glb").is_file()


def test_part_and_person_of_the_only_session(out: Path) -> None:
    assert main([str(out), "--person", "1", "--output", "second.glb"]) == 0
    assert [mesh["name"] for mesh in Glb(Path("second.glb").read_bytes()).document["meshes"]] == ["person-1-body"]
    assert main(["1", "--person", "0", "--from", "0.1", "--to", "0.2", "--output", "part.glb"]) == 0
    np.testing.assert_allclose(Glb(Path("part.glb").read_bytes()).key_times_s(), [0.0, 0.05, 0.1], atol=1e-6)


@pytest.mark.parametrize("timely", [True, False])
@pytest.mark.parametrize("mesh_format", ["glb", "obj"])
def test_animation_knows_whether_labels_are_timely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timely: bool, mesh_format: str
) -> None:
    found = list[bool]()

    def noting(characters: Sequence[Character]) -> tuple[list[Character], Placement]:
        found.extend(character.timely for character in characters)
        return grounded(characters)

    monkeypatch.setattr("receiver.export.session_export.grounded", noting)
    out = publish_motion(tmp_path / "out", [random_poses(FRAMES)], timely=timely)
    assert main([str(out), "--format", mesh_format, "--output", str(tmp_path / "walk")]) == 0
    assert found == [timely]


def test_usdz_is_a_package(out: Path) -> None:
    pytest.importorskip("pxr.UsdSkel", reason="usd-core is not installed: pip install 'bodywire[usd]'")
    assert main(["1", "--format", "usdz"]) == 0
    assert Path("clip-1.usdz").read_bytes()[:2] == b"PK"


def test_bvh_has_a_file_for_each_person(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["1", "--format", "bvh", "--output", "walk.bvh"]) == 0
    assert sorted(path.name for path in out.parent.glob("*.bvh")) == ["walk-p0.bvh", "walk-p1.bvh"]
    assert len(Bvh(Path("walk-p0.bvh").read_text()).values) == FRAMES
    assert "walk-p1.bvh: 1 person, 4 poses, 0.25 s, there from 0.10 to 0.25 s\n" in capsys.readouterr().out
    assert main(["1", "--format", "bvh", "--person", "0", "--from", "0.15"]) == 0
    part = Bvh(Path("clip-1-p0.bvh").read_text())
    assert part.frame_time_s == pytest.approx(0.05) and len(part.values) == FRAMES - 3


@pytest.mark.parametrize("mesh_format", ["obj", "ply"])
def test_sequence_has_the_published_vertices_above_the_floor(out: Path, mesh_format: str) -> None:
    assert main(["1", "--format", mesh_format, "--output", "walk"]) == 0
    lowest_m: list[float] = []
    raised_m: list[float] = []
    for person, first in ((0, 0), (1, 2)):
        folder = out.parent / f"walk-p{person}"
        names = {number: f"frame-{number:06d}.{mesh_format}" for number in range(first, FRAMES)}
        assert sorted(path.name for path in folder.iterdir()) == [*names.values(), "times.csv"]
        rows = [f"{number},{STEP_S * number:.6f},{name}" for number, name in names.items()]
        assert (folder / "times.csv").read_text().splitlines() == ["number,seconds,file", *rows]
        for number, name in names.items():
            published = read_body(out / f"meshes/{number:06d}-p{person}.body.gltf").mesh
            read = trimesh.load_mesh(folder / name, process=False)
            np.testing.assert_allclose(read.vertices[:, [0, 2]], published.vertices[:, [0, 2]], atol=1e-6)
            np.testing.assert_array_equal(read.faces, published.faces)
            raised_m.extend(read.vertices[:, 1] - published.vertices[:, 1])
            lowest_m.append(read.vertices[:, 1].min())
    assert np.ptp(raised_m) < 1e-5 and abs(np.median(lowest_m)) < 1e-3


@pytest.mark.parametrize("mesh_format", ["glb", "obj"])
def test_damaged_bodies_are_left_out_in_one_line(
    out: Path, capsys: pytest.CaptureFixture[str], mesh_format: str
) -> None:
    (out / "meshes/000001-p0.body.gltf").unlink()
    cut = out / "meshes/000003-p0.body.gltf"
    cut.write_bytes(cut.read_bytes()[:500])
    assert main(["1", "--format", mesh_format, "--person", "0", "--output", "walk"]) == 0
    written = capsys.readouterr()
    assert f"{FRAMES - 2} " in written.out
    assert len(written.err.splitlines()) == 1
    assert f"left out 2 of {FRAMES} bodies" in written.err and "000001-p0.body.gltf" in written.err
    if mesh_format == "glb":
        np.testing.assert_allclose(Glb(Path("walk.glb").read_bytes()).key_times_s(), [0.0, 0.1, 0.2, 0.25], atol=1e-6)


@pytest.mark.parametrize("mesh_format", ["glb", "bvh", "obj"])
def test_clock_that_was_set_is_bridged_in_one_line(
    out: Path, capsys: pytest.CaptureFixture[str], mesh_format: str
) -> None:
    path = out / "frames.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record["captured_at"] += 259_200.0 * (record["seq"] >= 2) - 31_536_000.0 * (record["seq"] >= 4)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["1", "--format", mesh_format, "--person", "0", "--output", "walk"]) == 0
    written = capsys.readouterr()
    set_line = (
        "receiver export: the sender's clock was set 2 times, at most by -31536000 s: the times go on as before\n"
    )
    assert written.err == set_line
    if mesh_format == "glb":
        np.testing.assert_allclose(
            Glb(Path("walk.glb").read_bytes()).key_times_s(), np.arange(FRAMES) * STEP_S, atol=1e-5
        )


def test_bodies_without_a_mesh_are_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (out / "meshes").glob("*-p0.body.gltf"):
        path.write_bytes(path.read_bytes().replace(b"WEIGHTS_0", b"WEIGHTS_9"))
    assert "can be read: cannot read a skinned body from" in refused(capsys, "1", "--person", "0")


def test_existing_file_is_kept_without_force(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("clip-1.glb").write_text("mine")
    assert "give --force" in refused(capsys, "1")
    assert Path("clip-1.glb").read_text() == "mine"
    assert main(["1", "--force"]) == 0
    assert Path("clip-1.glb").read_bytes()[:4] == b"glTF"


def test_existing_folder_is_replaced_if_it_is_a_sequence(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("1", "--format", "obj", "--person", "0", "--output", "walk")
    assert main(command) == 0
    assert main((*command, "--from", "0.1", "--to", "0.15", "--force")) == 0
    assert sorted(path.name for path in Path("walk").iterdir()) == ["frame-000002.obj", "frame-000003.obj", "times.csv"]
    capsys.readouterr()
    assert "give --force" in refused(capsys, *command)
    Path("walk/thesis.tex").touch()
    assert "has other files" in refused(capsys, *command, "--force")
    assert Path("walk/frame-000002.obj").is_file()


@pytest.mark.parametrize(("mesh_format", "written"), [("glb", "x.glb"), ("bvh", "x-p0.bvh"), ("ply", "x-p0")])
def test_others_are_exported_without_somebody_whose_bodies_are_lost(
    out: Path, capsys: pytest.CaptureFixture[str], mesh_format: str, written: str
) -> None:
    for path in (out / "meshes").glob("*-p1.body.gltf"):
        path.unlink()
    assert main(["1", "--format", mesh_format, "--output", "x"]) == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["out", written]
    assert f"left out 4 of {2 * FRAMES - 2} bodies (cannot read" in capsys.readouterr().err


def test_nothing_is_left_of_a_failed_export(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (out / "meshes").glob("*-p1.body.gltf"):
        path.write_bytes(b"")
    for mesh_format in ("glb", "bvh", "obj"):
        assert "can be read" in refused(capsys, "1", "--person", "1", "--format", mesh_format, "--output", "x")
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["7"], "has no session 7; it has the sessions 1"),
        (["0"], "has no session 0"),
        (["elsewhere"], "neither the number of a session nor a directory"),
        (["1", "--out", "elsewhere"], "is no output of a receiver"),
        (["1", "--person", "5"], "nobody with the id 5; it has 0, 1"),
        (["1", "--from", "2", "--to", "1"], "--from 2 is not before --to 1"),
        (["1", "--from", "60"], "no body between"),
        (["1", "--from", "-1"], "--from"),
        (["1", "--to", "nan"], "--to"),
        (["1", "--format", "fbx"], "--format"),
        (["1", "--format", "obj", "--in-place"], "--in-place is not for --format obj"),
        (["1", "--shape", "height=tall"], "no change such as"),
        (["1", "--shape", "weight=+١kg"], "no change such as"),
        (["1", "--shape", "height=+5kg"], "no change such as"),
        (["1", "--shape", "height=+5cm", "--shape", "height=+5cm"], "changed twice"),
        (["1", "--shape", "height=+5cm", "--format", "obj"], "--shape is not for --format obj"),
        (["1", "--shape", "height=+5cm"], "another body model"),
        (["1", "--wear", "sleeve=wide"], "--wear: sleeve is one of bare, sleeveless, short, long, not 'wide'"),
        (["1", "--wear", "kilt"], "give, for example, sleeve=short"),
        (["1", "--wear", "kilt=long"], "'kilt' cannot be worn: give one of hair, headwear, sleeve, layer, bottom"),
        (["1", "--wear", "sleeve=short", "--wear", "sleeve=long"], "sleeve is given twice"),
        (["1", "--wear", "sleeve=short", "--format", "obj"], "--wear is not for --format obj"),
        (["1", "--wear", "sleeve=short", "--format", "bvh"], "--wear is not for --format bvh, which has no mesh"),
        (["1", "--wear", "sleeve=short"], "another body model"),
        (["1", "--tint", "top=blue"], "give PART=#RRGGBB"),
        (["1", "--tint", "top=#36"], "give PART=#RRGGBB"),
        (["1", "--tint", "hat=#336699"], "the parts are skin, hair, top, bottom, shoes"),
        (["1", "--tint", "top=#336699", "--tint", "top=#111111"], "top is coloured twice"),
        (["1", "--tint", "top=#336699", "--format", "ply"], "--tint is not for --format ply"),
        (["1", "--tint", "top=#336699"], "another body model"),
        ([], "SESSION"),
        (["1", "--forc"], "unrecognized arguments"),
    ],
)
def test_refusals(out: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert words in refused(capsys, *arguments)
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


@pytest.mark.parametrize(
    ("arguments", "folder", "written"),
    [
        (["--format", "glb"], "takes/", ["clip-1.glb"]),
        (["--format", "bvh"], "takes", ["clip-1-p0.bvh", "clip-1-p1.bvh"]),
        (["--format", "bvh", "--person", "1"], "link", ["clip-1-p1.bvh"]),
        (["--format", "obj"], "takes/../takes", ["clip-1-p0-obj", "clip-1-p1-obj"]),
        (["--format", "ply", "--person", "0"], "{}/takes", ["clip-1-p0-ply"]),
    ],
)
def test_folder_takes_the_files(out: Path, arguments: list[str], folder: str, written: list[str]) -> None:
    (out.parent / "takes").mkdir()
    (out.parent / "takes/thesis.tex").touch()
    (out.parent / "link").symlink_to("takes")
    assert main(["1", *arguments, "--output", folder.format(out.parent)]) == 0
    assert sorted(path.name for path in Path("takes").iterdir()) == [*written, "thesis.tex"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["link", "out", "takes"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/walk.{0}", "there is no folder"),
        ("missing/", "there is no folder"),
        ("file.{0}/walk.{0}", "there is no folder"),
        ("walk.txt", "is no name of a {0} file: give --output walk.{0}"),
        ("walk.ply", "is no name of a {0} file: give --format ply"),
        ("pipe.{0}", "is no regular file"),
        ("file.{0}", "give --force"),
        ("file", "give --force"),
        ("bare", "exists, and is no {0} file"),
        ("/dev/null", "exists, and is no {0} file"),
    ],
)
@pytest.mark.parametrize("mesh_format", ["glb", "bvh"])
def test_wrong_output_is_refused_before_the_session_is_looked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: str,
    words: str,
    mesh_format: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"file.{mesh_format}").touch()
    Path("bare").touch()
    os.mkfifo(f"pipe.{mesh_format}")
    command = ("7", "--format", mesh_format, "--person", "0", "--output", output.format(mesh_format))
    assert words.format(mesh_format) in refused(capsys, *command)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("walk.glb", "writes a folder: give --output walk"),
        ("file", "is no folder"),
        ("missing/walk", "there is no folder"),
    ],
)
def test_wrong_folder_of_a_sequence_is_refused_before_the_session_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert words in refused(capsys, "7", "--format", "obj", "--output", output)


@pytest.mark.parametrize("output", ["/proc/session.glb", "/proc/", f"{'x' * 250}.glb"])
def test_unwritable_folder_is_reported_before_the_session_is_looked_for(
    capsys: pytest.CaptureFixture[str], output: str
) -> None:
    line = refused(capsys, "7", "--output", output, code=5)
    assert f"cannot write {output[:5]}" in line.replace(f"{Path.cwd()}/", "") and "--output" in line


def test_meshes_of_several_people_do_not_go_beside_a_folder_of_one(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("1", "--format", "obj", "--output", "walk", "--force")
    assert main((*command, "--person", "0")) == 0
    capsys.readouterr()
    assert "has the meshes of one person, these are 2" in refused(capsys, *command)
    assert not Path("walk-p0").exists()


def test_bvh_of_who_comes_late_begins_with_them(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = out / "frames.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records[2:]:
        record["captured_at"] += 261.0
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main(["1", "--format", "bvh"]) == 0
    late = Bvh(Path("clip-1-p1-frame-5222.bvh").read_text())
    assert len(late.values) == FRAMES - 2 and late.frame_time_s == pytest.approx(STEP_S)
    assert len(Bvh(Path("clip-1-p0.bvh").read_text()).values) == 5222 + FRAMES - 2
    assert "begins with frame 5222, at 261.10 s" in capsys.readouterr().out
    assert main(["1", "--format", "bvh", "--person", "1", "--output", "alone.bvh"]) == 0
    assert len(Bvh(Path("alone.bvh").read_text()).values) == FRAMES - 2


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--help"])
    assert exited.value.code == 0
    written = capsys.readouterr().out
    assert "examples:" in written
    unwrapped = "".join(written.split())
    assert [name for name in VALUES if name not in unwrapped] == []
