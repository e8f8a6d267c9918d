"""How many people are tracked: the option, and the limits of the tracker."""

from dataclasses import dataclass

from common.frames import MAX_PEOPLE
from common.io.options import option

# Without --max-people, so many people are tracked in files, if they have this share of the tallest one's height: at
# half the height they are twice as far away, and usually passers-by.
_PEOPLE_IN_FILES, _PROMINENT_HEIGHT_SHARE = 8, 0.4


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Limits of the tracker.

    Args:
        max_people: tracks at a time.
        least_height_share: a person of a smaller share of the tallest one's height gets no track.
        forget_frames: a person who is not seen for longer gets a new identity on return.
        min_confidence: below it, the person of a track is not seen in that frame.
    """

    max_people: int = 1
    least_height_share: float = 0.0
    forget_frames: int = 50
    min_confidence: float = 0.3


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """How many people are tracked."""

    max_people: int | None = option(
        None,
        help="most people tracked (default: live camera 1, otherwise up to 8, at least 0.4 of the tallest)",
    )

    def __post_init__(self) -> None:
        if self.max_people is not None and not 1 <= self.max_people <= MAX_PEOPLE:
            raise ValueError(f"--max-people must be between 1 and {MAX_PEOPLE}, not {self.max_people}")

    def limits(self, *, live: bool) -> TrackerConfig:
        """The tracker's limits for a live source, or for images and videos."""
        if self.max_people is not None:
            return TrackerConfig(max_people=self.max_people)
        if live:
            return TrackerConfig(max_people=1)
        return TrackerConfig(max_people=_PEOPLE_IN_FILES, least_height_share=_PROMINENT_HEIGHT_SHARE)
