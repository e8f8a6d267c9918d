"""What becomes of a session's labels between codec and engine: people and limbs that nobody saw, feet that stand."""

from common.frames import LabelFrame
from common.motion.extrapolation import Continued
from receiver.motion.absent import AbsentPeople
from receiver.motion.hidden import HiddenLimbs, learned
from receiver.motion.planted import PlantedFeet


class SessionMotion:
    """The motion of a session's people, who begin anew in another source.

    Args:
        diffusion: as `--motion` has it.
        continued: continues the motion of people whom the sender has lost.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, diffusion: str = "learned", continued: Continued | None = None) -> None:
        self._diffusion, self._continued, self._source = diffusion, continued or Continued(), ""
        self._begin()

    def _begin(self) -> None:
        self._absent = AbsentPeople(self._continued)
        self._hidden, self._planted = HiddenLimbs(self._diffusion), PlantedFeet(learned()[1])

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame as it is to be shown; call it in order."""
        if frame.source != self._source:
            self._source = frame.source
            self._begin()
        return self._planted.settle(self._hidden.complete(self._absent.complete(frame)))
