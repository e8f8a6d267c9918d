"""Replays a recording in place of senders: the same decoder, reconstruction and output as in a live session."""

import asyncio
import contextlib
import logging
import secrets
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from common.blobs import Blob
from common.clock import SYSTEM_CLOCK, Clock
from common.errors import UsageError, WireError
from common.io.status_line import bit_rate
from common.recording.format import RecordedFrame, RecordedState
from common.recording.reader import Recording
from common.text import counted
from common.wire.convert import MAX_NAME_CHARACTERS, SESSION_SECRET_BYTES, FrameMessage
from receiver.config import ReplayConfig
from receiver.link.refusals import SessionOwner
from receiver.link.session import Arrival, FrameHandler, Session

logger = logging.getLogger(__name__)

_ACCOUNT = "replay"
_FRAMES_PER_TURN = 30
# A longer pause between two frames, or one that goes back, is left out: the clock was stepped, or nobody was there.
_LONGEST_PAUSE_US = 60_000_000


def open_recording(config: ReplayConfig, codec: int, model: str) -> "AbstractContextManager[Recording | None]":
    """Opens the recording; None if there is none to replay.

    Raises:
        RecordingError: the file is no recording, or of another codec version or other networks.
        UsageError: the recording ends before the replay would begin.
    """
    if config.replay is None:
        return nullcontext()
    recording = Recording(config.replay)
    with contextlib.ExitStack() as opened:
        opened.enter_context(recording)
        recording.check(codec, model)
        if config.from_us and config.from_us > recording.duration_us:
            raise UsageError(f"--from {config.from_:g}: {config.replay} ends after {recording.duration_us / 1e6:.1f} s")
        opened.pop_all()
    return recording


class ReplayHandler(FrameHandler, Protocol):
    """Handles what a replay contains (`receiver.pipeline`)."""

    def restore(self, session: Session, state: bytes) -> None:
        """Takes over a decoder's state that was recorded. Raises MalformedPacket for a damaged one."""

    def skip(self, session: Session, frame: FrameMessage) -> None:
        """Decodes a frame that later ones are predicted from. Raises WireError."""


class Replay:
    """One replay of an open recording of this installation's networks, as a new session of the output directory."""

    def __init__(
        self,
        recording: Recording,
        config: ReplayConfig,
        handler: ReplayHandler,
        announce: Callable[[str], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._recording = recording
        self._handler = handler
        self._announce = announce
        self._clock = clock
        self._factor, self._from_us = config.factor, recording.began_us + config.from_us
        self._first: tuple[float, int] | None = None
        self._last_us = self._own_us = 0
        self._played = self._played_bytes = self._refused = 0
        sender = recording.facts.sender[:MAX_NAME_CHARACTERS]
        self._session = Session(
            uuid.uuid4().bytes,
            sender,
            recording.facts.live,
            owner=SessionOwner.from_secret("", secrets.token_bytes(SESSION_SECRET_BYTES)),
            account=_ACCOUNT,
            replayed=True,
            timely=recording.facts.timely,
        )

    async def start(self) -> str:
        """A line about what is replayed."""
        recording, facts = self._recording, self._recording.facts
        if not recording.whole:
            logger.warning("%s is cut, or is being recorded; what is whole plays", recording.path)
        length_s = recording.duration_us / 1e6
        return f"replaying {recording.path}: {length_s:.1f} s of {facts.sender}, recorded by the {facts.recorded_by}"

    async def run(self, stop: asyncio.Event) -> None:
        """Plays until the recording ends or `stop` is set.

        Raises:
            RecordingError: the recording is damaged; what is before the damage was played.
            OutputError: the output cannot be written.
        """
        began_s = self._clock.monotonic()
        await self._handler.on_session(self._session)
        try:
            await self._play(stop)
        finally:
            await self._handler.on_session_end(self._session)
            spent_s = self._clock.monotonic() - began_s
            refused = f", {self._refused} refused" if self._refused else ""
            self._announce(f"replayed {counted(self._played, 'frame')} in {spent_s:.1f} s{self._live_cost()}{refused}")

    def _live_cost(self) -> str:
        """What the labels took when they were live, in the time of the recording."""
        if not self._own_us:
            return ""
        own_s = self._own_us / 1e6
        return f", {own_s:.1f} s when they were live, with {bit_rate(8 * self._played_bytes / own_s)} of labels"

    async def _play(self, stop: asyncio.Event) -> None:
        for number, item in enumerate(self._recording.read(max(self._from_us - self._recording.began_us, 0))):
            if stop.is_set():
                return
            if number % _FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)
            try:
                if isinstance(item, Blob):
                    self._handler.on_blob(self._session, item)
                elif isinstance(item, RecordedState):
                    self._handler.restore(self._session, item.data)
                else:
                    await self._take_frame(item, stop)
            except WireError as error:  # such as a frame whose reference is before the entry point
                if not self._refused:
                    logger.warning("%s: something in it is refused: %s", self._recording.path, error)
                self._refused += 1

    async def _take_frame(self, frame: RecordedFrame, stop: asyncio.Event) -> None:
        message = FrameMessage(frame.sequence, frame.payload, earlier=frame.earlier)
        if self._first is None:
            # Numbers begin anywhere: where a recording or a part of it begins.
            self._session.handled_before(message.sequences[0])
        # Behind the first one, only a clock that was set back has earlier times.
        too_early = self._first is None and frame.captured_us < self._from_us
        if too_early or self._session.has_handled(frame.sequence):
            self._handler.skip(self._session, message)
        else:
            await self._until_due(frame.captured_us, stop)
            if stop.is_set():
                return
            await self._handler.on_frame(self._session, message, Arrival(self._clock.monotonic()))
            self._played += len(message.sequences)
            self._played_bytes += len(message.payload)
        self._session.handled(frame.sequence)

    async def _until_due(self, captured_us: int, stop: asyncio.Event) -> None:
        """Waits for the time of a frame; one that comes late is played at once, and none is dropped."""
        now_s = self._clock.monotonic()
        if self._first is None or not 0 <= captured_us - self._last_us <= _LONGEST_PAUSE_US:
            self._first = now_s, captured_us
        else:
            self._own_us += captured_us - self._last_us
        self._last_us = captured_us
        if self._factor is None:
            return
        first_s, first_us = self._first
        delay_s = first_s + (captured_us - first_us) / 1e6 / self._factor - now_s
        if delay_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await stop.wait()
