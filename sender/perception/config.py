"""Who is found and tracked: the options, and the limits of the tracker."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from common.frames import MAX_PEOPLE
from common.io.command_line import option

Keypoints = Literal["fused", "ours"]

# People tracked in files without --max-people.
_PEOPLE_IN_FILES = 8
# Without it, only people of this share of the tallest one's height are tracked: smaller ones are usually passers-by.
_PROMINENT_HEIGHT_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Limits of the tracker.

    Args:
        max_people: tracks at a time.
        least_height_share: a person of a smaller share of the tallest one's height gets no track.
        forget_s: a person who is not seen for longer gets a new identity on return.
    """

    max_people: int = 1
    least_height_share: float = 0.0
    forget_s: float = 1.7


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """Who is found, and how many are tracked."""

    max_people: int | None = option(
        None,
        help="most people tracked (default: up to 8, of a live camera what the machine carries, up to 4; "
        "nobody less than 0.4 times as tall as the tallest)",
    )
    keypoints: Keypoints = option(
        "fused",
        help="keypoints in the picture: ours fused with MoveNet's, which are more exact, or ours alone, faster",
        advanced=True,
    )

    def __post_init__(self) -> None:
        if self.max_people is not None and not 1 <= self.max_people <= MAX_PEOPLE:
            raise ValueError(f"--max-people must be between 1 and {MAX_PEOPLE}, not {self.max_people}")

    def limits(self, *, carried: Callable[[], int] | None) -> TrackerConfig:
        """The tracker's limits.

        Args:
            carried: of a live source: how many people this machine can follow; called if it matters.
        """
        if self.max_people is not None:
            return TrackerConfig(max_people=self.max_people)
        people = _PEOPLE_IN_FILES if carried is None else carried()
        return TrackerConfig(max_people=people, least_height_share=_PROMINENT_HEIGHT_SHARE)
