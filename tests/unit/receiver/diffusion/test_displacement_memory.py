"""Continued displacements: sampled at an interval, blended smoothly, never mixed between people."""

from collections.abc import Hashable

import numpy as np
import pytest
import torch
from torch import Tensor

from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.frames import PersonLabels
from receiver.diffusion import displacement_memory
from receiver.diffusion.displacement_memory import DisplacementMemory, StreamPerson

INTERVAL = displacement_memory._SAMPLE_EVERY_FRAMES
SHAPE = 2, 3


@pytest.fixture(scope="module")
def space() -> SurfaceSpace:
    return SurfaceSpace.load()


@pytest.fixture
def memory(space: SurfaceSpace) -> DisplacementMemory:
    return DisplacementMemory(space)


def person(
    sequence: int = 0,
    identity: int = 0,
    clothes: float = 0.0,
    known: int = SURFACE_SIZE,
    build: float = 0.0,
    stream: Hashable = "a",
    source: str = "clip",
) -> StreamPerson:
    labels = {"surface": np.full(known, clothes, np.float32), "shape": np.full(10, build, np.float32)}
    return StreamPerson(stream, source, sequence, PersonLabels(identity, 1.0, labels))


def take(memory: DisplacementMemory, one: StreamPerson, sample: float = 0.0, linear: float = 0.0) -> Tensor:
    """The person's coefficients, with a constant sample if one is due."""
    sampled = {0: torch.full(SHAPE, sample)} if memory.due([one]) else {}
    return memory.continued([one], [torch.full(SHAPE, linear)], sampled)[0]


def test_person_is_sampled_once_in_every_interval(memory: DisplacementMemory) -> None:
    due = []
    for sequence in range(10 * INTERVAL):
        due.append(bool(memory.due([person(sequence)])))
        take(memory, person(sequence))
    assert due[0] and sum(due) == 10


def test_people_who_come_together_are_sampled_in_turn(memory: DisplacementMemory) -> None:
    most = 0
    for sequence in range(4 * INTERVAL):
        people = [person(sequence, identity) for identity in range(INTERVAL)]
        rows = memory.due(people)
        most = max(most, len(rows)) if sequence else 0
        memory.continued(people, [torch.zeros(SHAPE)] * INTERVAL, {row: torch.zeros(SHAPE) for row in rows})
    assert most <= 2


def test_first_frame_is_the_sample(memory: DisplacementMemory) -> None:
    assert torch.allclose(take(memory, person(), sample=5.0, linear=2.0), torch.full(SHAPE, 5.0))


def test_new_sample_is_reached_without_a_jump(memory: DisplacementMemory) -> None:
    last = take(memory, person(0), sample=0.0)
    largest = 0.0
    for sequence in range(1, 3 * INTERVAL):
        now = take(memory, person(sequence), sample=1.0)
        largest, last = max(largest, float((now - last).abs().max())), now
    assert torch.allclose(last, torch.ones(SHAPE)) and largest < 1.5 / INTERVAL


def test_linear_part_follows_the_labels_at_once(memory: DisplacementMemory) -> None:
    take(memory, person(0), sample=3.0, linear=2.0)
    assert torch.allclose(take(memory, person(1), linear=7.0), torch.full(SHAPE, 8.0))


@pytest.mark.parametrize(
    "other",
    [
        person(1, clothes=1.0),
        person(1, build=1.0),
        person(1, known=SURFACE_SIZE - 1),
        person(1, source="other clip"),
        person(1, stream="b"),
        person(1, identity=1),
        person(0),
        person(INTERVAL + 1),
    ],
    ids=["clothes", "build", "more known", "source", "stream", "identity", "same frame again", "absent"],
)
def test_others_are_sampled_and_not_blended(memory: DisplacementMemory, other: StreamPerson) -> None:
    take(memory, person(0), sample=3.0)
    assert memory.due([other]) == [0]
    assert torch.allclose(take(memory, other, sample=9.0), torch.full(SHAPE, 9.0))


def test_slightly_refined_labels_are_not_sampled(memory: DisplacementMemory) -> None:
    take(memory, person(0), sample=3.0)
    assert not memory.due([person(1, clothes=0.01, build=0.1)])
    assert memory.unchanged(person(1, build=0.1)) and not memory.unchanged(person(1, clothes=0.01))


def test_streams_do_not_mix(memory: DisplacementMemory) -> None:
    take(memory, person(0, stream="a"), sample=1.0)
    take(memory, person(0, stream="b"), sample=2.0)
    assert torch.allclose(take(memory, person(1, stream="a")), torch.ones(SHAPE))
    assert torch.allclose(take(memory, person(1, stream="b")), torch.full(SHAPE, 2.0))


def test_people_who_left_are_forgotten(memory: DisplacementMemory) -> None:
    take(memory, person(0, identity=1))
    for sequence in range(INTERVAL + 2):
        take(memory, person(sequence, identity=0))
    assert list(memory._people) == [("a", 0)]


def test_memory_is_bounded(memory: DisplacementMemory) -> None:
    for stream in range(300):
        take(memory, person(stream=stream))
    assert len(memory._people) == displacement_memory._REMEMBERED_PEOPLE
    assert not memory.due([person(1, stream=299)]) and memory.due([person(1, stream=0)])
