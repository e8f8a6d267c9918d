"""Which acknowledgements may wait for others, so that several travel in one packet."""

# After a frame that waited for the window, this many frames are acknowledged at once: a second at 30 frames a second.
_PROMPT_FRAMES = 30
# Acknowledgements that may wait for the next one, one after the other.
_MOST_DELAYED = 4


class DelayedAcknowledgement:
    """Decides frame by frame, in the order in which they leave, whose acknowledgement may wait for that of the next.

    An acknowledgement costs nearly as many bytes on the wire as a frame, most of them headers.  One that arrives later
    keeps a place in the window for longer; and where losses are frequent it makes the next frame a few bytes longer,
    because that is predicted from an older one.  So four of five may wait, then every second one, as long as the window
    has room for it.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Resets the state for a new stream."""
        self._prompt_left = self._delayed = 0

    @property
    def room(self) -> int:
        """Places in the window for frames whose acknowledgement waits."""
        return 0 if self._prompt_left else _MOST_DELAYED

    def may_wait(self, *, held_back: bool, room: int, wanted_soon: bool, losses: bool) -> bool:
        """Whether the acknowledgement of the frame that leaves now may wait.

        Args:
            held_back: the frame had to wait for room in the window.
            room: how many more frames may leave before one is acknowledged.
            wanted_soon: something else than the next frame depends on this acknowledgement.
            losses: they are frequent.
        """
        self._prompt_left = _PROMPT_FRAMES if held_back else max(self._prompt_left - 1, 0)
        most = 1 if losses else _MOST_DELAYED
        waits = not (self._delayed >= most or self._prompt_left or wanted_soon or room < 1)
        self._delayed = self._delayed + 1 if waits else 0
        return waits
