"""The texture stage: learns the colours of people's surface points, and returns the updates that are worth sending."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.body.anatomy import POINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, PersonLabels
from common.labels import concatenate
from common.texture.point_colours import encode
from sender.perception.stage import ObservedPerson
from sender.texture.observation import Observation
from sender.texture.point_colour_memory import PointColourMemory

_OBSERVE_EVERY_FRAMES = 5
# Longer than the tracker keeps the identity of a lost person.
_FORGET_AFTER_FRAMES = 300
# Weight from which a point's colour is known in a picture: no better view of it will come.
_KNOWN_IN_PICTURE_WEIGHT = 0.2


@dataclass(slots=True)
class _PersonTexture:
    """One person's colours.

    Args:
        memory: the colours.
        seen_at: number of the frame in which the person was last tracked.
        observed_at: number of the last frame that was added to `memory`.
        sent: whether colours were sent.
    """

    memory: PointColourMemory
    seen_at: int
    observed_at: int = field(default=-_OBSERVE_EVERY_FRAMES)
    sent: bool = False


class TextureStage:
    """Keeps the surface colours of every tracked person.

    At most one person is observed per frame, and each in every fifth frame at most, so that the cost does not grow with
    the number of people.

    Args:
        space: decodes labels to bodies.
        body: poses the surface points.
    """

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        self._space = space
        self._body = body
        self._region = body.point_regions().numpy()
        self._people: dict[int, _PersonTexture] = {}
        self._frame = 0
        self._to_withdraw: list[int] = []
        # Encoded here, because the first encoding also computes the order of the points, which takes a while.
        self._empty_update = encode(np.zeros((POINTS, 3), np.uint8), np.zeros(POINTS, np.bool_))

    def reset(self) -> None:
        """Forgets all people, for a new source."""
        for identity in list(self._people):
            self._forget(identity)

    def update(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[tuple[int, bytes]]:
        """Takes one frame and returns updates: identities and colours as `common.texture.point_colours` encodes them.

        Colours that were sent are withdrawn with an empty update when the person is forgotten, because the identity may
        be given to another person.

        Args:
            image: (H, W, 3) uint8 RGB.
            camera: the frame's.
            observed: the people that perception has tracked.
            people: their labels, in the same order.
        """
        self._frame += 1
        for person in observed:
            texture = self._people.setdefault(
                person.identity, _PersonTexture(PointColourMemory(self._region), self._frame)
            )
            texture.seen_at = self._frame
        for identity, texture in list(self._people.items()):
            if self._frame - texture.seen_at > _FORGET_AFTER_FRAMES:
                self._forget(identity)
        withdrawn = [(identity, self._empty_update) for identity in self._to_withdraw]
        self._to_withdraw.clear()
        return withdrawn + self._observe(image, camera, observed, people)

    def of_picture(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[tuple[int, bytes]]:
        """The colours of everybody in a picture of its own, from this view alone; nothing is remembered.

        Everybody has an update, if only an empty one: an earlier picture may have shown somebody of the same identity.
        Arguments and result as for `update`.
        """
        updates = []
        for person, labels in zip(observed, people, strict=True):
            memory = PointColourMemory(self._region, _KNOWN_IN_PICTURE_WEIGHT)
            points, normals = self._posed(labels)
            memory.add(Observation.of(image, person.crop, person.output), points, normals, camera)
            updates.append((person.identity, encode(*memory.take())))
        return updates

    def _observe(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[tuple[int, bytes]]:
        """Observes the person whose last observation is the oldest, if one is due."""
        due = [
            (self._people[person.identity].observed_at, row)
            for row, person in enumerate(observed)
            if self._frame - self._people[person.identity].observed_at >= _OBSERVE_EVERY_FRAMES
        ]
        if not due:
            return []
        _, row = min(due)
        person = observed[row]
        texture = self._people[person.identity]
        texture.observed_at = self._frame
        points, normals = self._posed(people[row])
        texture.memory.add(Observation.of(image, person.crop, person.output), points, normals, camera)
        if not texture.memory.worth_sending:
            return []
        texture.sent = True
        return [(person.identity, encode(*texture.memory.take()))]

    @torch.inference_mode()
    def _posed(self, person: PersonLabels) -> tuple[FloatArray, FloatArray]:
        """Surface points and normals (2048, 3) of the body that the labels describe."""
        labels = torch.from_numpy(concatenate(person.labels))[None]
        points, normals = self._body.surface_points(self._body(self._space.decode(labels)).vertices)
        return points[0].numpy(), normals[0].numpy()

    def _forget(self, identity: int) -> None:
        if self._people.pop(identity).sent:
            self._to_withdraw.append(identity)
