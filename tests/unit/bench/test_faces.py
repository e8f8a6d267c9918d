"""Heads that are rendered, and photographed faces."""

import numpy as np

from common.body.anatomy import FACIAL_ACTIONS
from tests.bench.face.clips import BLINKS, JUDGED, Clip, figures, rows_of
from tests.bench.face.people import judged_faces


def test_judged_faces_answer_all_questions() -> None:
    answers = np.array(list(judged_faces().values()))
    assert answers.shape == (124, 3)
    assert set(answers.ravel()) == {"?", "closed", "parted", "open", "no", "yes", "down"}


def test_judged_clips_answer_all_questions() -> None:
    frames, blinks = rows_of(JUDGED), rows_of(BLINKS)
    assert len(frames) == 114
    assert {row["lips"] for row in frames} == {"touch", "parted", "?"}
    assert {row[eye] for row in frames for eye in ("left", "right")} == {"open", "closed", "?"}
    assert sum(row["blink"] == "yes" for row in blinks) == 7
    assert all(int(row["first"]) <= int(row["last"]) for row in blinks)


def test_clip_figures_of_the_truth_are_perfect_and_of_a_still_face_are_not() -> None:
    truth, still = perfect_clips(), perfect_clips()
    for clip in still.values():
        clip.activations[:] = 0
    found, none = figures(truth), figures(still)
    assert (found["lips_shut"], found["eyes_open"], found["blinks_share"], found["false_a_minute"]) == (1, 1, 1, 0)
    assert found["jaw_follows"] > 0.99
    assert none["blinks_share"] == 0 and none["lips_shut"] == 1 and none["jaw_parted"] == 0


def perfect_clips() -> dict[str, Clip]:
    """What was judged, as if it were read, 120 frames each."""
    jaw, *lids = (FACIAL_ACTIONS.index(name) for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"))
    clips = {row["clip"]: Clip(np.zeros((120, 52), np.float32), np.zeros(120, np.float32)) for row in rows_of(JUDGED)}
    for row in rows_of(JUDGED):
        clips[row["clip"]].activations[int(row["frame"]), jaw] = 0.5 * (row["lips"] == "parted")
    for row in rows_of(BLINKS):
        if row["blink"] == "yes":
            clips[row["clip"]].activations[int(row["first"]) : int(row["last"]) + 1, lids] = 1
    for clip in clips.values():
        clip.opening[:] = 0.2 * clip.activations[:, jaw]
    return clips
