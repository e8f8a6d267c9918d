"""Label frames on disk: exact, with what is never transmitted, and nothing else passes for one."""

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

    crowd = tuple(
        PersonLabels(number, random.uniform(), vectors(), vectors(), {"root": random.uniform()})
        for number in range(people)
    )
    return LabelFrame(seed, "walk – é.mp4", 1.7e9 + random.uniform(), Camera(640, 480, 611.25), crowd)


@given(st.integers(0, 2**31), st.integers(0, 3))
def test_a_frame_comes_back_as_it_was(seed: int, people: int) -> None:
    frame = frame_of(seed, people)
    again = decode_label_frame(encode_label_frame(frame))
    assert (again.sequence, again.source, again.captured_at) == (frame.sequence, frame.source, frame.captured_at)
    assert again.camera == frame.camera
    for one, other in zip(again.people, frame.people, strict=True):
        assert (one.identity, one.score, one.confidence) == (other.identity, other.score, other.confidence)
        for ours, theirs in ((one.labels, other.labels), (one.sigma, other.sigma)):
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_frame_is_small() -> None:
    assert len(encode_label_frame(frame_of(1, 1))) < 1500


@pytest.mark.parametrize("data", [b"\xff" * 20, encode_label_frame(frame_of(1, 1))[:-3]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket, match="no label frame"):
        decode_label_frame(data)
