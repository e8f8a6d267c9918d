"""Meshes of people as they are predicted to be, for the browsers that watch live sessions.

A browser blends from where people are to the newest mesh, which shows them as they will be when it is there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from common.clock import SYSTEM_CLOCK, Clock
from common.frames import LabelFrame
from receiver.engine.engine import ReconstructedPerson
from receiver.playout.playout import Playout
from receiver.web.live.hub import LiveHub

logger = logging.getLogger(__name__)

MOST_HZ: Final = 30.0
# Of the time of the networks that others do not need, and of what they take, the smoothed mean.
_SHARE, _SMOOTHING = 1 / 3, 0.9
_UNWATCHED_S = 0.1
# Meshes take longer on their way by this than until the next one is due: one that is late stops nobody.
_LATE: Final = 1.25

Pose = Callable[[int, LabelFrame], Awaitable[tuple[ReconstructedPerson, ...] | None]]
"""Reconstructs people of a session by its number; None if nothing is known of it yet."""


class LivePoses:
    """Poses the people of watched sessions up to `MOST_HZ` times a second, less often where that takes long."""

    def __init__(self, hub: LiveHub, playout: Playout, pose: Pose, clock: Clock = SYSTEM_CLOCK) -> None:
        self._hub, self._pose, self._clock = hub, pose, clock
        self._screen = playout.screen()
        self._shown: dict[int, LabelFrame | None] = {}
        self._spent_s = 0.0

    async def run(self) -> None:
        """Poses until cancelled."""
        while True:
            began_s = self._clock.monotonic()
            due_s = began_s + await self.show()
            await asyncio.sleep(max(due_s - self._clock.monotonic(), 0.0))

    async def show(self) -> float:
        """Shows everybody who is watched as they are now; returns after how long to do so again, in seconds."""
        began_s = self._clock.monotonic()
        watched = [number for number in self._hub.sessions if self._hub.is_watched(number)]
        self._shown = {number: self._shown.get(number) for number in watched}
        period_s = max(1 / MOST_HZ, self._spent_s / _SHARE)
        blend_s = _LATE * period_s
        self._screen.ahead_s = self._spent_s + blend_s
        moved = [(number, frame) for number in watched if (frame := self._moved(number)) is not None]
        if any(await asyncio.gather(*(self._show(number, frame, blend_s) for number, frame in moved))):
            spent_s = self._clock.monotonic() - began_s
            self._spent_s += (1 - _SMOOTHING) * (spent_s - self._spent_s)
        return period_s if watched else _UNWATCHED_S

    def _moved(self, number: int) -> LabelFrame | None:
        """The people of a session as they are now; None if nothing has changed, or nobody is there to be posed."""
        before = self._shown[number]
        try:
            frame = self._shown[number] = self._screen.frame(number)
        except Exception:
            _log_unposed(number)
            return None
        somebody = [each for each in (before, frame) if each is not None and each.people]
        return None if frame is before or not somebody else frame

    async def _show(self, number: int, frame: LabelFrame, blend_s: float) -> bool:
        """Returns whether the people of a session were posed."""
        try:
            people = await self._pose(number, frame)
        except Exception:
            _log_unposed(number)
            return False
        if people is not None:
            self._hub.people_posed(number, people, blend_s)
        return people is not None


def _log_unposed(number: int) -> None:
    """Of the error that is handled: as for the frames that are published, which tell their senders; the next may do."""
    logger.debug("people of session %d were not posed", number, exc_info=True)
