"""Records sessions (`--record`): the packets that were decoded, in order, and the blobs between them.

The packets of a live stream are predicted from earlier ones for as long as it lasts. About every twenty seconds the
decoder's state is recorded too: a replay can begin there. Behind a loss, a packet may be predicted from an older frame
than that state has; then the state is recorded again.
"""

import logging
from collections.abc import Sequence
from functools import partial

from common.blobs import Blob
from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import DecodedFrame
from common.errors import OutputError
from common.recording.format import MAX_TEXT_CHARACTERS, RecordedFrame, RecordedState, RecordingFacts
from common.recording.writer import BackgroundRecording, RecordingWriter
from receiver.config import RecordConfig
from receiver.link.session import Session
from receiver.publish.observer import SessionObserver

logger = logging.getLogger(__name__)

_ENTRY_EVERY_US = 20_000_000
# Bounds what is remembered where times of capture do not advance.
_MAX_FRAMES_PER_ENTRY = 3000


class FileRecorder(SessionObserver):
    """Records each session to a file of its own, with the codec, model and version of this installation."""

    def __init__(self, config: RecordConfig, *, codec: int, model: str, version: str) -> None:
        self._config = config
        self._codec, self._model, self._version = codec, model, version
        self._sessions: dict[int, _SessionRecording] = {}
        self._ending: list[_SessionRecording] = []

    def session_began(self, number: int, session: Session) -> None:
        if number in self._sessions:
            return
        sender = "".join(each for each in session.sender if each.isprintable())[:MAX_TEXT_CHARACTERS]
        facts = RecordingFacts(
            self._codec, self._model, "receiver", self._version, sender, session.live, timely=session.timely
        )
        try:
            writer = RecordingWriter(self._config.path_of(number), facts)
        except OutputError as error:
            logger.error("session %d is not recorded: %s", number, error)
            return
        logger.info("recording session %d to %s", number, writer.path)
        self._sessions[number] = _SessionRecording(BackgroundRecording(writer))

    def packet_decoded(self, number: int, decoded: Sequence[DecodedFrame], payload: bytes, decoder: FrameCodec) -> None:
        recording = self._sessions.get(number)
        if recording is not None:
            recording.add(decoded, payload, decoder)

    def blob_taken(self, number: int, blob: Blob) -> None:
        recording = self._sessions.get(number)
        if recording is not None:
            recording.background.add_blob(blob)

    def session_ended(self, number: int) -> None:
        recording = self._sessions.pop(number, None)
        if recording is not None:
            recording.background.finish()
            self._ending = [each for each in self._ending if not each.background.finished]
            self._ending.append(recording)

    def close(self) -> None:
        """Waits until everything is written."""
        for recording in [*self._sessions.values(), *self._ending]:
            recording.background.close()
        self._sessions, self._ending = {}, []


class _SessionRecording:
    """The recording of one session: decides where decoding can begin."""

    def __init__(self, background: BackgroundRecording) -> None:
        self.background = background
        self._begun = False
        self._entry_us: int | None = None
        self._needed_from = 0
        self._frames_since_entry = 0

    def add(self, decoded: Sequence[DecodedFrame], payload: bytes, decoder: FrameCodec) -> None:
        """Records a packet that was decoded last."""
        labels, key = decoded[-1].frame, decoded[0].reference is None
        earlier = tuple(each.frame.sequence for each in decoded[:-1])
        frame = RecordedFrame(labels.sequence, round(labels.captured_at * 1e6), key, payload, earlier)
        entry_point = key and not self._begun
        if entry_point:
            self._begun = True
            self._restart_interval(frame, frame.sequence)
        # A recording that begins within a stream begins behind the first packet.
        if self._begun:
            self.background.submit(partial(RecordingWriter.add_frame, frame=frame, entry_point=entry_point))
            self._frames_since_entry += 1
        behind_loss = not key and decoder.needed_from < self._needed_from
        if behind_loss or self._is_due(frame.captured_us):
            self._restart_interval(frame, decoder.needed_from)
            self._begun, state = True, RecordedState(frame.sequence, decoder.snapshot())
            self.background.submit(RecordingWriter.begin_entry_point)
            self.background.submit(lambda writer: writer.add_state(state))

    def _restart_interval(self, frame: RecordedFrame, needed_from: int) -> None:
        self._entry_us, self._frames_since_entry, self._needed_from = frame.captured_us, 0, needed_from

    def _is_due(self, captured_us: int) -> bool:
        """Whether the next entry point is to be made; at once where times of capture go back."""
        if self._entry_us is None or self._frames_since_entry >= _MAX_FRAMES_PER_ENTRY:
            return True
        return not 0 <= captured_us - self._entry_us < _ENTRY_EVERY_US
