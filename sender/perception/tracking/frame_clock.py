"""The clock of a source's frames, by which lifetimes, pauses and smoothing are measured, whatever the frame rate."""

from typing import Final

USUAL_STEP_S: Final = 1 / 30
"""From one frame to the next where the source does not say."""


class FrameClock:
    """Seconds of the source's own time; never goes back.

    Attributes:
        now_s: from the first frame to the present one.
        step_s: from the frame before to the present one.
    """

    def __init__(self) -> None:
        self.now_s, self.step_s = 0.0, USUAL_STEP_S
        self._last_s: float | None = None
        self._began = False

    def tick(self, time_s: float | None) -> float:
        """Goes on to the next frame; returns how much later it is.

        Args:
            time_s: on the source's clock; where it is unknown or does not advance, the usual step passes.
        """
        step_s = 0.0 if time_s is None or self._last_s is None else time_s - self._last_s
        self.step_s, self._last_s = step_s if step_s > 0 else USUAL_STEP_S, time_s
        if self._began:
            self.now_s += self.step_s
        self._began = True
        return self.step_s
