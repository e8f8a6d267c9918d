"""The decoder that estimates what did not arrive."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from common.arrays import FloatArray
from common.body.label_space import LabelSpace
from common.codec.frame_codec import DecodedFrame, FrameCodec
from common.codec.quantiser import UNIT
from common.codec.tables import load as load_tables
from common.frames import LabelFrame, check_frame
from common.labels import FAST_GROUPS, LABEL_SIZE, concatenate
from common.synthetic.motion.motion_table import clips
from common.training.label_sequences import label_clip
from receiver.concealment.motion_filter import MotionFilter
from receiver.decode.label_smoothing import LabelSmoothing
from receiver.decode.session_decoder import SessionDecoder, decoders, frames_between
from tests.support.label_motion import FINE_RHO, MODEL_HASH, frame_of, person


@pytest.fixture(scope="module")
def walk() -> FloatArray:
    """Labels of a captured walk of the validation split."""
    (clip,) = clips("val")
    return label_clip(LabelSpace.load(), clip, 0.0, np.random.default_rng(1))[:60]


@pytest.fixture
def unsteadied(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrived is shown as it was decoded."""
    monkeypatch.setattr(LabelSmoothing, "shown", lambda _, captured_at, labels, levels: labels)


def without(frame: LabelFrame, lost: Collection[str]) -> LabelFrame:
    people = [
        replace(each, labels={name: values for name, values in each.labels.items() if name not in lost})
        for each in frame.people
    ]
    return replace(frame, people=tuple(people))


class Link:
    """An encoder, and both decoders behind it."""

    def __init__(self) -> None:
        self.encoder, self.codec = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
        self.estimating: SessionDecoder = decoders(MODEL_HASH)()

    def send(self, frame: LabelFrame) -> tuple[DecodedFrame, DecodedFrame]:
        """What the codec shows of a frame, and what the estimating decoder shows."""
        self.encoder.acknowledge(frame.sequence - 2)
        payload = self.encoder.encode(frame, FINE_RHO).payload
        return self.codec.decode(payload, frame.sequence), self.estimating.decode(payload, frame.sequence)


def vector(decoded: DecodedFrame) -> FloatArray:
    return concatenate(decoded.frame.people[0].labels)


def test_whole_frames_of_motion_are_shown_as_the_codec_decodes_them(walk: FloatArray) -> None:
    link, same = Link(), []
    for number, row in enumerate(walk[:20]):
        codec, shown = link.send(frame_of(number, person(row)))
        step = load_tables().base_step / UNIT
        assert (np.abs(vector(shown) - vector(codec)) <= 2 * step).all()
        same.append(np.mean(vector(shown) == vector(codec)))
    assert np.mean(same[8:]) > 0.5


def test_a_person_at_rest_does_not_flicker(walk: FloatArray) -> None:
    link, rng, moved = Link(), np.random.default_rng(4), []
    before: list[FloatArray] = []
    for number in range(60):
        noisy = walk[0] + 0.2 * load_tables().base_step / UNIT * rng.standard_normal(LABEL_SIZE)
        now = [vector(each) for each in link.send(frame_of(number, person(noisy.astype(np.float32))))]
        if number > 10:
            moved.append([np.abs(a - b).mean() for a, b in zip(now, before, strict=True)])
        before = now
    by_codec, shown = np.mean(moved, axis=0)
    assert shown < 0.3 * by_codec


def test_nothing_is_computed_while_everything_arrives(walk: FloatArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MotionFilter, "__init__", lambda *_: pytest.fail("a filter without a loss"))
    link = Link()
    for number, row in enumerate(walk[:10]):
        link.send(frame_of(number, person(row)))


def test_lost_groups_are_nearer_to_the_truth_than_the_codecs_prediction(walk: FloatArray) -> None:
    link, rng = Link(), np.random.default_rng(2)
    errors = []
    for number, row in enumerate(walk):
        lost = [name for name in FAST_GROUPS if number > 2 and rng.random() < 0.5]
        shown = link.send(without(frame_of(number, person(row)), lost))
        # Steps of the quantiser move the surface about equally.
        errors.append([np.abs((vector(each) - row) / load_tables().base_step).mean() for each in shown])
    by_codec, by_estimate = np.mean(errors, axis=0)
    assert by_estimate < 0.85 * by_codec


