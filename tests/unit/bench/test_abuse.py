"""The campaign of attacks: what it counts, and that it would notice a fault."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from common.io.addresses import Address
from tests.bench.abuse import testbed
from tests.bench.abuse.attacker import FAMILIES, Attacker
from tests.bench.abuse.campaign import ALL, GROUPS
from tests.bench.abuse.outcome import Entry, Journal, Outcome, Result, findings, result_of, table
from tests.bench.abuse.supervision import Watched
from tests.bench.abuse.testbed import Sample
from tests.bench.abuse.verdict import by_group, durable_faults, growth, is_flat, live_frames, moment, read_lines
from tests.bench.ledger import Faults
from tests.netlab.durable_sender import captured_at
from tests.netlab.hostile_client import StreamEnded, Target

TARGET = Target(Address("127.0.0.1", 9), bytes(8), Path("ca.pem"), {"mallory": "secret"}, Path("out"))


def test_outcome_of_a_stream_by_its_status() -> None:
    for code, reason, outcome in (
        ("INVALID_ARGUMENT", "", Outcome.REFUSED),
        ("UNKNOWN", "Unexpected <class 'KeyError'>", Outcome.UNHANDLED),
        ("UNAVAILABLE", "", Outcome.ABSENT),
        ("RESOURCE_EXHAUSTED", "full for now", Outcome.ABSENT),
        ("RESOURCE_EXHAUSTED", "Received message larger than max", Outcome.REFUSED),
        ("OK", "", Outcome.HARMLESS),
    ):
        assert result_of(StreamEnded(code, reason)).outcome is outcome


def test_journal_counts_by_family_and_ignores_what_did_not_take_place(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for outcome in (Outcome.REFUSED, Outcome.REFUSED, Outcome.WRONG, Outcome.ABSENT):
        journal.write("theft", "steal", "1/2", Result(outcome, "x" * 1000))
    with open(tmp_path / "journal", "a", encoding="utf-8") as file:
        file.write('{"at": 1.0, "fam')
    entries = journal.read()
    row = table(entries)["theft"]
    assert (row["attempts"], row["refused"], row["wrong"], row["hang"]) == (3, 2, 1, 0)
    assert [entry.seed for entry in findings(entries)["theft", "steal"]] == ["1/2"]


def test_attacks_are_decided_by_the_seed_and_all_come_before_one_comes_again(tmp_path: Path) -> None:
    families = list(FAMILIES)
    number = sum(map(len, FAMILIES.values()))

    def order(seed: str) -> list[tuple[str, str]]:
        attacker = Attacker(TARGET, Journal(tmp_path / "journal"), families, seed)
        return list(islice(attacker.choices(), 2 * number))

    assert order("1/0") == order("1/0") != order("1/1")
    assert len(set(order("1/0")[:number])) == len(set(order("1/0")[number:])) == number
    assert tuple(families) == testbed.FAMILIES


def _run(tmp_path: Path, code: str) -> Watched:
    process = Watched("program", ["-c", code], tmp_path)
    assert process.wait(60.0) is not None
    return process


def test_alarms_on_stderr_have_the_cause(tmp_path: Path) -> None:
    alarms = _run(tmp_path, "print('fine')\nraise KeyError('session')").alarms()
    assert [alarm.cause for alarm in alarms] == ["KeyError: 'session'"]
    assert _run(tmp_path, "import os; os.abort()").alarms()[0].cause == "killed by SIGABRT"
    forgotten = "import asyncio\nasync def f(): pass\nf()"
    assert "never awaited" in _run(tmp_path, forgotten).alarms()[0].excerpt
    assert _run(tmp_path, "import sys; sys.exit('receiver: no such file')").alarms() == []


def _event(what: str, seq: int, **more: object) -> str:
    return json.dumps({"what": what, "seq": seq, "at": 0.0, **more}) + "\n"


def _record(seq: int, at: float, source: str = "logged") -> dict[str, object]:
    return {"seq": seq, "session": 1, "source": source, "captured_at": at, "age_ms": 50.0}


def test_frames_of_the_live_sender_that_were_acknowledged_and_not_recorded_are_lost(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # The sender is started again: its numbers begin again.
    runs = [(seq, 100.0 + seq / 2) for seq in range(4)] + [(seq, 200.0 + seq / 2) for seq in range(2)]
    lines = []
    for seq, at in runs:
        lines += [_event("captured", seq, captured_at=at), _event("ended", seq, fate="acknowledged")]
    lines += [_event("captured", 2, captured_at=201.0), _event("ended", 2, fate="superseded")]
    log.write_text("".join(lines) + '{"what": "capt')
    live = live_frames(log, [_record(seq, at + 0.0004) for seq, at in runs])
    assert (live.lost, live.duplicated) == ([], 0)
    assert live.within([(100.0, 102.0)])["fps"] == pytest.approx(2.0)
    live = live_frames(log, [_record(seq, at) for seq, at in [*runs[:5], runs[0]]])
    assert (live.lost, live.duplicated) == ([(1, 200_500)], 1)
    assert live_frames(log, [_record(seq, at, "stolen") for seq, at in runs]).lost == live.acknowledged


def test_live_rate_and_age_beside_each_group_of_attackers(tmp_path: Path) -> None:
    calm = [_record(seq, seq / 2) for seq in range(20)]
    slow = [{**_record(seq, 10.0 + seq), "age_ms": 200.0} for seq in range(10)]
    live = live_frames(tmp_path / "missing", [*calm, *slow])
    siege = {"load": [(10.0, 15.0), (15.0, 20.0)], "blobs": [(20.0, 25.0)]}
    rows = by_group(live, [(0.0, 10.0)], siege)
    assert (rows["calm"]["fps"], rows["calm"]["share"], rows["calm"]["age_p50_ms"]) == (2.0, 1.0, 50.0)
    assert (rows["load"]["fps"], rows["load"]["share"], rows["load"]["age_p95_ms"]) == (1.0, 0.5, 200.0)
    assert rows["blobs"]["share"] == 0.0
    assert rows["all rounds"]["fps"] == pytest.approx(10 / 15)
    assert set(GROUPS) == {*FAMILIES, "links", "cameras", ALL}


def test_moment_of_a_lost_frame_names_what_happened_then() -> None:
    entries = [
        Entry(110.0, "files", "lines_removed", "1", "harmless", "", 8.0),
        Entry(140.0, "faults", "kill_receiver", "2", "harmless", "", 8.0),
    ]
    assert moment((7, 101_800), entries) == "live frame 7: files.lines_removed"
    assert moment((7, 120_000), entries) == "live frame 7: calm"


def test_frames_of_complete_delivery_are_audited(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("0\n1\n2\n3")
    records = [_record(seq, captured_at(seq), "durable") for seq in range(5)]
    assert durable_faults(ledger, 5, records) == Faults()
    assert durable_faults(ledger, 6, records) == Faults(lost=[5])
    assert durable_faults(ledger, None, records[:2]) == Faults(lost=[2])


def test_lines_must_be_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    good = json.dumps(_record(0, 1.0))
    path.write_text(f"{good}\n{good.replace('50.0', 'NaN')}\n\x00\n{good[:20]}")
    records, bad = read_lines([path, tmp_path / "missing"])
    assert len(records) == 1
    assert len(bad) == 2


def test_growth_is_that_of_calm_times() -> None:
    at = np.arange(0.0, 600.0)
    calm = [(begin, begin + 20.0) for begin in range(40, 600, 60)]

    def samples(per_min: float) -> list[Sample]:
        # Attacks take memory for a while.
        attacked = np.where(at % 60 < 40, 500_000, 0)
        rss_kb = 400_000 + per_min * at / 60 + attacked
        return [Sample(t, 1, int(kb), 20, 2.0) for t, kb in zip(at, rss_kb, strict=True)]

    assert is_flat(growth(samples(0.0), calm), "rss_kb", 20_000.0)
    leaking = growth(samples(10_000.0), calm)
    assert leaking["rss_kb_per_min"] == pytest.approx(10_000.0, rel=0.01)
    assert is_flat(leaking, "rss_kb", 20_000.0) is False
    assert is_flat(leaking, "descriptors", 20.0)
    assert is_flat(growth(samples(0.0), calm[:2]), "rss_kb", 20_000.0) is None
