"""What becomes of a session's labels between codec and engine: smoothing, and people and limbs that nobody saw."""

from dataclasses import replace

from common.codec.frame_state import DecodedFrame
from common.frames import LabelFrame, PersonLabels
from common.motion.label_track import LIFETIME_S, Continued
from receiver.motion.absent import with_absent
from receiver.motion.hidden import HiddenLimbs, load_completion
from receiver.motion.person_track import PersonTrack
from receiver.motion.planted import PlantedFeet
from receiver.motion.smoothing import LabelSmoothing
from receiver.motion.source_times import SourceTimes


class SessionMotion:
    """The motion of a session's people, who begin anew in another source.

    Args:
        hidden: completes limbs; by default with the learned diffusion.
        continued: continues the motion of people whom the sender has lost.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, hidden: HiddenLimbs | None = None, continued: Continued | None = None) -> None:
        self._hidden, self._continued = hidden or load_completion(), continued or Continued()
        self._planted = PlantedFeet(self._hidden.legs)
        self._times = SourceTimes()
        self._source, self._newest_s = "", 0.0
        self._tracks: dict[int, PersonTrack] = {}

    def process(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame as it is to be displayed; call it in order."""
        smooth = self.smooth(decoded)
        return replace(smooth, frame=self.complete(smooth.frame))

    def smooth(self, decoded: DecodedFrame) -> DecodedFrame:
        """The frame with labels that do not flicker, on a clock that goes on; call it in order."""
        decoded = self._times.bridged(decoded)
        frame = decoded.frame
        self._begin(frame)
        if decoded.reference is None:
            for track in self._tracks.values():
                track.smoothing = LabelSmoothing()
        people = tuple(
            self._tracks[person.identity].smoothing.displayed(
                person, decoded.rho_by_person[person.identity], frame.captured_at
            )
            for person in frame.people
        )
        return replace(decoded, frame=replace(frame, people=people))

    def complete(self, frame: LabelFrame) -> LabelFrame:
        """The frame with people and limbs that nobody saw, and feet that stand; call it in order."""
        self._begin(frame)
        frame = with_absent(frame, self._tracks, self._continued)
        return replace(frame, people=tuple(self._completed(person, frame.captured_at) for person in frame.people))

    def _begin(self, frame: LabelFrame) -> None:
        """Forgets who was away for longer than a lifetime, everybody of another source, or where times go back."""
        now_s = frame.captured_at
        known = frame.source == self._source and now_s >= self._newest_s
        self._source, self._newest_s = frame.source, now_s
        tracks = self._tracks.items() if known else ()
        self._tracks = {who: track for who, track in tracks if now_s - track.newest_s <= LIFETIME_S}
        for person in frame.people:
            self._tracks.setdefault(person.identity, PersonTrack(now_s)).newest_s = now_s

    def _completed(self, labels: PersonLabels, now_s: float) -> PersonLabels:
        track = self._tracks[labels.identity]
        track.newest_s = now_s
        labels, track.limbs = self._hidden.complete(labels, track.limbs, now_s)
        labels, track.contact = self._planted.settle(labels, track.contact, now_s)
        return labels
