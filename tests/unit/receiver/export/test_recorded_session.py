"""The times of a session's frames, and when people are there."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UsageError
from common.frames import Camera
from receiver.export import recorded_session
from receiver.export.recorded_session import RecordedSession, media_times, presence, read_session

_EPOCH_S = 1795947670.093
_DAY_S = 86_400.0
_YEAR_S = 365 * _DAY_S


def captured(frames: int, steps_s: Mapping[int, float]) -> list[float]:
    """Frames that follow each other at 15 a second, in milliseconds, and what is added before some of them."""
    shifts = np.cumsum([steps_s.get(frame, 0.0) for frame in range(frames)])
    return [round(_EPOCH_S + frame / 15 + float(shift), 3) for frame, shift in enumerate(shifts)]


@pytest.mark.parametrize(
    "steps_s",
    [
        {10: 3 * _DAY_S},
        {10: -3 * _DAY_S},
        {10: 40 * _YEAR_S},
        {1: -7200.0, 20: -1.5, 29: 7200.0},
        {1: _YEAR_S, 2: _YEAR_S, 28: -_YEAR_S, 29: -_YEAR_S},
    ],
)
def test_times_go_on_where_the_clock_was_set(steps_s: Mapping[int, float]) -> None:
    times = media_times(captured(30, steps_s))
    np.testing.assert_allclose(times.times_s, np.arange(30) / 15, atol=0.002)
    np.testing.assert_allclose(times.set_s, list(steps_s.values()), atol=0.1)


def test_nobody_sets_the_clock_while_the_camera_is_lost() -> None:
    times = media_times(captured(30, {10: 40.0}))
    assert times.set_s == [] and times.times_s[-1] == pytest.approx(29 / 15 + 40, abs=0.002)
    both = media_times(captured(30, {10: 40.0, 11: _DAY_S}))
    assert both.times_s[-1] == pytest.approx(29 / 15 + 40, abs=0.002)


@pytest.mark.parametrize("step_s", [_DAY_S, -_DAY_S, 0.0])
def test_a_session_of_two_frames(step_s: float) -> None:
    np.testing.assert_allclose(media_times([_EPOCH_S, _EPOCH_S + step_s]).times_s, [0, 1 / 30], atol=1e-6)
    assert media_times([_EPOCH_S]).times_s.tolist() == [0.0]


def test_frames_at_changing_intervals_keep_them() -> None:
    at_s = np.cumsum(np.random.default_rng(0).choice([0.033, 0.2, 1.0], 50))
    set_s = np.where(np.arange(50) < 25, 0.0, _YEAR_S)
    times = media_times(_EPOCH_S + at_s + set_s)
    steps_s = np.delete(np.diff(at_s), 24)
    np.testing.assert_allclose(np.delete(np.diff(times.times_s), 24), steps_s, atol=1e-5)
    assert times.usual_s == pytest.approx(np.median(steps_s), abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (range(30), [(0, math.inf)]),
        (range(10), [(0, 1.0)]),
        (range(5, 30), [(0.5, math.inf)]),
        ([*range(5), *range(10, 15), *range(20, 30)], [(0, 0.5), (1.0, 1.5), (2.0, math.inf)]),
        # Two of ten frames a second are what a detector misses.
        ([0, 1, 3, 4], [(0, 0.5)]),
        ([7], [(0.7, 0.8)]),
    ],
)
def test_people_are_there_while_frames_show_them(rows: range | list[int], expected: list[tuple[float, float]]) -> None:
    found = presence(np.arange(30) / 10, np.array(rows), 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_nobody_is_there_while_the_camera_is_lost() -> None:
    times_s = np.array([0.0, 0.1, 0.2, 40.2, 40.3])
    assert presence(times_s, np.arange(5), 0.1) == [(0.0, pytest.approx(0.3)), (40.2, math.inf)]
    slow_s = np.array([0.0, 10.0, 20.0, 30.0])
    assert presence(slow_s, np.arange(4), 10.0) == [(0.0, math.inf)]


def write_lines(out: Path, lines: list[dict[str, Any] | str]) -> Path:
    out.mkdir(exist_ok=True)
    text = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
    (out / "frames.jsonl").write_text("".join(text))
    return out


def line(seq: int, captured_at: float, people: tuple[int, ...] = (0,), session: int = 1, body: bool = True) -> Any:
    bodies = [{"id": person, "body": f"meshes/{seq}-p{person}.glb" if body else None} for person in people]
    return {"seq": seq, "session": session, "captured_at": captured_at, "people": bodies}


def body_at(number: int, path: str) -> Any:
    return {**line(2, 50.01 + 0.01 * number), "people": [{"id": 0, "body": path}]}


def times(session: RecordedSession, person: int = 0) -> list[float]:
    return [body.time_s for body in session.people[person]]


def test_times_are_those_of_capture(tmp_path: Path) -> None:
    out = write_lines(tmp_path, [line(0, 50.0), line(3, 50.1, (0, 2)), line(4, 50.5, (2,)), line(5, 50.6)])
    session = read_session(out, 1)
    np.testing.assert_allclose(times(session), [0.0, 0.1, 0.6], atol=1e-9)
    np.testing.assert_allclose(times(session, 2), [0.1, 0.5], atol=1e-9)
    assert session.people[2][0].path == tmp_path / "meshes/3-p2.glb"


def test_other_sessions_are_not_read_and_the_only_one_needs_no_number(tmp_path: Path) -> None:
    out = write_lines(tmp_path, [line(0, 50.0), line(0, 50.05, session=2), line(1, 50.1), line(1, 50.2, session=2)])
    np.testing.assert_allclose(times(read_session(out, 2)), [0.0, 0.15], atol=1e-9)
    assert read_session(write_lines(tmp_path, [line(0, 50.0, session=4)]), None).number == 4


def test_people_who_were_taken_out_are_not_read(tmp_path: Path) -> None:
    out = write_lines(tmp_path, [line(0, 50.0, (0, 2)), line(1, 50.1, (2,)), line(2, 50.2, (0,))])
    record = {"session": 1, "id": "a", "owner": "", "secret_sha256": ""}
    for hidden, people in (([2], {0}), ([0, 2, 9], None), ([], {0, 2})):
        (out / "sessions.jsonl").write_text(json.dumps({**record, "hidden": hidden}) + "\n")
        if people is None:
            with pytest.raises(UsageError, match="show nobody: nothing to export"):
                read_session(out, 1)
        else:
            assert read_session(out, 1).people.keys() == people


def test_files_of_an_album_are_not_called_after_one_of_its_pictures(tmp_path: Path) -> None:
    for sources, stem in ((("a.jpg", "b.jpg", "c.jpg"), "photos-1"), (("a.mp4",) * 3, "a-1")):
        lines: list[Any] = [{**line(n, 50.0 + n), "source": source} for n, source in enumerate(sources)]
        assert read_session(write_lines(tmp_path, lines), 1).file_stem == stem


@pytest.mark.parametrize("late", [50.1, 10.0, 50.1000001])
def test_clock_that_stands_still_or_is_set_back(tmp_path: Path, late: float) -> None:
    out = write_lines(tmp_path, [line(0, 50.0), line(1, 50.1), line(2, late), line(3, late + 0.1), line(4, late + 0.2)])
    np.testing.assert_allclose(times(read_session(out, 1)), [0.0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)


def test_seen_legs_and_the_lens_are_read(tmp_path: Path) -> None:
    first, second = line(0, 50.0), line(1, 50.1)
    first["people"][0]["seen"] = {"head": True, "left_leg": False, "right_leg": True}
    first["camera"] = {"width": 640, "height": 480, "focal_px": 700.5, "focal_sigma": 0.1}
    session = read_session(write_lines(tmp_path, [first, second]), 1)
    assert [body.legs_seen for body in session.people[0]] == [(False, True), (True, True)]
    assert session.lens == Camera(640, 480, 700.5)
    second["camera"] = {"width": 640, "height": 480, "focal_px": 0.0}
    assert read_session(write_lines(tmp_path, [first, second]), 1).damaged_lines == 1


def test_part_has_its_own_clock(tmp_path: Path) -> None:
    out = write_lines(tmp_path, [line(n, 50 + 0.1 * n, (0, 1) if n < 3 else (0,)) for n in range(10)])
    part = read_session(out, 1, 0.45, 0.75)
    assert list(part.people) == [0] and [body.frame for body in part.people[0]] == [5, 6, 7]
    np.testing.assert_allclose(times(part), [0.05, 0.15, 0.25], atol=1e-6)
    with pytest.raises(UsageError, match=r"no body between 5 s and 6 s: its last frame is at 0\.90 s"):
        read_session(out, 1, 5.0, 6.0)


def test_people_are_there_between_frames_with_meshes(tmp_path: Path) -> None:
    lines = [line(n, 50 + 0.1 * n, (0,), body=n % 4 == 0) for n in range(10)]
    session = read_session(write_lines(tmp_path, [*lines, line(10, 51.0, ()), line(11, 51.1, ())]), 1)
    assert [body.frame for body in session.people[0]] == [0, 4, 8]
    np.testing.assert_allclose(session.present[0], [(0.0, 1.0)], atol=1e-6)


def test_damaged_lines_elsewhere_do_not_keep_a_part_from_being_read(tmp_path: Path) -> None:
    head = '{{"seq":{0},"session":1,"source":"a \\" b","captured_at":{0}.5,'
    people = '"people":[{{"id":0,"body":"meshes/{0}.glb"}}'
    out = write_lines(tmp_path, [(head + people).format(n) + ("]}\n" if n == 2 else "\n") for n in range(5)])
    part = read_session(out, 1, 0.0, 0.0)
    assert [body.frame for body in part.people[0]] == [2] and part.damaged_lines == 4


def test_damaged_lines_are_counted_and_an_unfinished_one_is_not(tmp_path: Path) -> None:
    damaged: list[Any] = [
        "{\n",
        "[]\n",
        '{"session": 1}\n',
        "\0\n",
        "[" * 100_000 + "\n",
        json.dumps(line(2, float("nan"))) + "\n",
        *(json.dumps(line(2, time)) + "\n" for time in (1e308, -1e12)),
        *(json.dumps(line(2, 50.002 + 0.002 * n, (who,))) + "\n" for n, who in enumerate((-1, 256, 10**400))),
        *(
            json.dumps(body_at(number, path)) + "\n"
            for number, path in enumerate(("/dev/zero", "../a.glb", "meshes/..", "meshes/../../a.glb"))
        ),
    ]
    out = write_lines(tmp_path, [line(0, 50.0), *damaged, line(1, 50.1), '{"seq": 2, "ses'])
    session = read_session(out, 1)
    assert session.damaged_lines == len(damaged)
    np.testing.assert_allclose(times(session), [0.0, 0.1], atol=1e-9)


def test_more_frames_than_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_session, "_MAX_FRAMES", 3)
    out = write_lines(tmp_path, [line(n, 50.0 + n) for n in range(4)])
    with pytest.raises(UsageError, match="choose a part with --from and --to"):
        read_session(out, 1)
    assert len(read_session(out, 1, 0.0, 2.0).people[0]) == 3


def test_unknown_session_names_those_that_exist(tmp_path: Path) -> None:
    out = write_lines(tmp_path, [line(0, 50.0, session=number) for number in (1, 2, 3, 7, 9, 10)])
    with pytest.raises(UsageError, match="has no session 4; it has the sessions 1-3, 7, 9-10"):
        read_session(out, 4)
    with pytest.raises(UsageError, match="has the sessions 1-3, 7, 9-10: give --out"):
        read_session(out, None)


def test_session_without_bodies_names_the_flags(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without receiver --meshes surfaces"):
        read_session(write_lines(tmp_path, [line(0, 50.0, body=False)]), 1)
    with pytest.raises(UsageError, match="1 frame, which shows nobody"):
        read_session(write_lines(tmp_path, [line(0, 50.0, ())]), 1)
    plain = line(0, 50.0)
    plain["people"][0]["body"] = "meshes/000000.body.obj"
    with pytest.raises(UsageError, match="with receiver --format obj"):
        read_session(write_lines(tmp_path, [plain]), 1)


def test_lines_that_are_no_file_of_a_receiver_and_linked_bodies_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"

    def refuse(message: str) -> None:
        with pytest.raises(UsageError, match=message):
            read_session(tmp_path, 1)
        path.unlink()

    os.mkfifo(path)
    refuse(r"frames\.jsonl: it is not a regular file")
    path.symlink_to("/dev/zero")
    refuse(r"frames\.jsonl: it is a link")
    path.touch()
    os.truncate(path, 10**11)
    refuse(r"frames\.jsonl has a line of more than")
    write_lines(tmp_path, [line(0, 50.0)])
    (tmp_path / "meshes").symlink_to(tmp_path)
    refuse("meshes is a link: put the folder")


def test_labels_are_delayed_unless_the_record_of_the_session_says_otherwise(tmp_path: Path) -> None:
    write_lines(tmp_path, [line(0, 50.0), line(0, 50.0, session=2), line(0, 50.0, session=3)])
    assert not read_session(tmp_path, 1).timely
    record = {"id": "a", "owner": "", "secret_sha256": "00"}
    records = [
        {**record, "session": 1, "timely": True},
        {**record, "session": 2},
        {**record, "session": 3, "timely": 1},
    ]
    (tmp_path / "sessions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    assert [read_session(tmp_path, number).timely for number in (1, 2, 3)] == [True, False, False]


def test_kinds_are_the_likeliest_that_were_known_at_last(tmp_path: Path) -> None:
    lines = [line(number, 50.0 + number, (0, 1)) for number in range(3)]
    for number, hair in enumerate(("short", "long")):
        lines[number]["people"][1]["wears"] = {"hair": [hair, 0.6], "shoes": ["boots", 0.9]}
    session = read_session(write_lines(tmp_path, lines), 1)
    assert session.kinds == {1: {"hair": "long", "shoes": "boots"}} and session.only(1).kinds == session.kinds
    lines[2]["people"][0]["wears"] = {"hair": ["green", 0.6]}
    assert read_session(write_lines(tmp_path, lines), 1).damaged_lines == 1
