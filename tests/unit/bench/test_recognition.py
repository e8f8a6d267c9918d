"""Who is known by a rebuilt head: made-up embeddings."""

import numpy as np
import pytest

from tests.bench.recognition import Known, figures, rank1

TILE = np.zeros((112, 112, 3), np.uint8)


def known(name: str, clip: str, true: int, found: int | None) -> Known:
    """Somebody whose face points along one axis, and whose heads point along another."""
    axes = np.eye(4, dtype=np.float32)
    heads = [None if found is None else axes[found]] * 3
    off_m = np.array([0.01, np.nan, -0.03, 0.02], np.float32)
    return Known(name, clip, TILE, axes[true], axes[true], [TILE] * 3, heads, off_m)


def test_photographs_are_compared_with_themselves() -> None:
    people = [known("a", "a", 0, 0), known("b", "b", 1, 0), known("c", "c", 2, None)]
    assert figures(people)["view"] == 1 / 3 and figures(people)["ceiling"] == 1
    assert figures(people)["outline_mm"] == pytest.approx(20)


def test_clips_are_compared_with_other_clips_alone() -> None:
    """The clips of `b` are unlike each other, so that each is like nobody's."""
    people = [
        known("a", "first", 0, 0),
        known("a", "second", 0, 0),
        known("b", "third", 1, 1),
        known("b", "fourth", 2, 2),
    ]
    assert rank1(people, [each.found[0] for each in people]) == 0.5
