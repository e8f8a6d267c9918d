"""Frames that wait for later ones, by which they are labelled better: those of files, which nobody waits for.

A frame waits until another is late enough, and not longer than memory allows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sender.capture.source import CapturedFrame
from sender.perception.crop import USUAL_STEP_S
from sender.perception.track import ObservedPerson, TrackedPerson

_MOST_BYTES: Final = 128 << 20
"""Of the pictures that wait."""


@dataclass(frozen=True, slots=True)
class Perceived:
    """A frame with the people in it.

    Args:
        begins: whether it is the first one of its source.
        now_s, step_s: since that one, and since the frame before.
        known: who is tracked, also of those who are lost.
        forgotten: who no longer is.
    """

    frame: CapturedFrame
    observed: Sequence[ObservedPerson]
    begins: bool
    now_s: float = 0.0
    step_s: float = USUAL_STEP_S
    known: Sequence[TrackedPerson] = ()
    forgotten: Sequence[TrackedPerson] = ()


class Lookahead:
    """A queue of perceived frames.

    Args:
        later_s: how much later the last of the frames is that one waits for; 0 to wait for none.

    Attributes:
        ended: whether no frame follows.
    """

    def __init__(self, later_s: float) -> None:
        self._later_s = later_s
        self._waiting: deque[Perceived] = deque()
        self.ended = False

    def push(self, perceived: Perceived) -> None:
        """Takes the next frame."""
        self._waiting.append(perceived)

    def pop(self) -> tuple[Perceived, Sequence[Perceived]] | None:
        """The oldest frame, if it waits no longer, and those of its source that came after it."""
        if not self._waiting:
            return None
        oldest, *after = self._waiting
        same = [each for each in after if not each.begins]
        held = sum(each.frame.image.nbytes for each in self._waiting)
        newest_s = same[-1].frame.media_time_s if same else oldest.frame.media_time_s
        waits = newest_s - oldest.frame.media_time_s < self._later_s and len(same) == len(after)
        if waits and not self.ended and held <= _MOST_BYTES:
            return None
        self._waiting.popleft()
        return oldest, same


def with_later(
    frames: Iterable[CapturedFrame], perceive: Callable[[CapturedFrame], Perceived], later_s: float
) -> Iterator[tuple[Perceived, Sequence[Perceived]]]:
    """Yields the frames, perceived, each with those after it, as `Lookahead.pop`."""
    ahead = Lookahead(later_s)
    for frame in frames:
        ahead.push(perceive(frame))
        while ready := ahead.pop():
            yield ready
    ahead.ended = True
    while ready := ahead.pop():
        yield ready
