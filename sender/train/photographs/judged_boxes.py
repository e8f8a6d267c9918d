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
from functools import cache
from pathlib import Path

import numpy as np

from sender.train.frames.composed import Frame
from sender.train.photographs.dataset import Photograph, read_table

_JUDGED = Path(__file__).parents[1] / "data" / "judged_boxes.tsv"
# What shows a person, nobody, and neither.
_KINDS = ("person",), ("nobody", "likeness", "fragment"), ("several", "unclear")

Judged = Mapping[str, list[list[float]]]
"""What is shown → boxes: left, top, right, bottom in 0…1 of the photograph's sides."""


@cache
def judged_boxes() -> Mapping[str, Judged]:
    """All judgements, by name of the photograph."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for row in read_table(_JUDGED):
        box = [float(row[side]) for side in ("left", "top", "right", "bottom")]
        found.setdefault(row["photograph"], {}).setdefault(row["shows"], []).append(box)
    return found


def judged_frame(item: Photograph) -> Frame:
    """A photograph with its judged boxes; with its annotated ones, outside of which nobody is, if it has none."""
    judged = judged_boxes().get(item.name)
    if judged is None:
        return Frame(item.image, item.boxes, item.crowds)
    height, width = item.image.shape[:2]
    people, nobody, neither = (
        np.array([box for kind in kinds for box in judged.get(kind, ())], np.float32).reshape(-1, 4)
        * np.array([width, height, width, height], np.float32)
        for kinds in _KINDS
    )
    return Frame(item.image, people, neither, nobody=nobody)
