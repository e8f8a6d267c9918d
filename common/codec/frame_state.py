"""States of frames that later ones are predicted from; encoder and decoder have equal ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from zlib import crc32

import numpy as np

from common.arrays import BoolArray
from common.codec.packet import KEY, FrameClock, References, Scene
from common.codec.person import FAST, SCORES, PersonState, known_confidence, known_labels
from common.codec.quantiser import GROUP_OF_ENTRY, LIMIT
from common.frames import MAX_PEOPLE, LabelFrame, PersonLabels

REMEMBERED_FRAMES: Final = 64
"""Most frames that an end keeps."""


@dataclass(frozen=True)
class FrameState:
    """A frame that later ones can be predicted from; encoder and decoder have equal states and seals."""

    sequence: int
    clock: FrameClock
    scene: Scene
    people: Mapping[int, PersonState]
    seal: int


@dataclass(frozen=True)
class Newest:
    """The newest groups of all packets up to a frame, by person."""

    sequence: int = 0
    people: Mapping[int, PersonState] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameReferences:
    """The states that a frame is predicted from; without the first one it is a key frame."""

    first: FrameState | None = None
    second: FrameState | None = None

    def lags(self, sequence: int) -> References:
        """Their distances from a frame."""
        if self.first is None:
            return KEY
        gap = self.first.sequence - self.second.sequence if self.second else 0
        return References(sequence - self.first.sequence, gap)

    def oldest(self, otherwise: int) -> int:
        """The number of the earlier one; `otherwise` for a key frame."""
        return min((state.sequence for state in (self.first, self.second) if state is not None), default=otherwise)

    def person(self, identity: int) -> PersonState | None:
        """The state of a person: the first reference's, with groups that are newer in the second."""
        state = self.first.people.get(identity) if self.first else None
        if state is None or self.first is None or self.second is None:
            return state
        return with_newer(state, self.second.people.get(identity), self.first.sequence - self.second.sequence)


NO_REFERENCES: Final = FrameReferences()


def keep_absent(people: dict[int, PersonState], before: Mapping[int, PersonState]) -> None:
    """People out of view keep shape and colours; when the state is full, those absent the longest are dropped."""
    for identity, state in before.items():
        if len(people) < MAX_PEOPLE:
            people.setdefault(identity, state)


def newest_groups(state: FrameState, reference: FrameState | None, newest: Newest) -> Newest:
    """The people of a frame, with newer groups of earlier frames; a key frame begins anew."""
    if reference is None or state.sequence <= newest.sequence:
        return Newest(state.sequence, state.people)
    frames = state.sequence - newest.sequence
    people = {
        identity: with_newer(person, newest.people.get(identity), frames) for identity, person in state.people.items()
    }
    return Newest(state.sequence, people)


def state_seal(state: FrameState, people: Mapping[int, PersonState], reference: FrameState | None) -> int:
    """CRC-32 over the chain of states up to this one."""
    clock = state.clock
    known = (
        f"{state.sequence} {clock.time_ms} {clock.interval} {clock.spread} {clock.ahead} {state.scene} {tuple(people)}"
    )
    checksum = crc32(known.encode(), reference.seal if reference else 0)
    for identity in state.scene.identities:
        checksum = people[identity].checksum(checksum)
    return checksum


def to_frame(state: FrameState) -> LabelFrame:
    """The frame that a state describes, without `sigma`."""
    return LabelFrame(
        sequence=state.sequence,
        source=state.scene.source,
        captured_at=state.clock.time_ms / 1000,
        camera=state.scene.camera,
        people=tuple(
            PersonLabels(
                identity=identity,
                score=state.people[identity].score / (SCORES - 1),
                labels=known_labels(state.people[identity]),
                confidence=known_confidence(state.people[identity]),
            )
            for identity in state.scene.identities
        ),
        ahead_steps=state.clock.ahead,
    )


ALL_GROUPS: BoolArray = np.ones_like(FAST)
SLOW_GROUPS: BoolArray = ~FAST
_MAX_EXTRAPOLATION_FRAMES = 6


def with_newer(
    state: PersonState, other: PersonState | None, frames: int, groups: BoolArray = ALL_GROUPS, oldest: int = 0
) -> PersonState:
    """`state` with those groups of `other` that were sent later.

    While acknowledgements are under way, consecutive frames are predicted from different ones: with two frames in
    flight, even frames descend from even ones and odd frames from odd ones.  A slow group that is sent once must
    nevertheless reach all of them, and a fast group that one frame lacks is best predicted from the latest frame that
    has it.  So a packet names a second reference, from which it takes the groups that are newer there, and both ends
    remember for each person the newest groups of all packets: the decoder shows them with every frame, and the encoder
    does not send a slow group again that is under way.

    Args:
        other: None has none.
        frames: from `other` to `state`: its groups move on by half their velocity.
        groups: (G,) that are considered.
        oldest: groups that were sent before this frame are not taken.
    """
    if other is None:
        return state
    newer = groups & (other.level >= 0) & (other.updated >= oldest)
    newer &= (state.level < 0) | (other.updated > state.updated)
    if not newer.any():
        return state
    entry = newer[GROUP_OF_ENTRY]
    moved = other.values + (other.velocity * min(max(frames, 0), _MAX_EXTRAPOLATION_FRAMES) >> 1)
    return replace(
        state,
        values=np.where(entry, np.minimum(np.maximum(moved, -LIMIT), LIMIT), state.values),
        velocity=np.where(entry, other.velocity, state.velocity),
        spread=np.where(entry, other.spread, state.spread),
        age=np.where(entry, other.age, state.age),
        level=np.where(newer, other.level, state.level),
        confidence=np.where(newer, other.confidence, state.confidence),
        updated=np.where(newer, other.updated, state.updated),
    )
