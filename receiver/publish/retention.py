"""Which ended sessions are deleted: those that are older, or beyond as many gigabytes, as the options say."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from common.clock import SYSTEM_CLOCK, Clock
from common.errors import OutputError
from receiver.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.publish.session_records import SessionInUse, SessionState, picture_bytes

logger = logging.getLogger(__name__)

_EVERY_S = 60.0
_DAY_S = 86_400.0
# Of --keep-gb, once there is more: each deletion copies the lines of all other sessions.
_ROOM_SHARE = 0.1


def expired(
    sessions: Iterable[SessionState],
    live: Collection[int],
    config: PublishConfig,
    now: float,
    pictures: Mapping[int, int] = MappingProxyType({}),
) -> list[SessionState]:
    """The sessions to delete, the one that ended first first.

    Args:
        live: numbers of those that are; they count, and stay.
        now: seconds since the epoch, on the clock of `SessionStatistics.ended_at`.
        pictures: bytes of the pictures of sessions, by number.
    """
    oldest_first = sorted(sessions, key=lambda state: (state.statistics.ended_at, state.number))
    excess = -1.0
    if config.keep_gb is not None:
        most_bytes = 1e9 * config.keep_gb
        excess = sum(_bytes(state, pictures) for state in oldest_first) - most_bytes
        if excess > 0:
            excess += _ROOM_SHARE * most_bytes
    found = []
    for state in oldest_first:
        age_s = now - state.statistics.ended_at
        old = config.keep_days is not None and age_s > _DAY_S * config.keep_days
        if state.number in live or not (old or excess > 0):
            continue
        found.append(state)
        excess -= _bytes(state, pictures)
    return found


def _bytes(state: SessionState, pictures: Mapping[int, int]) -> int:
    return state.statistics.disk_bytes + pictures.get(state.number, 0)


async def keep_within_limits(directory: SessionDirectory, clock: Clock = SYSTEM_CLOCK) -> None:
    """Deletes what expires, every minute, until it is cancelled."""
    config = directory.config
    while config.keep_days is not None or config.keep_gb is not None:
        await asyncio.to_thread(delete_expired, directory, clock.wall())
        await asyncio.sleep(_EVERY_S)


def delete_expired(directory: SessionDirectory, now: float) -> None:
    """Deletes what has expired, with a line in the log."""
    pictures = picture_bytes(directory.config.out)
    found = expired(directory.sessions(), directory.usage.live(), directory.config, now, pictures)
    if not found:
        return
    numbers = [state.number for state in found]
    try:
        directory.delete(numbers)
    except SessionInUse as error:
        logger.debug("sessions are deleted later: %s", error)
    except OutputError as error:
        logger.warning("%s; old sessions are deleted later", error)
    else:
        freed = sum(_bytes(state, pictures) for state in found) / 1e9
        logger.info("deleted %d old sessions (%.1f GB): %s", len(found), freed, ", ".join(map(str, numbers)))
