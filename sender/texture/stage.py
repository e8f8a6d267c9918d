"""The texture stage: learns the colours of people's surface, and returns the tiles that are worth sending."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from common.arrays import FloatArray
from common.blobs import TEXTURE, Blob
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.labels import concatenate
from common.texture.atlas import AtlasLayout
from common.texture.atlas_tiles import LEVEL_SIZES, TILES, Tile
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson
from sender.perception.tracking.known_people import KnownPeople
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasCamera
from sender.texture.observation import Observation
from sender.texture.tile_schedule import TileSchedule

# From one observation of a person to the next: the first ones, and while there is something new to see.  Else the pause
# doubles up to the longer one.
_OBSERVE_EVERY_FRAMES, _MOST_FRAMES = 5, 20
_FIRST_OBSERVATIONS = 8
# Share of an observation from which it is worth its time.
_LEAST_NEW = 0.15
# The first observation is so many frames after a person's first frame.  The detector, which runs in every fifth frame,
# found the person in that one, and their clothes are read in it, too: frames should take about the same time.
_FIRST_OBSERVATION_FRAMES = 2
# Weight from which a texel's colour is known in a picture: no better view of it will come.
_KNOWN_IN_PICTURE_WEIGHT = 0.02
_FINEST_TILES = [tile for tile in TILES if tile.level == len(LEVEL_SIZES) - 1]


@dataclass(slots=True)
class _PersonTexture:
    """One person's colours.

    Args:
        due_at: number of the frame from which the next one may be added to `atlas`.
        pause: frames from one observation to the next.
        observations: how many there were.
    """

    atlas: AtlasMemory
    tiles: TileSchedule
    due_at: int
    pause: int = _OBSERVE_EVERY_FRAMES
    observations: int = 0

    def observed(self, frame: int, new: float) -> None:
        """Takes note of an observation in a frame, of which so much was new."""
        self.tiles.observed(self.pause // _OBSERVE_EVERY_FRAMES)
        self.observations += 1
        often = new >= _LEAST_NEW or self.observations < _FIRST_OBSERVATIONS
        self.pause = _OBSERVE_EVERY_FRAMES if often else min(2 * self.pause, _MOST_FRAMES)
        self.due_at = frame + self.pause


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
        layout = AtlasLayout.from_body(body)
        self._areas = layout.areas(body)
        self._atlas_camera = AtlasCamera(layout, body.faces.numpy(), body.vertex_region.numpy())
        self._people = KnownPeople(self._unknown)
        self._frame = 0
        # Whether somebody was observed in the last frame.
        self._observed = False
        self._to_withdraw: list[Blob] = []

    def reset(self) -> None:
        self._withdraw(self._people.items())
        self._people.clear()

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """Takes one frame and returns tiles of texture atlases.

        What was sent is withdrawn with empty tiles when the person is forgotten, because the identity may be given to
        another person.
        """
        if self._stills:
            return self._from_picture(frame, observed, people)
        self._frame += 1
        self._withdraw(self._people.see(person.identity for person in observed))
        withdrawn, self._to_withdraw = self._to_withdraw, []
        # An observation and a tile in one frame would delay it; they take turns.
        row = self._due(observed)
        tiles = self._next_tile() if row is None or self._observed else []
        self._observed = row is not None and not tiles
        if row is not None and self._observed:
            texture = self._people[observed[row].identity]
            texture.observed(self._frame, self._add(texture.atlas, frame, observed[row], people[row]))
        return withdrawn + tiles

    def _unknown(self) -> _PersonTexture:
        """The texture of somebody who was not seen before."""
        layout = self._atlas_camera.layout
        atlas = AtlasMemory(layout)
        tiles = TileSchedule(layout, atlas, self._areas)
        return _PersonTexture(atlas, tiles, self._frame + _FIRST_OBSERVATION_FRAMES)

    def _from_picture(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """The colours of everybody in a picture, from this view alone.

        Everybody has all tiles, if only empty ones: an earlier picture may have shown somebody of the same identity.
        """
        tiles = []
        for person, labels in zip(observed, people, strict=True):
            atlas = AtlasMemory(self._atlas_camera.layout, _KNOWN_IN_PICTURE_WEIGHT)
            self._add(atlas, frame, person, labels)
            tiles += _blobs(person.identity, atlas.encoded(_FINEST_TILES))
        return tiles

    def _due(self, observed: Sequence[ObservedPerson]) -> int | None:
        """The row of the person whose observation is due for the longest; None if nobody is due."""
        due = [
            (self._people[person.identity].due_at, row)
            for row, person in enumerate(observed)
            if self._frame >= self._people[person.identity].due_at
        ]
        return min(due)[1] if due else None

    def _next_tile(self) -> list[Blob]:
        """The next tile of somebody who has one to send: encoding several would delay a frame."""
        for identity, texture in self._people.items():
            if (tile := texture.tiles.next()) is not None:
                return _blobs(identity, [tile])
        return []

    def _add(self, atlas: AtlasMemory, frame: CapturedFrame, person: ObservedPerson, labels: PersonLabels) -> float:
        """Adds what a frame shows of a person; returns how much of it is new."""
        observation = Observation.from_output(person.crop, person.output)
        vertices = self._posed(labels)
        return atlas.add(self._atlas_camera.view(frame.image, person.crop, observation, vertices, frame.camera))

    @torch.inference_mode()
    def _posed(self, person: PersonLabels) -> FloatArray:
        """Vertices (V, 3) of the body that the labels describe."""
        labels = torch.from_numpy(concatenate(person.labels))[None]
        vertices: FloatArray = self._body(self._space.decode(labels)).vertices[0].numpy()
        return vertices

    def _withdraw(self, forgotten: Iterable[tuple[int, _PersonTexture]]) -> None:
        for identity, texture in forgotten:
            self._to_withdraw += _blobs(identity, texture.tiles.withdrawals())


def _blobs(identity: int, tiles: Iterable[tuple[Tile, bytes]]) -> list[Blob]:
    return [Blob(TEXTURE, tile.key(identity), data) for tile, data in tiles]
