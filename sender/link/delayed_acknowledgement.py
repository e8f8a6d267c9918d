"""Which frames' acknowledgements may wait for that of the next frame, to leave in one message with it.

An acknowledgement costs nearly as many bytes on the wire as a frame, most of them headers.  One that arrives a frame
later makes the next frame a few bytes longer, because it is predicted from an older one; and it keeps a place in the
window for longer.  So every second one may wait, as long as the window has room for it.
"""

# After a frame that waited for the window, this many frames are acknowledged at once: a second at 30 frames a second.
_PROMPT_FRAMES = 30


class DelayedAcknowledgement:
    """Decides frame by frame, in the order in which they leave."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Resets the state for a new stream."""
        self._prompt_left = 0
        self._delayed = False

    def may_wait(self, *, held_back: bool, room: int, wanted_soon: bool) -> bool:
        """Whether the acknowledgement of the frame that leaves now may wait.

        Args:
            held_back: the frame had to wait for room in the window.
            room: how many more frames may leave before one is acknowledged.
            wanted_soon: something else than the next frame depends on this acknowledgement.
        """
        self._prompt_left = _PROMPT_FRAMES if held_back else max(self._prompt_left - 1, 0)
        self._delayed = not (self._delayed or self._prompt_left or wanted_soon or room < 1)
        return self._delayed
