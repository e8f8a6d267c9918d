"""Kills: that a fault of complete delivery would be noticed."""

import builtins
import io
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from common.io.atomic_write import atomic_write
from tests.bench.campaigns.kills import CONDITIONS, episodes
from tests.netlab.faults.audit import Faults, audit, records_in, rows_in
from tests.netlab.faults.durable_receiver import BUGS
from tests.netlab.faults.durable_sender import captured_at
from tests.netlab.faults.volatile_disk import Fault, FaultyDisk, Meter, forget

CALLS = ("open", "write", "fsync", "ftruncate", "replace", "rename", "unlink", "remove")
CORRECT = [(sequence, captured_at(sequence)) for sequence in range(5)]


@pytest.mark.parametrize(
    ("records", "faults"),
    [
        (CORRECT, Faults()),
        ([*CORRECT, (5, captured_at(5))], Faults()),
        (CORRECT[:2] + CORRECT[3:], Faults(lost=[2])),
        ([*CORRECT[:3], *CORRECT[2:]], Faults(doubled=[2])),
        ([*CORRECT, *CORRECT[3:]], Faults(doubled=[3, 4], misplaced=[3])),
        ([CORRECT[1], CORRECT[0], *CORRECT[2:]], Faults(misplaced=[0])),
        ([(0, captured_at(1)), *CORRECT[1:]], Faults(wrong=[0])),
    ],
)
def test_audit_of_one_receiver(records: list[tuple[int, float]], faults: Faults) -> None:
    assert audit(range(5), records) == faults
    assert any(faults.counts()) == (faults != Faults())


def test_audit_of_several_receivers_and_of_what_they_wrote(tmp_path: Path) -> None:
    assert audit(range(5), [CORRECT[0], CORRECT[4]], CORRECT[1:4]) == Faults()
    assert audit(range(5), CORRECT[:3], CORRECT[2:]) == Faults(doubled=[2])
    assert records_in(tmp_path, "ab") == []
    (tmp_path / "sessions.jsonl").write_text('{"session":1,"id":"ab"}\n{"session":2,"id":"cd"}\n')
    lines = [
        '{"session":1,"seq":0,"captured_at":1.5}',
        '{"session":2,"seq":7,"captured_at":1.5}',
        '{"session":1,"seq":1,"captured_at":1.6,"people":[{"surface":"meshes/000001.glb"}]}',
        '{"sess{"session":1,"seq":2,"captured_at":1.7}',
    ]
    (tmp_path / "frames.jsonl").write_text("\n".join(lines) + '\n{"seq":1,"capt')
    assert records_in(tmp_path, "ab") == [(0, 1.5), (1, -1.0), (-1, -1.0)]


def test_every_call_is_tried_once_under_each_condition() -> None:
    keys = [episode.key for episode in episodes(2, 1)]
    assert len(set(keys)) == len(keys)
    assert {f"{end} {condition} kill 3 1" for end in ("receiver", "sender") for condition in CONDITIONS} < set(keys)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two files that are synced, on a disk that is full at its eleventh call."""
    for module, names in ((os, CALLS), (builtins, ["open"]), (io, ["open"])):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    files, journal = tmp_path / "files", tmp_path / "journal"
    for folder in (files, journal):
        folder.mkdir()
    FaultyDisk(files, journal, Meter(journal, Fault("full", 11))).install()
    atomic_write(files / "index", b"old")
    (files / "log").write_bytes(b"a\n")
    for name in ("log", "."):
        sync(files / name)
    return files


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_not_synced_is_forgotten_after_a_loss_of_power(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (disk / "log").open("ab") as file:
        file.write(b"b\n")
    os.replace(disk / "log", disk / "index")
    assert contents(disk) == {"index": b"a\nb\n"}
    monkeypatch.undo()
    forget(tmp_path / "journal", "all", Random(0))
    assert contents(disk) == {"index": b"old", "log": b"a\n"}


def test_full_disk_writes_half_and_then_nothing(disk: Path, tmp_path: Path) -> None:
    with (disk / "log").open("ab", buffering=0) as file:
        file.write(b"b\n")
        file.write(b"b\n")
        with pytest.raises(OSError, match="No space left"):
            file.write(b"cccc\n")
    with pytest.raises(OSError, match="No space left"):
        atomic_write(disk / "index", b"new")
    assert contents(disk) == {"index": b"old", "log": b"a\nb\nb\ncc"}
    assert (tmp_path / "journal" / "died").read_text().endswith(" write")


@pytest.mark.slow
def test_kills_lose_nothing_and_deliberate_bugs_are_found(tmp_path: Path) -> None:
    def kills(most: int, *flags: str) -> tuple[int, str, int]:
        state = tmp_path / "-".join(("state", *flags))
        command = [sys.executable, "-m", "tests.bench.kills", "--kills", str(most), "--state", str(state), *flags]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
        rows = rows_in(state)
        # Episodes that run beside the one with the fault end after it.
        until = next((number for number, row in enumerate(rows, 1) if row["failure"]), len(rows))
        return done.returncode, done.stderr, sum(row["kills"] for row in rows[:until])

    code, errors, done = kills(200)
    assert code == 0 and done >= 200, errors
    for bug in BUGS:
        code, errors, done = kills(200, "--bug", bug)
        assert code == 1 and "lost" in errors and done <= 250
