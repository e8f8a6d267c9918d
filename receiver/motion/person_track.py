"""What motion remembers of a person."""

from dataclasses import dataclass, field

from receiver.motion.absent import Presence
from receiver.motion.hidden import LimbCompletion
from receiver.motion.planted import FootContact
from receiver.motion.smoothing import LabelSmoothing


@dataclass(slots=True, eq=False)
class PersonTrack:
    """What is remembered of one person, by what works on their labels, in this order; None before the first frame.

    Args:
        newest_s: when they were last in a frame, as sent or as predicted.
    """

    newest_s: float
    smoothing: LabelSmoothing = field(default_factory=LabelSmoothing)
    presence: Presence | None = None
    limbs: LimbCompletion | None = None
    contact: FootContact | None = None
