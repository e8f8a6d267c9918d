"""Labels ahead of their capture, for links that carry few of them.

A receiver predicts people from the labels that it has, the fewer the worse.  The sender has all frames.  So it predicts
each label for a moment at which it will be shown (`LabelFrame.ahead_steps`), and the receiver begins there.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from common.frames import LabelFrame, PersonLabels
from common.labels import FAST_GROUPS, group_slices
from common.motion.label_track import Continued, LabelTrack, MotionPredictor, interpolated, with_frame


class LabelsAhead:
    """Predicts what leaves from all that was offered.

    Args:
        load: begins to load the predictor; called once, when labels are wanted ahead.  Until it is loaded they are as
            captured.
    """

    def __init__(self, load: Callable[[], "Future[MotionPredictor]"]) -> None:
        self._load = load
        self._predictor: Future[MotionPredictor] | None = None
        self._continued = Continued()
        self._tracks: dict[int, LabelTrack] = {}

    def offered(self, frame: LabelFrame) -> None:
        """Takes a frame of a live source, whether it will leave or not."""
        self._tracks = with_frame(self._tracks, frame)

    def of(self, frame: LabelFrame, steps: int) -> LabelFrame:
        """The frame with labels of so many steps later."""
        if not steps or not self._tracks or not self._is_loaded:
            return frame
        ahead = replace(frame, ahead_steps=steps)
        people = (self._of(person, ahead.describes_s) for person in frame.people)
        return replace(ahead, people=tuple(people))

    @property
    def _is_loaded(self) -> bool:
        if self._predictor is None:
            self._predictor = self._load()
        if not self._predictor.done():
            return False
        self._continued.predictor = self._predictor.result()
        return True

    def _of(self, person: PersonLabels, moment_s: float) -> PersonLabels:
        track, slices = self._tracks[person.identity], group_slices()
        then = interpolated(track, moment_s, self._continued.predict)
        fast = {name: values for name, values in person.labels.items() if name in FAST_GROUPS}
        moved = {name: then[slices[name]][: len(values)] for name, values in fast.items()}
        return replace(person, labels={**person.labels, **moved})
