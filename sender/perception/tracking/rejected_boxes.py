"""Boxes in which the verifier has found nobody: the more often it was asked, the later it is asked again.

A bag or a tree is proposed again in every search, and verifying it takes as long as four frames of one person.
"""

from dataclasses import dataclass

from common.arrays import Box
from sender.perception.tracking.boxes import intersection_over_union

# A proposal that overlaps a rejected one by more shows the same.
_SAME_IOU = 0.6
# Rounds of searching that a box waits at most, doubled with each rejection: whoever sits where nobody was waits longer.
_LONGEST_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Rejected:
    """A box, the round in which it was rejected, and how many it waits."""

    box: Box
    at: int
    rounds: int


class RejectedBoxes:
    """Remembers the rejected boxes of a source."""

    def __init__(self) -> None:
        self._boxes: list[_Rejected] = []

    def waits(self, box: Box, search_round: int, *, urgent: bool = False) -> bool:
        """Whether a proposal in this round shows what was rejected, and is not to be verified yet.

        Args:
            urgent: somebody is looked for who was here: nothing waits for more than one round.
        """
        return any(search_round - one.at < (1 if urgent else one.rounds) for one in self._same(box))

    def add(self, box: Box, search_round: int) -> None:
        """Remembers a box that was rejected in this round; forgets those that were not proposed when they might be."""
        same = self._same(box)
        rounds = min(max((2 * rejected.rounds for rejected in same), default=1), _LONGEST_ROUNDS)
        current = [one for one in self._boxes if one not in same and search_round - one.at <= 2 * one.rounds]
        self._boxes = [*current, _Rejected(box, search_round, rounds)]

    def _same(self, box: Box) -> list[_Rejected]:
        return [one for one in self._boxes if intersection_over_union(box, one.box) >= _SAME_IOU]
