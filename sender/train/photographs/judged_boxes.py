"""What somebody has seen in the boxes that detector and perception propose in held-back photographs.

Annotations of photographs leave out many people, and box statues and posters.  Each line of `data/judged_boxes.tsv` is
a refined proposal, and what a vision-language model saw in it, shown as a cell of a contact sheet without annotation:

    person      one person, at least head and upper body, or all that is visible of somebody who is hidden in part
    fragment    a hand or an arm of somebody, or somebody far smaller than the box
    several     people, none of whom the box is about
    likeness    a statue, a doll, a drawing, a person on a screen
    nobody      an animal, a thing, a place
    unclear     too dark or too blurred to tell
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from common.arrays import FloatArray
from sender.train.frames.composed import Frame
from sender.train.photographs.dataset import Photograph, read_table

_JUDGED = Path(__file__).parents[1] / "data" / "judged_boxes.tsv"


@dataclass(frozen=True, slots=True)
class JudgedBoxes:
    """The judged boxes of one photograph, (n, 4) each: left, top, right, bottom in 0…1 of its sides.

    Args:
        people: each about one person.
        nobody: nobody, likenesses and fragments.
        neither: several people, and what is unclear.
    """

    people: FloatArray
    nobody: FloatArray
    neither: FloatArray


@cache
def judged_boxes() -> Mapping[str, JudgedBoxes]:
    """All judgements, by name of the photograph."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for row in read_table(_JUDGED):
        box = [float(row[side]) for side in ("left", "top", "right", "bottom")]
        found.setdefault(row["photograph"], {}).setdefault(row["shows"], []).append(box)
    kinds = ("person",), ("nobody", "likeness", "fragment"), ("several", "unclear")
    return {name: JudgedBoxes(*(_boxes(shown, each) for each in kinds)) for name, shown in found.items()}


def _boxes(shown: Mapping[str, list[list[float]]], kinds: tuple[str, ...]) -> FloatArray:
    return np.array([box for kind in kinds for box in shown.get(kind, ())], np.float32).reshape(-1, 4)


def judged_frame(item: Photograph) -> Frame:
    """A photograph with its judged boxes; with its annotated ones, outside of which nobody is, if it has none."""
    judged = judged_boxes().get(item.name)
    if judged is None:
        return Frame(item.image, item.boxes, item.crowds)
    height, width = item.image.shape[:2]
    sides = np.array([width, height, width, height], np.float32)
    people, nobody, neither = (boxes * sides for boxes in (judged.people, judged.nobody, judged.neither))
    return Frame(item.image, people, neither, nobody=nobody)
