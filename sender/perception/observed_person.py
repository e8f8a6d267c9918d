"""What perception says of one person in one frame."""

from dataclasses import dataclass

from sender.face.head_pose import HeadPose
from sender.people.tracked_person import TrackedPerson
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput
from sender.perception.tracking.view_turns import View


@dataclass(frozen=True, slots=True)
class ObservedPerson:
    """One person in one frame.

    Args:
        person: the same from frame to frame.
        score: probability that this is a person, 0…1.
        crop: the part of the frame that perception read.
        output: perception's predictions there, a batch of one.
        view: how perception saw the crop.
        is_propagated: whether perception read the frame before, and only the keypoints are of this one.
        head: of a close-up, from the landmarks of the face; the output's keypoints there are its own.
    """

    person: TrackedPerson
    score: float
    crop: CropBox
    output: PerceptionOutput
    view: View = "both"
    head: HeadPose | None = None
    is_propagated: bool = False

    @property
    def identity(self) -> int:
        """0…255."""
        return self.person.identity
