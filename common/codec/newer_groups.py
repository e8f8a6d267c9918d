"""Groups across frames that do not descend from each other.

While acknowledgements are under way, consecutive frames are predicted from different ones: with two frames in flight,
even frames descend from even ones and odd frames from odd ones.  A slow group that is sent once must nevertheless reach
all of them, and a fast group that one frame lacks is best predicted from the latest frame that has it.  So a packet
names a second reference, from which it takes the groups that are newer there, and both ends remember for each person
the newest groups of all packets: the decoder shows them with every frame, and the encoder does not send a slow group
again that is under way.
"""

from dataclasses import replace

import numpy as np

from common.arrays import BoolArray
from common.codec.person import FAST, PersonState
from common.codec.quantiser import GROUP_OF_ENTRY, LIMIT

ALL_GROUPS: BoolArray = np.ones_like(FAST)
SLOW_GROUPS: BoolArray = ~FAST
_MAX_EXTRAPOLATION_FRAMES = 6


def with_newer(
    state: PersonState, other: PersonState | None, frames: int, groups: BoolArray = ALL_GROUPS, oldest: int = 0
) -> PersonState:
    """`state` with those groups of `other` that were sent later.

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
