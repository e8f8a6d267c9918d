import numpy as np

from common.arrays import Box
from sender.perception.detect import RejectedBoxes


def box(left: float, width: float = 100) -> Box:
    return np.array([left, 0, left + width, 200], np.float32)


def verified_rounds(rounds: int, *, urgent: bool = False) -> list[int]:
    """The rounds in which a box that is proposed and rejected in every round is verified."""
    boxes, verified = RejectedBoxes(), []
    for search_round in range(rounds):
        if not boxes.waits(box(10 + search_round % 2), search_round, urgent=urgent):
            verified.append(search_round)
            boxes.add(box(10 + search_round % 2), search_round)
    return verified


def test_box_that_is_rejected_again_waits_twice_as_long_up_to_a_limit() -> None:
    assert verified_rounds(40) == [0, 1, 3, 7, 15, 23, 31, 39]
    assert verified_rounds(40, urgent=True) == list(range(40))


def test_other_boxes_and_those_that_have_moved_do_not_wait() -> None:
    boxes = RejectedBoxes()
    boxes.add(box(0), 0)
    assert boxes.waits(box(0), 0) and boxes.waits(box(20), 0)
    assert not boxes.waits(box(60), 0) and not boxes.waits(box(0, width=40), 0)


def test_box_that_was_not_proposed_for_long_begins_anew() -> None:
    boxes = RejectedBoxes()
    for search_round in (0, 1, 3):
        boxes.add(box(0), search_round)
    boxes.add(box(500), 30)
    assert not boxes.waits(box(0), 30)
    boxes.add(box(0), 30)
    assert boxes.waits(box(0), 30) and not boxes.waits(box(0), 31)
