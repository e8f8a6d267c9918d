"""The texture stage: learns the colours of people's surface, and returns the tiles that are worth sending."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch

from common.arrays import FloatArray
from common.blobs import TEXTURE, Blob
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.labels import concatenate
from common.texture.atlas import LEVEL_SIZES, TILES, AtlasLayout, Texture, Tile, encode
from common.weights.threads import side_by_side
from sender.capture.source import CapturedFrame
from sender.face.landmarks import FaceLandmarks
from sender.lookahead import Perceived
from sender.people.reading_schedule import ReadingSchedule, Turn
from sender.perception.track import Memory, ObservedPerson, TrackedPerson
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasCamera
from sender.texture.face_placing import FacePlacing, load_face_placing
from sender.texture.observation import Observation
from sender.texture.tile_schedule import TileSchedule

# Seconds from one observation of a person to the next: the first ones, and while there is something new to see: of
# somebody who turns around in four seconds, every eighth of the turn is seen twice.  Else the pause doubles up to the
# longest one.
_FIRST_PAUSE_S, _PAUSE_S, _MOST_PAUSE_S = 0.15, 0.25, 0.65
_FIRST_OBSERVATIONS = 8
# Share of an observation from which it is worth its time.
_LEAST_NEW = 0.15
# The first observation is so long after a person's first frame.  The detector found the person in that one, and their
# clothes are read in it, too: frames should take about the same time.
_FIRST_OBSERVATION_S = 0.05
# Weight from which a texel's colour is known in a picture: no better view of it will come.
_KNOWN_IN_PICTURE_WEIGHT = 0.02
_FINEST_TILES = [tile for tile in TILES if tile.level == len(LEVEL_SIZES) - 1]


@dataclass(slots=True)
class _PersonTexture:
    """One person's colours.

    Args:
        pause_s: from one observation to the next.
        observations: how many there were.
        has_face: whether landmarks have told where the colours of the face are.
    """

    atlas: AtlasMemory
    tiles: TileSchedule
    turn: Turn = field(default_factory=Turn)
    pause_s: float = _FIRST_PAUSE_S
    observations: int = 0
    has_face: bool = False

    def observed(self, now_s: float, new: float) -> None:
        """Takes note of an observation, of which so much was new."""
        self.tiles.observed(now_s)
        self.observations += 1
        if self.observations < _FIRST_OBSERVATIONS:
            self.pause_s = _FIRST_PAUSE_S
        else:
            self.pause_s = _PAUSE_S if new >= _LEAST_NEW else min(2 * self.pause_s, _MOST_PAUSE_S)


class _Surface(NamedTuple):
    """What follows from the body; `areas` are those of the texels (T,), m²."""

    areas: FloatArray
    atlas_camera: AtlasCamera
    face: FacePlacing

    @classmethod
    def of_body(cls, body: BodyModel) -> Self:
        layout = AtlasLayout.from_body(body)
        atlas_camera = AtlasCamera(layout, body.faces.numpy(), body.vertex_region.numpy())
        return cls(layout.areas(body), atlas_camera, load_face_placing(body))


class TextureStage:
    """Keeps the surface colours of every tracked person.

    At most one person is observed per frame, and each six times a second at first, so that the cost does not grow with
    the number of people.

    Args:
        stills: every frame is a picture of its own: everybody's colours come with it, and nothing is remembered.
        brief: what the first frame of a person shows comes with it, too.
    """

    timed_as = "colours"

    def __init__(self, space: LabelSpace, body: BodyModel, *, stills: bool = False, brief: bool = False) -> None:
        self._stills, self._brief = stills, brief
        self._space = space
        self._body = body
        # The first frame's labels need none of it.
        maker = ThreadPoolExecutor(1, "texture")
        self._made = maker.submit(_Surface.of_body, body)
        maker.shutdown(wait=False)
        self._people, self._schedule = Memory(self._unknown), ReadingSchedule()
        # Whether somebody was observed in the last frame.
        self._observed = False

    @property
    def _surface(self) -> _Surface:
        """Waits until it is made. Raises WeightsError if the face's weights are missing."""
        return self._made.result()

    def update(self, perceived: Perceived, people: Sequence[PersonLabels]) -> list[Blob]:
        """Takes one frame and returns tiles of texture atlases.

        What was sent is withdrawn with empty tiles when the person is forgotten, because the identity may be given to
        another person.
        """
        frame, observed, schedule = perceived.frame, perceived.observed, self._schedule
        if self._stills:
            return self._from_picture(frame, observed, people)
        new = [row for row, each in enumerate(observed) if self._brief and not self._people.knows(each.person)]
        first = self._from_picture(frame, [observed[row] for row in new], [people[row] for row in new])
        schedule.begin(perceived.now_s)
        known = [self._people.of(each.person) for each in observed]
        # An observation and a tile in one frame would delay it; they take turns.
        row = next(iter(schedule.due_of(observed, known, first_s=_FIRST_OBSERVATION_S)), None)
        tiles = self._next_tile(perceived.known) if row is None or self._observed else []
        self._observed = row is not None and not tiles
        if row is not None and self._observed:
            texture = known[row]
            texture.has_face |= people[row].face_landmarks is not None
            share = self._add(texture.atlas, frame, observed[row], people[row], has_face=texture.has_face)
            texture.observed(schedule.now_s, share)
            schedule.was_read(texture.turn, texture.pause_s)
        return self._withdrawn(perceived.forgotten) + first + tiles

    def _unknown(self) -> _PersonTexture:
        """The texture of somebody who was not seen before."""
        layout = self._surface.atlas_camera.layout
        atlas = AtlasMemory(layout)
        tiles = TileSchedule(layout, atlas, self._surface.areas)
        return _PersonTexture(atlas, tiles)

    def _from_picture(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """The colours of everybody in a picture, from this view alone.

        Everybody has all tiles, if only empty ones: an earlier picture may have shown somebody of the same identity.
        """
        shown = side_by_side(self._shown, [(frame, *each) for each in zip(observed, people, strict=True)])
        tiles = [(tile, texture.colours, texture.known) for texture in shown for tile in _FINEST_TILES]
        whose = (person.identity for person in observed for _ in _FINEST_TILES)
        pairs = zip(whose, tiles, side_by_side(encode, tiles), strict=True)
        return [Blob(TEXTURE, tile.key(identity), data) for identity, (tile, *_), data in pairs]

    def _shown(self, frame: CapturedFrame, person: ObservedPerson, labels: PersonLabels) -> Texture:
        """What one frame shows of a person."""
        atlas = AtlasMemory(self._surface.atlas_camera.layout, _KNOWN_IN_PICTURE_WEIGHT)
        self._add(atlas, frame, person, labels)
        return atlas.texture

    def _next_tile(self, people: Sequence[TrackedPerson]) -> list[Blob]:
        """The next tile of somebody who has one to send: encoding several would delay a frame."""
        for person in filter(self._people.knows, people):
            if (tile := self._people.of(person).tiles.next()) is not None:
                return _blobs(person.identity, [tile])
        return []

    def _add(
        self,
        atlas: AtlasMemory,
        frame: CapturedFrame,
        person: ObservedPerson,
        labels: PersonLabels,
        *,
        has_face: bool = False,
    ) -> float:
        """Adds what a frame shows of a person; returns how much of it is new."""
        observation = Observation.from_output(person.crop, person.output)
        vertices, face = self._posed(labels), None
        if labels.face_landmarks is not None:
            face = FaceLandmarks.from_array(labels.face_landmarks)
            vertices = self._surface.face.placed(vertices, face, frame.camera)
        hidden = self._surface.face.hidden(vertices, face, frame.camera, is_known=has_face)
        view = self._surface.atlas_camera.view(frame.image, person.crop, observation, vertices, frame.camera, hidden)
        return atlas.add(view)

    @torch.inference_mode()
    def _posed(self, person: PersonLabels) -> FloatArray:
        """Vertices (V, 3) of the body that the labels describe."""
        labels = torch.from_numpy(concatenate(person.labels))[None]
        vertices: FloatArray = self._body(self._space.decode(labels)).vertices[0].numpy()
        return vertices

    def _withdrawn(self, forgotten: Sequence[TrackedPerson]) -> list[Blob]:
        known = [(person.identity, self._people.of(person)) for person in filter(self._people.knows, forgotten)]
        return [blob for identity, texture in known for blob in _blobs(identity, texture.tiles.withdrawals())]


def _blobs(identity: int, tiles: Iterable[tuple[Tile, bytes]]) -> list[Blob]:
    return [Blob(TEXTURE, tile.key(identity), data) for tile, data in tiles]
