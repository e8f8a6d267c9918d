"""People who stay the same from one frame to the next, as the tracker's do."""

from collections.abc import Sequence
from dataclasses import replace

from common.arrays import Image
from common.frames import Camera, PersonLabels
from sender.capture.source import CapturedFrame
from sender.config import TrackerConfig
from sender.lookahead import Perceived
from sender.people.view import PeopleView, PersonView, Reader, ReadingSchedule
from sender.perception.crop import FrameClock
from sender.perception.track import ObservedPerson, TrackedPerson


class TrackedPeople:
    """The people of one source.

    Args:
        forget_s: until somebody is forgotten who is not seen.
    """

    def __init__(self, forget_s: float = TrackerConfig().forget_s) -> None:
        self._forget_s, self._forgotten = forget_s, list[TrackedPerson]()
        self._people: dict[int, TrackedPerson] = {}
        self._clock, self._begins = FrameClock(), True
        self.schedule = ReadingSchedule()

    def read(
        self,
        reader: Reader,
        image: Image,
        camera: Camera,
        observed: Sequence[ObservedPerson],
        labels: Sequence[PersonLabels],
        time_s: float | None = None,
        *,
        is_still: bool = False,
    ) -> list[PersonLabels]:
        """What a reader makes of the people of the next frame, of whom these labels are read already."""
        frame = CapturedFrame(0, "clip.mp4", 0.0, time_s, image, camera)  # type: ignore[arg-type]
        perceived = self.perceived(frame, observed)
        self.schedule.begin(perceived.now_s)
        pairs = zip(perceived.observed, labels, strict=True)
        people = [PersonView(seen, {**each.labels}, {**each.sigma}, {**each.confidence}) for seen, each in pairs]
        reader.label(PeopleView(image, camera, people, self.schedule, perceived.step_s, is_still))
        return [person.finished for person in people]

    def __getitem__(self, identity: int) -> TrackedPerson:
        return self._people.setdefault(identity, TrackedPerson(identity))

    def reset(self) -> None:
        """Goes on to another source."""
        self._forgotten += self._people.values()
        self._people, self._clock, self._begins = {}, FrameClock(), True

    def perceived(self, frame: CapturedFrame, observed: Sequence[ObservedPerson]) -> Perceived:
        """The next frame, whose people are those of the same identities in the frames before."""
        step_s, seen = self._clock.tick(frame.media_time_s), {each.identity for each in observed}
        for person in list(self._people.values()):
            person.unseen_s = 0.0 if person.identity in seen else person.unseen_s + step_s
            if person.unseen_s > self._forget_s:
                self._forgotten.append(self._people.pop(person.identity))
        people = [replace(each, person=self[each.identity]) for each in observed]
        begins, forgotten, self._begins, self._forgotten = self._begins, self._forgotten, False, []
        known = tuple(self._people.values())
        return Perceived(frame, people, begins, self._clock.now_s, step_s, known, forgotten)
