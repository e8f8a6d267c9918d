"""What becomes of a session's labels between codec and engine: limbs that nobody saw, and feet that stand."""

from common.frames import LabelFrame
from receiver.motion.hidden import HiddenLimbs, learned
from receiver.motion.planted import PlantedFeet


class SessionMotion:
    """The motion of a session's people.

    Args:
        diffusion: as `--motion` has it.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, diffusion: str = "learned") -> None:
        _, legs, _ = learned()
        self._hidden, self._planted = HiddenLimbs(diffusion), PlantedFeet(legs)

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame as it is to be shown; call it in order."""
        return self._planted.settle(self._hidden.complete(frame))
