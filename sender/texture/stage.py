"""The texture stage: learns the colours of people's surface, and returns the updates that are worth sending.

Two descriptions of the same colours: 2,048 points of the surface, a few kilobytes, and the tiles of a texture atlas.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.arrays import FloatArray
from common.blobs import COLOURS, TEXTURE, Blob
from common.body.anatomy import POINTS
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.labels import concatenate
from common.texture.atlas import AtlasLayout
from common.texture.atlas_tiles import LEVEL_SIZES, TILES, Tile
from common.texture.point_colours import encode
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasCamera
from sender.texture.observation import Observation
from sender.texture.point_colour_memory import PointColourMemory
from sender.texture.tile_schedule import TileSchedule

_OBSERVE_EVERY_FRAMES = 5
# The first observation is so many frames after a person's first frame.  The detector, which runs in every fifth frame,
# found the person in that one, and their clothes are read in it, too: frames should take about the same time.
_FIRST_OBSERVATION_FRAMES = 2
# Longer than the tracker keeps the identity of a lost person.
_FORGET_AFTER_FRAMES = 300
# Weight from which a point's colour is known in a picture: no better view of it will come.
_KNOWN_IN_PICTURE_WEIGHT = 0.2
_KNOWN_IN_PICTURE_TEXEL_WEIGHT = 0.02
_FINEST_TILES = [tile for tile in TILES if tile.level == len(LEVEL_SIZES) - 1]


@dataclass(slots=True)
class _PersonTexture:
    """One person's colours.

    Args:
        seen_at: number of the frame in which the person was last tracked.
        observed_at: number of the last frame that was added to `memory`; at first, one that makes the next one due.
    """

    memory: PointColourMemory
    atlas: AtlasMemory
    tiles: TileSchedule
    seen_at: int
    observed_at: int
    sent: bool = False


class TextureStage:
    """Keeps the surface colours of every tracked person.

    At most one person is observed per frame, and each in every fifth frame at most, so that the cost does not grow with
    the number of people.

    Args:
        stills: every frame is a picture of its own: everybody's colours come with it, and nothing is remembered.
    """

    timed_as = "colours"

    def __init__(self, space: LabelSpace, body: BodyModel, *, stills: bool = False) -> None:
        self._stills = stills
        self._space = space
        self._body = body
        self._region = body.point_regions().numpy()
        layout = AtlasLayout.from_body(body)
        self._areas = layout.areas(body)
        self._atlas_camera = AtlasCamera(layout, body.faces.numpy(), body.vertex_region.numpy())
        self._people: dict[int, _PersonTexture] = {}
        self._frame = 0
        # Whether somebody was observed in the last frame.
        self._observed = False
        self._to_withdraw: list[Blob] = []
        # Encoded here, because the first encoding also computes the order of the points, which takes a while.
        self._empty_update = encode(np.zeros((POINTS, 3), np.uint8), np.zeros(POINTS, np.bool_))

    def reset(self) -> None:
        for identity in list(self._people):
            self._forget(identity)

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """Takes one frame and returns updates: colours of points, and tiles of the texture atlas.

        What was sent is withdrawn with empty updates when the person is forgotten, because the identity may be given to
        another person.
        """
        if self._stills:
            return self._from_picture(frame, observed, people)
        self._frame += 1
        for person in observed:
            if person.identity not in self._people:
                self._people[person.identity] = self._unknown()
            self._people[person.identity].seen_at = self._frame
        for identity, texture in list(self._people.items()):
            if self._frame - texture.seen_at > _FORGET_AFTER_FRAMES:
                self._forget(identity)
        withdrawn, self._to_withdraw = self._to_withdraw, []
        # An observation and a tile in one frame would delay it; they take turns.
        row = self._due(observed)
        updates = self._next_tile() if row is None or self._observed else []
        self._observed = row is not None and not updates
        if row is not None and self._observed:
            updates = self._observe(frame, observed[row], people[row])
        return withdrawn + updates

    def _unknown(self) -> _PersonTexture:
        """The texture of somebody who was not seen before."""
        layout = self._atlas_camera.layout
        atlas, due = AtlasMemory(layout), self._frame + _FIRST_OBSERVATION_FRAMES
        tiles = TileSchedule(layout, atlas, self._areas)
        return _PersonTexture(PointColourMemory(self._region), atlas, tiles, self._frame, due - _OBSERVE_EVERY_FRAMES)

    def _from_picture(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """The colours of everybody in a picture, from this view alone.

        Everybody has an update, if only an empty one: an earlier picture may have shown somebody of the same identity.
        """
        updates = []
        for person, labels in zip(observed, people, strict=True):
            memory = PointColourMemory(self._region, _KNOWN_IN_PICTURE_WEIGHT)
            atlas = AtlasMemory(self._atlas_camera.layout, _KNOWN_IN_PICTURE_TEXEL_WEIGHT)
            self._add(memory, atlas, frame, person, labels)
            updates.append(Blob(COLOURS, person.identity, encode(*memory.take())))
            updates += _blobs(person.identity, atlas.encoded(_FINEST_TILES))
        return updates

    def _due(self, observed: Sequence[ObservedPerson]) -> int | None:
        """The row of the person whose last observation is the oldest; None if nobody is due."""
        due = [
            (self._people[person.identity].observed_at, row)
            for row, person in enumerate(observed)
            if self._frame - self._people[person.identity].observed_at >= _OBSERVE_EVERY_FRAMES
        ]
        return min(due)[1] if due else None

    def _observe(self, frame: CapturedFrame, person: ObservedPerson, labels: PersonLabels) -> list[Blob]:
        """Observes a person; returns the colours of points if they are worth sending."""
        texture = self._people[person.identity]
        texture.observed_at = self._frame
        self._add(texture.memory, texture.atlas, frame, person, labels)
        texture.tiles.observed()
        if not texture.memory.worth_sending:
            return []
        texture.sent = True
        return [Blob(COLOURS, person.identity, encode(*texture.memory.take()))]

    def _next_tile(self) -> list[Blob]:
        """The next tile of somebody who has one to send: encoding several would delay a frame."""
        for identity, texture in self._people.items():
            if (tile := texture.tiles.next()) is not None:
                return _blobs(identity, [tile])
        return []

    def _add(
        self,
        memory: PointColourMemory,
        atlas: AtlasMemory,
        frame: CapturedFrame,
        person: ObservedPerson,
        labels: PersonLabels,
    ) -> None:
        """Adds an observation to the colours of points and to the atlas."""
        observation = Observation.from_output(frame.image, person.crop, person.output)
        vertices, points, normals = self._posed(labels)
        memory.add(observation, points, normals, frame.camera)
        atlas.add(self._atlas_camera.view(frame.image, person.crop, observation, vertices, frame.camera))

    @torch.inference_mode()
    def _posed(self, person: PersonLabels) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Vertices (V, 3), and surface points and normals (2048, 3), of the body that the labels describe."""
        labels = torch.from_numpy(concatenate(person.labels))[None]
        vertices = self._body(self._space.decode(labels)).vertices
        points, normals = self._body.surface_points(vertices)
        return vertices[0].numpy(), points[0].numpy(), normals[0].numpy()

    def _forget(self, identity: int) -> None:
        texture = self._people.pop(identity)
        if texture.sent:
            self._to_withdraw.append(Blob(COLOURS, identity, self._empty_update))
        self._to_withdraw += _blobs(identity, texture.tiles.withdrawals())


def _blobs(identity: int, tiles: Iterable[tuple[Tile, bytes]]) -> list[Blob]:
    return [Blob(TEXTURE, tile.key(identity), data) for tile, data in tiles]
