"""Hidden limbs without the other parts of a session's motion."""

from dataclasses import replace

from common.frames import LabelFrame
from receiver.motion.hidden import LimbCompletion, load_completion


class LimbsAlone:
    """Completes the limbs of everybody in frames, in order."""

    def __init__(self, diffusion: str | None = "learned") -> None:
        self._hidden = load_completion(diffusion)
        self.limbs: dict[int, LimbCompletion] = {}

    def complete(self, frame: LabelFrame) -> LabelFrame:
        people = []
        for person in frame.people:
            labels, self.limbs[person.identity] = self._hidden.complete(
                person, self.limbs.get(person.identity), frame.captured_at
            )
            people.append(labels)
        return replace(frame, people=tuple(people))
