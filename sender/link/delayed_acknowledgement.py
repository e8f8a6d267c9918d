"""Which acknowledgements may wait for others, so that several travel in one packet."""

import math

# For so long after a message that waited for a full link, all are acknowledged at once; and for so long two together
# over TCP: packets that it loses delay others, and one with many acknowledgements many messages.
_PROMPT_S, _CAREFUL_S = 1.0, 10.0
# Acknowledgements that may wait for the next one, one after the other: all of a receiver's window where a budget paces
# messages, but for the one that brings them, and one behind it.
_MOST_DELAYED, _MOST_PACED, _PACED_ROOM = 4, 8, 2
# While losses are frequent: then frames are predicted from what was acknowledged.
_MOST_LOSSY, _MOST_LOSSY_PACED = 1, 2
# Heartbeat intervals from one prompt acknowledgement to the next: none may think the other lost.
_INTERVALS = 3.0


class DelayedAcknowledgement:
    """Decides of each message of a stream, in their order, whether its acknowledgement may wait for that of the next.

    An acknowledgement costs nearly as many bytes on the wire as a frame, most of them headers.  One that arrives later
    keeps a place in the window for longer; and where losses are frequent it makes the next frame a few bytes longer,
    because that is predicted from an older one.  So four of five may wait, or else every second one, as long as the
    window has room for it.

    Args:
        paced: a budget paces messages.
        lossy: they are sent in datagrams.
    """

    def __init__(self, heartbeat_interval_s: float, *, paced: bool = False, lossy: bool = False) -> None:
        self._most = _MOST_PACED if paced else _MOST_DELAYED
        self._least = _MOST_LOSSY_PACED if paced else _MOST_LOSSY
        self._room = self._most + (_PACED_ROOM if paced else 0)
        self._longest_s = _INTERVALS * heartbeat_interval_s
        self._careful_s = _PROMPT_S if lossy else _CAREFUL_S
        self._delayed, self._calm_s = 0, math.inf
        self._waited_s = self._prompt_s = -math.inf

    @property
    def room(self) -> int:
        """Places in the window for messages whose acknowledgement waits."""
        return 0 if self._calm_s < self._careful_s else self._room

    def may_wait(self, now_s: float, *, held_back: bool, room: int, wanted_soon: bool, losses: bool) -> bool:
        """Whether the acknowledgement of the message that leaves now may wait.

        Args:
            held_back: the message had to wait for room in the window, because the link is full.
            room: how many more may leave before one is acknowledged.
            wanted_soon: something else than the next frame depends on this acknowledgement.
            losses: they are frequent.
        """
        self._waited_s = now_s if held_back else self._waited_s
        self._calm_s = now_s - self._waited_s
        most = self._most if self.room and not losses else self._least
        prompt = self._calm_s < _PROMPT_S or wanted_soon or room < 1
        late = now_s - self._prompt_s >= self._longest_s
        waits = not (prompt or late) and self._delayed < most
        if not waits:
            self._prompt_s = now_s
        self._delayed = self._delayed + 1 if waits else 0
        return waits
