"""The output directory: numbering, crash recovery, durability, bad directories."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import OutputError
from receiver.config import PublishConfig
from receiver.mesh.body_file import read_mesh
from receiver.mesh.triangle_mesh import is_watertight
from receiver.publish.frame_record import PersonRecord
from receiver.publish.session_directory import SessionDirectory
from receiver.web.library.api import SessionShown
from receiver.web.library.service import RecordedFrames
from tests.support.meshes.posed_body import box, posed_box
from tests.support.receiver.published_session import OWNER, frame_record


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def _index(out: Path) -> list[dict[str, Any]]:
    sessions = json.loads((out / "index.json").read_text())["sessions"]
    assert all(entry.pop("statistics", not entry["frames"]) for entry in sessions)
    return list(sessions)


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("frames.jsonl", "[" * 100_000),
        ("frames.jsonl", '{"seq":1,"session":' + "9" * 5000 + "}"),
        ("frames.jsonl", '{"seq":1,"session":1000000000,"people":[]}'),
        ("frames.jsonl", '{"seq":1e999,"session":1,"people":[]}'),
        ("frames.jsonl", '{"seq":7,"session":1,"captured_at":' + "9" * 400 + ',"people":null,"age_ms":1e999}'),
        ("sessions.jsonl", "[" * 100_000),
        ("sessions.jsonl", '{"session":1,"id":"x","owner":"","secret_sha256":"","hidden":[[1]]}'),
        ("sessions.jsonl", '{"session":1e999,"deleted":true}'),
        ("index.json", "[" * 100_000),
        ("index.json", '{"version":2,"frames_bytes":0,"sessions":[{"session":1,"frames":1,"last_seq":"x"}]}'),
        *(
            ("index.json", f'{{"version":2,"frames_bytes":FRAMES,"sessions":[{{"session":1,"frames":1,"last_seq":1,'
             f'"statistics":{{{forged}}}}}]}}')
            for forged in ('"began_at":1e300', '"disk_bytes":1e999', '"source":7', '"label_bytes":NaN')
        ),
    ],
)  # fmt: skip
def test_copied_output_with_forged_records_is_opened_listed_and_deleted(tmp_path: Path, name: str, forged: str) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("first", OWNER).append(frame_record(0))
    path = tmp_path / name
    forged = forged.replace("FRAMES", str((tmp_path / "frames.jsonl").stat().st_size))
    path.write_text(forged if name == "index.json" else path.read_text() + forged + "\n")
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        for state in directory.sessions():
            SessionShown.from_state(state, connected=False, may_change=True).model_dump_json()
            for line in RecordedFrames(tmp_path).page(state.number, -1, 100):
                json.loads(line, parse_constant=pytest.fail)
        assert directory.session("second", OWNER).append(frame_record(0))
        directory.delete([1])
        assert [state.number for state in directory.sessions()] == [2]


@pytest.mark.parametrize("name", ["frames.jsonl", "sessions.jsonl", "index.json"])
def test_pipe_in_the_place_of_a_record_does_not_block(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    if name == "index.json":
        SessionDirectory(PublishConfig(tmp_path)).close()
        return
    with pytest.raises(OutputError, match="not a regular file"):
        SessionDirectory(PublishConfig(tmp_path))


@pytest.mark.parametrize("mesh_format", ["glb", "obj", "ply"])
def test_session_writes_numbered_meshes_and_lines(tmp_path: Path, mesh_format: str) -> None:
    body, skeleton = posed_box()
    with SessionDirectory(PublishConfig(tmp_path / "a" / "out", mesh_format)) as directory:  # type: ignore[arg-type]
        session = directory.session("first", OWNER)
        assert session.write_surface(123, box()) == f"meshes/000123.{mesh_format}"
        ending = "gltf" if mesh_format == "glb" else mesh_format
        assert session.write_body(123, body, skeleton) == f"meshes/000123.body.{ending}"
        assert session.write_surface(124, box(), person=2) == f"meshes/000124-p2.{mesh_format}"
        assert session.append(frame_record(123))
    out = tmp_path / "a" / "out"
    assert [(line["session"], line["seq"]) for line in _lines(out)] == [(1, 123)]
    assert _index(out) == [{"session": 1, "id": "first", "frames": 1, "last_seq": 123}]
    written = {path for path in (out / "meshes").iterdir() if path.suffix != ".bin"}
    for path in written:
        read = read_mesh(path)
        assert is_watertight(read.faces, len(read.vertices))
    assert len(written) == 3


def test_append_writes_a_frame_once(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        session = directory.session("a", OWNER)
        assert [session.append(frame_record(n)) for n in (0, 1, 1, 0, 4)] == [True, True, False, False, True]
        assert session.last_sequence == 4
    assert [line["seq"] for line in _lines(tmp_path)] == [0, 1, 4]


def test_reopening_keeps_whether_labels_are_timely(tmp_path: Path) -> None:
    def timely() -> list[bool]:
        with SessionDirectory(PublishConfig(tmp_path)) as directory:
            return [state.timely for state in directory.sessions()]

    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("a", OWNER, timely=True)
        directory.session("b", OWNER)
    assert timely() == [True, False]
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("a", OWNER)
        directory.session("b", OWNER, timely=True)
        assert directory.change(1, name="Walk")
    assert timely() == [True, False], "a session stays what it was when it began"


def test_people_who_were_taken_out_stay_out_until_they_are_brought_back(tmp_path: Path) -> None:
    changes: list[tuple[Sequence[int] | None, str | None]] = [((7, 2, 7), None), (None, "Walk"), ((), None)]
    for (hidden, name), kept in zip(changes, [("", (2, 7)), ("Walk", (2, 7)), ("Walk", ())], strict=True):
        with SessionDirectory(PublishConfig(tmp_path)) as directory:
            directory.session("a", OWNER).append(frame_record(0))
            lines = (tmp_path / "frames.jsonl").read_bytes()
            assert directory.change(1, name=name, hidden=hidden)
            assert (tmp_path / "frames.jsonl").read_bytes() == lines
        with SessionDirectory(PublishConfig(tmp_path)) as directory:
            (state,) = directory.sessions()
            assert (state.name, state.hidden) == kept


def test_older_records_have_delayed_labels(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("a", OWNER, timely=True)
    path = tmp_path / "sessions.jsonl"
    record = json.loads(path.read_text())
    assert record.pop("timely")
    path.write_text(json.dumps(record) + "\n")
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        assert not directory.sessions()[0].timely
        assert directory.session("a", OWNER).number == 1


def test_reopening_removes_an_incomplete_line(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_bytes(b'{"seq":0')
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        for n in range(3):
            directory.session("a", OWNER).append(frame_record(n))
    with open(tmp_path / "frames.jsonl", "ab") as file:
        file.write(b'{"seq":3,"session":1,"people":[' + b"x" * 100_000)
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        assert directory.session("a", OWNER).append(frame_record(3))
    assert [line["seq"] for line in _lines(tmp_path)] == [0, 1, 2, 3]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"sessions": [{}]}', b"\xff\xfe"])
def test_reopening_with_a_damaged_index_rebuilds_it(tmp_path: Path, damaged: bytes) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        for n in range(3):
            directory.session("a", OWNER).append(frame_record(n))
    (tmp_path / "index.json").write_bytes(damaged)
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        assert directory.session("b", OWNER).number == 2
    assert [(s["session"], s["frames"], s["last_seq"]) for s in _index(tmp_path)] == [(1, 3, 2), (2, 0, -1)]


def test_reopening_after_frames_were_deleted_counts_again(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        for n in range(3):
            directory.session("a", OWNER).append(frame_record(n))
    (tmp_path / "frames.jsonl").unlink()
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        assert directory.session("a", OWNER).last_sequence == -1


def test_two_receivers_cannot_share_a_directory(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(tmp_path)), pytest.raises(OutputError, match="another receiver"):
        SessionDirectory(PublishConfig(tmp_path))
    SessionDirectory(PublishConfig(tmp_path)).close()


def test_directory_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OutputError, match="choose another --out"):
        SessionDirectory(PublishConfig(tmp_path / "file" / "out"))
    with pytest.raises(OutputError, match="choose another --out"):
        SessionDirectory(PublishConfig(tmp_path / "file"))


@pytest.mark.parametrize(
    ("durable", "calls"),
    [
        (False, ["write frames.jsonl"]),
        (True, ["sync meshes", "write frames.jsonl", "sync frames.jsonl"]),
    ],
)
def test_durable_append_syncs_meshes_then_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, calls: list[str]
) -> None:
    seen: list[str] = []
    write, sync = os.write, os.fsync

    def name(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    def seen_write(descriptor: int, data: bytes) -> int:
        seen.append(f"write {name(descriptor)}")
        return write(descriptor, data)

    def seen_sync(descriptor: int) -> None:
        seen.append(f"sync {name(descriptor)}")
        sync(descriptor)

    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        session = directory.session("a", OWNER, durable=durable)
        nowhere = np.zeros((17, 3), np.float32)
        person = PersonRecord(0, 1.0, nowhere, nowhere, session.write_surface(0, box()), None)
        monkeypatch.setattr(os, "write", seen_write)
        monkeypatch.setattr(os, "fsync", seen_sync)
        session.append(replace(frame_record(0), people=(person,)))
        assert seen == calls
        monkeypatch.undo()


def test_record_of_a_durable_session_is_synced_when_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("a", OWNER)
        synced: list[str] = []
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
        directory.session("b", OWNER, durable=True)
        assert synced == [str(tmp_path / "sessions.jsonl")]
        monkeypatch.undo()
