"""For how long faces are seen."""

import numpy as np
import pytest

from common.frames import PersonLabels
from receiver.publish.session_writer import FacesSeen


def person(identity: int, *, face: bool = True) -> PersonLabels:
    return PersonLabels(identity, 1.0, {"face": np.zeros(12, np.float32)} if face else {})


def test_time_is_counted_for_each_person_while_the_face_is_seen() -> None:
    seen = FacesSeen()
    assert [seen.seconds(person(1), 100 + number / 10) for number in range(4)] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert seen.seconds(person(1, face=False), 100.4) is None
    assert seen.seconds(person(2), 100.4) == 0
    assert seen.seconds(person(1), 105) == pytest.approx(0.3), "the face was away"
    assert seen.seconds(person(1), 105.5) == pytest.approx(0.8)


def test_identity_that_returns_after_a_minute_is_somebody_else() -> None:
    seen = FacesSeen()
    for number in range(10):
        seen.seconds(person(1), number / 10)
    assert seen.seconds(person(1), 100) == 0
