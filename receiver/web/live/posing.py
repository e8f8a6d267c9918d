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
from receiver.motion.playout import PlayoutBuffer
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

    def __init__(self, hub: LiveHub, playout: PlayoutBuffer, pose: Pose, clock: Clock = SYSTEM_CLOCK) -> None:
        self._hub, self._pose, self._clock = hub, pose, clock
        self._playout, self._view = playout, playout.view()
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
        self._view.ahead_s = self._spent_s + blend_s
        populated = [number for number in watched if self._has_people(number)]
        if any(await asyncio.gather(*(self._show(number, blend_s) for number in populated))):
            spent_s = self._clock.monotonic() - began_s
            self._spent_s += (1 - _SMOOTHING) * (spent_s - self._spent_s)
        return period_s if watched else _UNWATCHED_S

    def _has_people(self, number: int) -> bool:
        """Whether somebody is in the newest frame of a session, or is still shown though everybody has left."""
        frames = (self._playout.newest(number), self._shown[number])
        return any(frame is not None and frame.people for frame in frames)

    async def _show(self, number: int, blend_s: float) -> bool:
        """Returns whether anything has changed."""
        try:
            frame = self._view.frame(number)
            if frame is None or frame is self._shown[number]:
                return False
            self._shown[number] = frame
            people = await self._pose(number, frame)
        except Exception:
            # As for the frames that are published, which tell their senders; the next one may do.
            logger.debug("people of session %d were not posed", number, exc_info=True)
            return False
        if people is not None:
            self._hub.people_posed(number, people, blend_s)
        return people is not None
