"""Label frames on disk are lossless; other bytes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import MalformedPacket
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUPS
from common.wire.label_frames import decode_label_frame, encode_label_frame


def frame_of(seed: int, people: int) -> LabelFrame:
    random = np.random.default_rng(seed)

    def vectors() -> dict[str, np.ndarray]:
        return {group.name: random.normal(size=random.integers(1, group.size + 1)).astype("f4") for group in GROUPS}

    labels = tuple(
        PersonLabels(number, random.uniform(), vectors(), vectors(), {"root": random.uniform()})
        for number in range(people)
    )
    return LabelFrame(seed, "walk – é.mp4", 1.7e9 + random.uniform(), Camera(640, 480, 611.25), labels)


@given(st.integers(0, 2**31), st.integers(0, 3))
def test_frame_round_trip(seed: int, people: int) -> None:
    frame = frame_of(seed, people)
    decoded = decode_label_frame(encode_label_frame(frame))
    assert (decoded.sequence, decoded.source, decoded.captured_at) == (frame.sequence, frame.source, frame.captured_at)
    assert decoded.camera == frame.camera
    for person, original in zip(decoded.people, frame.people, strict=True):
        told, expected_told = ((p.identity, p.score, p.confidence) for p in (person, original))
        assert told == expected_told
        for vectors, expected in ((person.labels, original.labels), (person.sigma, original.sigma)):
            assert vectors.keys() == expected.keys()
            assert all(np.array_equal(vectors[name], expected[name]) for name in expected)


def test_other_bytes_are_refused() -> None:
    for data in (b"\xff" * 20, encode_label_frame(frame_of(1, 1))[:-3]):
        with pytest.raises(MalformedPacket, match="not a label frame"):
            decode_label_frame(data)
