import logging
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.clock import LONGEST_PAUSE_S, BridgedTimes, Clock, SteadyWall
from common.frames import (
    MAX_CAPTURED_AT_S,
    MAX_FOCAL_PX,
    MAX_FRAME_SEQUENCE,
    MIN_FOCAL_PX,
    Camera,
    LabelFrame,
    PersonLabels,
    check_frame,
    unseen_limbs,
)
from common.text import counted, printable
from common.version import version_line
from common.weights.manifest import model_hash

CAMERA = Camera(480, 640, 800.0)


def test_project_maps_the_optical_axis_to_the_centre() -> None:
    pixels = CAMERA.project(np.array([[0, 0, 2.0], [1, -1, 2.0]], np.float32))
    np.testing.assert_allclose(pixels, [[240, 320], [640, -80]])


def test_rays_are_projected_to_their_pixels() -> None:
    camera, pixels = Camera(640, 480, 500.0), np.array([[0.0, 0.0], [320.0, 240.0], [500.0, 17.5]], np.float32)
    rays = camera.rays(pixels)
    np.testing.assert_array_equal(rays[:, 2], 1)
    np.testing.assert_allclose(camera.project((3.5 * rays).astype(np.float32)), pixels, atol=1e-3)


PERSON = PersonLabels(7, 0.5, {"root": np.zeros(9, np.float32)}, confidence={"root": 1.0})
FRAME = LabelFrame(3, "clip.mp4", 1_800_000_000.0, CAMERA, (PERSON,))


