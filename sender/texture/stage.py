"""Looks at the people of each frame for the colours of their surfaces, and says what is worth sending of them."""

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

_LOOK_EVERY_FRAMES = 5
# Longer than the tracker keeps an identity for somebody who is out of sight.
_FORGET_AFTER_FRAMES = 300


@dataclass(slots=True)
class _Known:
    """Somebody, when last seen at all and when last looked at, in frames; and whether anything was sent."""

    memory: PointColourMemory
    seen_at: int
    looked_at: int = field(default=-_LOOK_EVERY_FRAMES)
    told: bool = False


class TextureStage:
    """Remembers the surface of everybody who is followed.

    At most one person is looked at in a frame, and each every fifth frame at most, so the cost stays the same however
    many there are.

    Args:
        space: what the labels' entries mean.
        body: poses the surface points.
    """

    def __init__(self, space: LabelSpace, body: BodyModel) -> None:
        self._space = space
        self._body = body
        self._region = body.point_regions().numpy()
        self._people: dict[int, _Known] = {}
        self._frame = 0
        self._gone: list[int] = []
        # Encoded once, here: the first encoding of all looks for the order of the points, which takes a while.
        self._nothing_seen = encode(np.zeros((POINTS, 3), np.uint8), np.zeros(POINTS, np.bool_))

    def reset(self) -> None:
        """Forgets everybody: another source shows other people."""
        for identity in list(self._people):
            self._forget(identity)

    def update(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[tuple[int, bytes]]:
        """One frame, and what is worth sending after it: identities and what `common.texture.point_colours` encodes.

        A person who was told of and is gone is told of once more, with no point seen: the identity may come to mean
        somebody else.

        Args:
            image: (H, W, 3) uint8 RGB.
            camera: the frame's.
            observed: whom perception saw.
            people: the labels of the same, in the same order.
        """
        self._frame += 1
        for person in observed:
            known = self._people.setdefault(person.identity, _Known(PointColourMemory(self._region), self._frame))
            known.seen_at = self._frame
        for identity, known in list(self._people.items()):
            if self._frame - known.seen_at > _FORGET_AFTER_FRAMES:
                self._forget(identity)
        worth = [(identity, self._nothing_seen) for identity in self._gone]
        self._gone.clear()
        return worth + self._look(image, camera, observed, people)

    def _look(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[tuple[int, bytes]]:
        """Looks at whoever was not looked at for longest."""
        due = [
            (self._people[person.identity].looked_at, row)
            for row, person in enumerate(observed)
            if self._frame - self._people[person.identity].looked_at >= _LOOK_EVERY_FRAMES
        ]
        if not due:
            return []
        _, row = min(due)
        person = observed[row]
        known = self._people[person.identity]
        known.looked_at = self._frame
        points, normals = self._posed(people[row])
        known.memory.see(Observation.of(image, person.crop, person.output), points, normals, camera)
        if not known.memory.worth_sending:
            return []
        known.told = True
        return [(person.identity, encode(*known.memory.take()))]

    @torch.inference_mode()
    def _posed(self, person: PersonLabels) -> tuple[FloatArray, FloatArray]:
        """Points and normals (2048, 3) of the body that the labels describe."""
        labels = torch.from_numpy(concatenate(person.labels))[None]
        points, normals = self._body.surface_points(self._body(self._space.decode(labels)).vertices)
        return points[0].numpy(), normals[0].numpy()

    def _forget(self, identity: int) -> None:
        if self._people.pop(identity).told:
            self._gone.append(identity)
