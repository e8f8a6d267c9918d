"""The index of `frames.jsonl` grows with the file."""

import json
from pathlib import Path

from receiver.web.library.service import RecordedFrames


def line(session: int, sequence: int) -> str:
    record = {"seq": sequence, "session": session, "source": "a\u2028b", "captured_at": 1.5, "people": []}
    return json.dumps(record, separators=(",", ":")) + "\n"


def sequences(recorded: RecordedFrames, session: int) -> list[int]:
    return [json.loads(line)["seq"] for line in recorded.page(session, -1, 100)]


def test_pages_of_a_session_among_others(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_text("".join(line(n % 2 + 1, n) for n in range(10)))
    recorded = RecordedFrames(tmp_path)
    assert sequences(recorded, 1) == [0, 2, 4, 6, 8]
    assert recorded.page(2, 3, 2) == [line(2, 5).strip().encode(), line(2, 7).strip().encode()]
    assert recorded.page(2, 9, 2) == recorded.page(3, -1, 2) == []


def test_lines_that_are_appended_are_found(tmp_path: Path) -> None:
    recorded = RecordedFrames(tmp_path)
    assert sequences(recorded, 1) == []
    path = tmp_path / "frames.jsonl"
    path.write_text(line(1, 0) + line(1, 1)[:20])
    assert sequences(recorded, 1) == [0]
    path.write_text(line(1, 0) + line(1, 1) + line(1, 2))
    assert sequences(recorded, 1) == [0, 1, 2]


def test_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path, generation = tmp_path / "frames.jsonl", [0]
    path.write_text(line(1, 0) + line(1, 1))
    recorded = RecordedFrames(tmp_path, lambda: generation[0])
    assert sequences(recorded, 1) == [0, 1]
    path.write_text(line(4, 6))
    assert sequences(recorded, 1) == [] and sequences(recorded, 4) == [6]
    path.write_text(line(5, 7) + line(5, 8))
    generation[0] += 1
    assert sequences(recorded, 4) == [] and sequences(recorded, 5) == [7, 8]
