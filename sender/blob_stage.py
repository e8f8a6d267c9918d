"""What is made of observed people beside their labels: one protocol for colours, pictures and previews."""

from collections.abc import Sequence
from typing import Protocol

from common.blobs import Blob
from common.frames import PersonLabels
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson


class BlobStage(Protocol):
    """Turns the people of each frame into blobs, or shows them to the user and returns none."""

    @property
    def timed_as(self) -> str | None:
        """The stage of `SenderMetrics` that its time belongs to; None if it measures its time itself."""

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """Takes a frame and returns the blobs that are due.

        Args:
            frame: with its sequence number in the session.
            observed: the people that perception has tracked.
            people: their labels, in the same order.
        """

    def reset(self) -> None:
        """Forgets all people, for a new source."""
