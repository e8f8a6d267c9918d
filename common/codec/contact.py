"""Contact of the feet with the floor in the codec: free while it stays as it was, and five bits where it changes.

A contact is a number: 0 is unknown, else 4, with 1 more if the left foot stands, and 2 more if the right one does.
People who walk change it several times a second, those who stand hardly ever: for how many frames it has been the same
says how likely it is to change.  The probabilities are those of captured motions.
"""

from dataclasses import replace
from typing import Final

from common.codec.person import RESTING_FRAMES, PersonState
from common.codec.range_coder import SymbolCoder

_UNKNOWN: Final = 0
_KNOWN: Final = 4
# Probability of a change in 64ths: for each frame since the reference, at most for so many, and of one that rests.
_CHANGES, _MOST_FRAMES, _RESTING_CHANGES, _FLAGS = 4, 4, 1, 64
# In sixteenths: the left foot, the right one, both, and that nothing is known any more.
_WHICH: Final = (7, 7, 1, 1)


def code_contact(coder: SymbolCoder, state: PersonState, lag: int, number: int | None) -> PersonState:
    """Writes a contact's number, or reads it when it is None; returns the state with it, `lag` frames later."""
    before, rests = state.contact, state.contact_frames == RESTING_FRAMES
    changes = _RESTING_CHANGES if rests else _CHANGES * min(max(lag, 1), _MOST_FRAMES)
    if not coder.choice(None if number is None else int(number != before), (_FLAGS - changes, changes)):
        return replace(state, contact_frames=min(state.contact_frames + lag, RESTING_FRAMES))
    if before == _UNKNOWN:
        now = _KNOWN + coder.uniform(None if number is None else number - _KNOWN, _KNOWN)
    else:
        which = coder.choice(None if number is None else min(number ^ before, len(_WHICH)) - 1, _WHICH) + 1
        now = before ^ which if which < len(_WHICH) else _UNKNOWN
    return replace(state, contact=now, contact_frames=0)


def number_of(contact: tuple[bool, bool] | None) -> int:
    """The number of `PersonLabels.contact`."""
    return _UNKNOWN if contact is None else _KNOWN + contact[0] + 2 * contact[1]


def contact_of(number: int) -> tuple[bool, bool] | None:
    """The inverse of `number_of`."""
    return (bool(number & 1), bool(number & 2)) if number & _KNOWN else None