@pytest.mark.parametrize(
    "fields",
    [
        {"sequence": MAX_FRAME_SEQUENCE},
        {"captured_at": 0.0},
        {"captured_at": MAX_CAPTURED_AT_S},
        {"camera": Camera(1, 65_536, MIN_FOCAL_PX)},
        {"camera": Camera(65_536, 1, MAX_FOCAL_PX)},
        {"people": tuple(replace(PERSON, identity=identity) for identity in range(224, 256))},
        {"people": (replace(PERSON, labels={"shape": np.full(1, -33, np.float32)}),)},
    ],
)
def test_check_frame_at_the_limits(fields: dict[str, Any]) -> None:
    check_frame(replace(FRAME, **fields))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**53 - 1}, "sequence"),
        ({"captured_at": -1e-3}, "capture"),
        ({"captured_at": MAX_CAPTURED_AT_S + 1}, "capture"),
        ({"captured_at": float("nan")}, "capture"),
        ({"camera": Camera(0, 1, 1.0)}, "image of 0 x 1"),
        ({"camera": Camera(1, 2**31, 1.0)}, "image"),
        *(({"camera": Camera(4, 4, focal)}, "focal") for focal in (0.0, -1.0, 1e-45, 1e9, float("inf"), float("nan"))),
        ({"people": (PERSON, PERSON)}, "distinct"),
        ({"people": tuple(replace(PERSON, identity=identity) for identity in range(33))}, "up to 32"),
        ({"people": (replace(PERSON, identity=256),)}, "identities"),
        ({"people": (replace(PERSON, identity=-1),)}, "identities"),
        ({"people": (replace(PERSON, score=float("nan")),)}, "score"),
        ({"people": (replace(PERSON, confidence={"root": 1.1}),)}, "confidence"),
        ({"people": (replace(PERSON, labels={"tail": np.zeros(1, np.float32)}),)}, "'tail'"),
        ({"people": (replace(PERSON, labels={"root": np.zeros(0, np.float32)}),)}, "'root'"),
        ({"people": (replace(PERSON, labels={"root": np.zeros(10, np.float32)}),)}, "'root'"),
        ({"people": (replace(PERSON, labels={"root": np.full(9, np.nan, np.float32)}),)}, "'root'"),
        ({"people": (replace(PERSON, labels={"root": np.full(9, -41, np.float32)}),)}, "41 standard deviations"),
    ],
)
def test_check_frame_beyond_the_limits(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_frame(replace(FRAME, **fields))


def test_limbs_of_no_confidence_at_all_are_unseen() -> None:
    confidence = {"head": 1 / 15, "left_leg": 0.0, "right_leg": 0.0, "hands": 0.0, "shape": 0.0}
    assert unseen_limbs(replace(PERSON, confidence=confidence)) == {"left_leg", "right_leg"}
    assert not unseen_limbs(replace(PERSON, confidence={})), "nothing is known of them"


T0 = 1_800_000_000.0


@pytest.mark.parametrize("set_s", [259_200.0, -259_200.0, 31_536_000.0, -5.0])
def test_steady_wall_goes_on_when_the_clock_is_set(set_s: float, caplog: pytest.LogCaptureFixture) -> None:
    now_s, ahead_s = 100.0, T0
    wall = SteadyWall(Clock(lambda: now_s, lambda: now_s + ahead_s))
    assert wall() == T0 + 100
    now_s, ahead_s = 101.5, T0 + set_s
    with caplog.at_level(logging.WARNING):
        assert wall() == T0 + 101.5
        now_s = 102.0
        assert wall() == T0 + 102.0
    (record,) = caplog.records
    assert f"clock was set by {set_s:+.0f} s" in record.getMessage()


@pytest.mark.parametrize("set_s", [259_200.0, -259_200.0, -0.5, LONGEST_PAUSE_S])
def test_bridged_times_go_on_at_the_last_step(set_s: float) -> None:
    times = BridgedTimes(1 / 30)
    told = [T0, T0 + 0.25, T0 + 0.5 + set_s, T0 + 0.75 + set_s]
    assert [times.following(each) for each in told] == pytest.approx([T0, T0 + 0.25, T0 + 0.5, T0 + 0.75], abs=1e-6)
    assert times.shift_s == pytest.approx(-set_s, abs=1e-6)


def test_bridged_times_keep_pauses_and_order() -> None:
    times = BridgedTimes(0.1)
    told = (5.0, 5.1, 5.05, 65.1, None)
    assert [times.following(each) for each in told] == pytest.approx([5.0, 5.1, 5.1, 65.1, 65.2])
    assert times.longest_step_s == pytest.approx(60.0) and times.shift_s == 0
    assert BridgedTimes(0.1).following(None) == 0.0


def test_numbers_of_things() -> None:
    assert [counted(number, "frame") for number in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert [counted(number, "person", "people") for number in (1, 12)] == ["1 person", "12 people"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("camera 0, größer 😀", "camera 0, größer 😀"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[2J\x00\x7f\x9b", r"\x1b[2J\x00\x7f\x9b"),
        ("\u202egnp.exe\u2066\u200b\ufeff", r"\u202egnp.exe\u2066\u200b\ufeff"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\ud800\U000e0001", r"\ud800\U000e0001"),
        ("", ""),
    ],
)
def test_printable_escapes_what_does_not_print(text: str, shown: str) -> None:
    assert printable(text, 100) == shown


def test_printable_cuts_long_text() -> None:
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdefg", 6) == "abcde…"
    assert printable("\x00" * 3, 6) == r"\x00\…"
    assert printable("ab", 1) == "…"


def test_version_line_names_package_weights_codec_and_protocol() -> None:
    line = version_line("sender")
    assert re.fullmatch(r"sender \S+ \(weights [0-9a-f]{16}, codec \d+, protocol \d+\)", line)
    assert model_hash().hex() in line


_EXITS = """
import os, sys
from common.forks import keep_in_forks

class Decoder:
    def __del__(self):
        os.write(1, b"parent " if os.getpid() == parent else b"child ")

parent, kept, garbage = os.getpid(), keep_in_forks(Decoder()), Decoder()
garbage.itself = garbage
del garbage
if os.fork() == 0:
    del kept
    sys.exit()
os.wait()
"""


def test_only_the_parent_frees_what_is_kept_and_what_is_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", _EXITS], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["parent", "parent"], "")