@pytest.mark.usefixtures("unsteadied")
def test_groups_that_arrived_and_slow_groups_are_the_codecs(walk: FloatArray) -> None:
    link = Link()
    for number, row in enumerate(walk[:8]):
        codec, shown = link.send(without(frame_of(number, person(row)), ["left_arm"] if number > 4 else []))
    for name, values in codec.frame.people[0].labels.items():
        equal = np.array_equal(values, shown.frame.people[0].labels[name])
        assert equal == (name != "left_arm")


@pytest.mark.usefixtures("unsteadied")
def test_estimates_do_not_change_what_later_packets_decode_to(walk: FloatArray) -> None:
    link = Link()
    for number, row in enumerate(walk[:20]):
        codec, shown = link.send(without(frame_of(number, person(row)), ["root"] if 5 < number < 12 else []))
        assert link.codec.snapshot() == link.estimating.snapshot()
    np.testing.assert_array_equal(vector(shown), vector(codec))


def test_pose_group_that_never_arrived_is_estimated_and_root_is_not(walk: FloatArray) -> None:
    link = Link()
    for number, row in enumerate(walk[:3]):
        codec, shown = link.send(without(frame_of(number, person(row)), ["left_leg", "root"]))
    assert not {"left_leg", "root"} & codec.frame.people[0].labels.keys()
    assert "root" not in shown.frame.people[0].labels
    assert np.abs(shown.frame.people[0].labels["left_leg"]).max() > 0.05
    check_frame(shown.frame)


def test_person_without_any_group_is_left_alone() -> None:
    _, shown = Link().send(without(frame_of(0, person(np.zeros(LABEL_SIZE, np.float32))), FAST_GROUPS))
    assert not set(FAST_GROUPS) & shown.frame.people[0].labels.keys()


def test_group_that_is_older_than_the_filter_is_the_codecs(walk: FloatArray) -> None:
    """After a gap of two seconds the filter begins anew, and does not know the root."""
    link = Link()
    for number, row in enumerate(walk[:5]):
        link.send(frame_of(number, person(row)))
    late = replace(without(frame_of(5, person(walk[5])), ["root"]), captured_at=1_800_000_002.2)
    codec, shown = link.send(late)
    np.testing.assert_array_equal(shown.frame.people[0].labels["root"], codec.frame.people[0].labels["root"])


@pytest.mark.usefixtures("unsteadied")
def test_root_that_is_lost_for_more_than_a_second_is_the_codecs(walk: FloatArray) -> None:
    link, equal = Link(), []
    for number, row in enumerate(walk[:40]):
        codec, shown = link.send(without(frame_of(number, person(row)), ["root"] if number > 4 else []))
        equal.append(np.array_equal(shown.frame.people[0].labels["root"], codec.frame.people[0].labels["root"]))
    assert equal == 5 * [True] + 30 * [False] + 5 * [True]


def test_people_are_estimated_each_by_themselves(walk: FloatArray) -> None:
    both, alone = Link(), Link()
    for number, row in enumerate(walk[:12]):
        lost = ["left_arm"] if number > 4 else []
        first = without(frame_of(number, person(row, 3)), lost).people[0]
        other = person(walk[-1 - number], 9)
        _, shown = both.send(frame_of(number, other, first))
        _, single = alone.send(frame_of(number, first))
    np.testing.assert_array_equal(shown.frame.people[1].labels["left_arm"], single.frame.people[0].labels["left_arm"])


def test_restored_decoder_goes_on_and_estimates_when_it_has_seen_a_group(walk: FloatArray) -> None:
    link = Link()
    for number, row in enumerate(walk[:6]):
        link.send(frame_of(number, person(row)))
    restored = decoders(MODEL_HASH)()
    restored.restore(link.estimating.snapshot())
    link.estimating = restored
    codec, shown = link.send(without(frame_of(6, person(walk[6])), ["left_arm"]))
    np.testing.assert_array_equal(vector(shown), vector(codec))
    link.send(frame_of(7, person(walk[7])))
    codec, shown = link.send(without(frame_of(8, person(walk[8])), ["left_arm"]))
    assert not np.array_equal(vector(shown), vector(codec))


@pytest.mark.parametrize(("seconds", "frames"), [(0.0, 0), (0.001, 1), (1 / 30, 1), (0.07, 2), (1.0, 30)])
def test_frames_between_two_times(seconds: float, frames: int) -> None:
    assert frames_between(100.0, 100.0 + seconds) == frames
