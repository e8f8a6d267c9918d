"""The campaign with tiny pieces: killed in the middle, continued, and with planted faults."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from common.codec import frame_codec
from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.errors import UsageError, WireError
from tests.bench.campaign.__main__ import main
from tests.bench.campaign.journal import Journal, Piece, figures, slope, thinned
from tests.bench.campaign.links import recoveries_s
from tests.bench.campaign.packets import attack


def rows(state: Path) -> list[dict[str, Any]]:
    journal = state / "pieces.jsonl"
    text = journal.read_text(encoding="utf-8") if journal.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def killed(flags: list[str], state: Path, until: str) -> None:
    """Runs a campaign and kills it when this matches a path in its folder."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.campaign", *flags], stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(state.glob(until)):
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.slow
def test_killed_campaign_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    flags = ["--state", str(state), "--parts", "packets", "--piece", "packets=1", "--whole", "packets=60000"]
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.campaign", *flags], stderr=subprocess.DEVNULL)
    while process.poll() is None and len(rows(state)) < 2:
        time.sleep(0.01)
    assert main(flags) == 2, "one folder, two campaigns"
    process.kill()
    process.wait()
    before = rows(state)
    with open(state / "pieces.jsonl", "a", encoding="utf-8") as file:
        file.write('{"part": "packets", "do')
    elsewhere = tempfile.gettempdir()
    assert main(flags) == 0
    assert tempfile.gettempdir() == elsewhere
    after = rows(state)
    assert 2 <= len(before) < len(after) and after[: len(before)] == before
    assert [row["seed"] for row in after] == [f"1 packets {number}" for number in range(len(after))]
    assert sum(row["done"] for row in after[:-1]) < 60_000 <= sum(row["done"] for row in after)
    capsys.readouterr()
    assert main([*flags, "--hours", "0"]) == 0
    assert f"| {len(after)} " in capsys.readouterr().out
    assert rows(state) == after


@pytest.mark.slow
def test_processes_of_a_killed_campaign_end_and_kills_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    flags = ["--state", str(state), "--parts", "kills", "--piece", "kills=2", "--whole", "kills=4"]
    killed(flags, state, "scratch/*/sender-0/ledger")
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s and any(str(state) in line for line in command_lines()):
        time.sleep(0.1)
    assert not any(str(state) in line for line in command_lines())
    assert main(flags) == 0
    assert figures(rows(state))["lost"] == 0
    assert main([*flags[:-2], "--piece", "kills=20", "--whole", "kills=9", "--bug", "no-deduplication"]) == 1
    assert "duplicated" in capsys.readouterr().err


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_parts_with_links_lose_nothing(tmp_path: Path) -> None:
    sizes = ["soak=0.05", "mtls=3", "reconnect=8"]
    parts = [size.partition("=")[0] for size in sizes]
    flags = ["--state", str(tmp_path / "state"), "--parts", *parts, "--piece", *sizes, "--whole", *sizes]
    assert main([*flags, "--senders", "3"]) == 0
    found = {name: figures([row for row in rows(tmp_path / "state") if row["part"] == name]) for name in parts}
    assert found["soak"]["link_sent"] > 100 and found["soak"]["reconstruction_rss_kb_median"] > 100_000
    assert found["mtls"]["sent"] > 30 and found["mtls"]["lost"] == 0 and found["mtls"]["handshake_ms_p99"] > 0
    assert found["reconnect"]["lost"] == 0 and found["reconnect"]["first_acknowledged_ms_p99"] > 0


@pytest.mark.slow
def test_planted_faults_of_the_decoder_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = FrameCodec.decode

    def forgets(self: FrameCodec, payload: bytes, sequence: int) -> DecodedFrame:
        try:
            return decode(self, payload, sequence)
        except WireError:
            self._received.clear()
            raise

    def raises(self: FrameCodec, payload: bytes, sequence: int) -> DecodedFrame:
        if payload[:1] == b"\xff":
            raise KeyError(sequence)
        return decode(self, payload, sequence)

    assert not attack(1, "right").faults
    for fault, sentence in ((forgets, "is refused"), (raises, "KeyError")):
        monkeypatch.setattr(FrameCodec, "decode", fault)
        assert any(sentence in found for found in attack(1, "planted").faults)
        monkeypatch.setattr(FrameCodec, "decode", decode)
    monkeypatch.setattr(frame_codec, "verify", lambda *_: None)
    assert "passed the check" in attack(1, "planted").faults[-1]


def test_figures_of_all_pieces(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        with pytest.raises(UsageError, match="another campaign"):
            Journal(tmp_path)
        for process in (1.0, 2.0):
            line = [(process, minute, 100 * process + minute / 6) for minute in range(1, 30)]
            journal.append("soak", Piece(1, {"sent": 5}, {"age": [1.0, 3.0]}, {"rss": line}))
        found = figures(journal.rows("soak"))
    assert found["sent"] == 10 and found["age_p50"] == 2 and found["age_p100"] == 3
    assert found["rss_per_hour"] == pytest.approx(10) and found["rss_per_hour_error"] == pytest.approx(0, abs=1e-9)
    assert slope([(1.0, 7.0, 1.0)]) != slope([(1.0, 7.0, 1.0)]), "no line through one point"
    assert thinned(range(5001))[500] == 2500 and thinned([1.0, 2.0]) == [1.0, 2.0]


def test_recovery_begins_with_the_handshake_behind_the_cut() -> None:
    assert recoveries_s([10.0, 20.0], [1.0, 10.5, 20.2], [9.0, 10.01, 10.7, 20.1, 20.3]) == pytest.approx([0.7, 0.3])
    assert recoveries_s([10.0], [1.0], [10.1]) == []
