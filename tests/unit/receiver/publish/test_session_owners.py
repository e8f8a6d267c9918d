"""Owners of sessions on disk: recorded before any frame, kept over restarts and kills, never given away."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from common.errors import OutputError
from receiver.config import PublishConfig
from receiver.link.refusals import NotOwner, SessionOwner
from receiver.publish.session_directory import SessionDirectory
from tests.support.receiver.published_session import frame_record

ALICE = SessionOwner.from_secret("token:alice", b"her secret")
BOB = SessionOwner.from_secret("token:bob", b"his secret")
ALICE_WITHOUT_SECRET = SessionOwner.from_secret("token:alice", b"a guess")


def _records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "sessions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("thief", [BOB, ALICE_WITHOUT_SECRET, SessionOwner.from_secret("", b"her secret")])
@pytest.mark.parametrize("restarted", [False, True])
def test_session_of_another_owner(tmp_path: Path, thief: SessionOwner, restarted: bool) -> None:
    directory = SessionDirectory(PublishConfig(tmp_path))
    directory.session("a", ALICE).append(frame_record(7))
    if restarted:
        directory.close()
        directory = SessionDirectory(PublishConfig(tmp_path))
    with directory:
        with pytest.raises(NotOwner) as refused:
            directory.session("a", thief)
        assert refused.value.detail == "session 1 belongs to another sender"
        assert directory.session("a", ALICE).last_sequence == 7
        assert directory.session("b", thief).number == 2


def test_owner_is_on_disk_before_the_session_has_a_writer(tmp_path: Path) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("a", ALICE)
        # As after kill -9: a copy of what the operating system has now.
        shutil.copytree(tmp_path, tmp_path / "copy")
    with SessionDirectory(PublishConfig(tmp_path / "copy")) as directory, pytest.raises(NotOwner):
        directory.session("a", BOB)


def test_record_that_cannot_be_written_begins_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
        with pytest.raises(OutputError):
            directory.session("a", ALICE)
        monkeypatch.undo()
        assert directory.session("a", BOB).number == 1
    assert [record["owner"] for record in _records(tmp_path)] == ["token:bob"]


def test_every_truncation_of_the_records_keeps_the_complete_ones(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with SessionDirectory(PublishConfig(out)) as directory:
        for name, owner in (("a", ALICE), ("b", BOB)):
            directory.session(name, owner)
    content = (out / "sessions.jsonl").read_bytes()
    first = content.index(b"\n") + 1
    for size in range(first, len(content) + 1, 7):
        (out / "sessions.jsonl").write_bytes(content[:size])
        with SessionDirectory(PublishConfig(out)) as directory, pytest.raises(NotOwner):
            directory.session("a", BOB)


def test_session_whose_record_is_lost_cannot_be_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        directory.session("a", ALICE).append(frame_record(0))
        directory.session("b", ALICE).append(frame_record(0))
    records = (tmp_path / "sessions.jsonl").read_bytes()
    (tmp_path / "sessions.jsonl").write_bytes(records.replace(b'"a"', b'"\xff"'))
    with SessionDirectory(PublishConfig(tmp_path)) as directory:
        assert "damaged line" in caplog.text
        # Bob knows the id, from a copy of index.json for example.
        stolen = directory.session("a", BOB)
        assert (stolen.number, stolen.last_sequence) == (3, -1)
        assert directory.session("b", ALICE).number == 2


def test_records_are_private_and_the_index_has_no_secrets(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with SessionDirectory(PublishConfig(out, share_output=True)) as directory:
        directory.session("a", ALICE)
    assert stat.S_IMODE((out / "sessions.jsonl").stat().st_mode) == 0o600
    assert ALICE.secret_sha256.hex() not in (out / "index.json").read_text()
    (out / "sessions.jsonl").chmod(0o644)
    SessionDirectory(PublishConfig(out, share_output=True)).close()
    assert stat.S_IMODE((out / "sessions.jsonl").stat().st_mode) == 0o600
