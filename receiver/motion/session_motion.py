"""What becomes of a session's labels between codec and engine: limbs that nobody saw, and feet that stand."""

from common.frames import LabelFrame
from receiver.motion.hidden import HiddenLimbs, learned
from receiver.motion.planted import PlantedFeet


class SessionMotion:
    """The motion of a session's people, who begin anew in another source.

    Args:
        diffusion: as `--motion` has it.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, diffusion: str = "learned") -> None:
        self._diffusion, self._source = diffusion, ""
        self._begin()

    def _begin(self) -> None:
        self._hidden, self._planted = HiddenLimbs(self._diffusion), PlantedFeet(learned()[1])

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame as it is to be shown; call it in order."""
        if frame.source != self._source:
            self._source = frame.source
            self._begin()
        return self._planted.settle(self._hidden.complete(frame))
