"""Observes the colours of people, and sends the tiles of their atlases that most improve what viewers see.

The sender knows what the receiver has, and so how far each texel is from the colour that it should have.  For every
tile it estimates by how much that error would fall, and how many bytes that takes.  Tiles with the largest gain a byte
come first; a tile whose kilobyte would gain less than a just noticeable difference is not sent.  A tile that is finer
than the camera resolves differs little from a coarser one, and so never is.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Self

import cv2
import numpy as np
import torch

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, IntArray
from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import PersonLabels
from common.labels import concatenate
from common.texture.atlas import (
    FACE_TILES,
    LEVEL_SIZES,
    TILE_SIZE,
    TILES,
    WITHDRAWN,
    AtlasLayout,
    Texture,
    Tile,
    encode,
    encode_picture,
    filled,
    reduced,
    sample,
)
from common.weights.threads import side_by_side
from sender.capture.source import CapturedFrame
from sender.face.landmarks import FaceLandmarks
from sender.lookahead import Perceived
from sender.people.view import ReadingSchedule, Turn
from sender.perception.track import Memory, ObservedPerson, TrackedPerson
from sender.texture.atlas import AtlasCamera, AtlasMemory, Observation
from sender.texture.face_placing import FacePlacing, load_face_placing

# Every so many texels, errors are measured.
_SAMPLE_STEP = 5
# Mean error, 0…255, of a colour that the receiver has to estimate, of coding, and the one that nobody sees.
_UNKNOWN_ERROR, _CODING_ERROR, _INVISIBLE_ERROR = 20.0, 2.0, 2.0
# A kilobyte has to lower the visible error, averaged over the whole body, by so much.
_LEAST_GAIN = 0.35
# Viewers look at faces, whose texels count alike, those of the small eyeballs too.  By the finest tiles with a face one
# is told from another: their gain counts so many times.
_FACE_WEIGHT, _FACE_GAIN = 3.0, 8.0
_FACE = np.array([TILES.index(tile) for tile in FACE_TILES])
# What a tile takes, and a texel of each level until the tile has been sent.
_TILE_BYTES, _TEXEL_BYTES = 40.0, (0.12, 0.12, 0.11, 0.08)
# Fewer texels say little about the bytes that one takes.
_LEAST_TEXELS = 200
# Seconds from the first observation to the first plan, which thus shows several, and from one plan to the next, which
# takes twice as long after an empty one.
_PLAN_EVERY_S = 0.3
# The first pause between two versions of a tile, seconds, its growth from version to version, and its limit.
_FIRST_TILE_PAUSE_S, _PAUSE_GROWTH, _LONGEST_PAUSE_S = 1.0, 2, 16.0
# Bytes at once, and a second.
_MOST_BYTES, _BYTES_PER_S = 3500.0, 2000.0
# The whole body comes first, in one tile; later tiles are of these levels, a finer one beside four of the coarser.
_FIRST_LEVEL, _COARSE, _FINE = 1, 2, 3
_THIRDS = np.full(3, 1 / 3, np.float32)
# Ragged edges of what is known cost more than they show, in texels.
_EDGE_SIGMA = 2.0


class TileSchedule:
    """Decides about one person's tiles.

    Args:
        memory: what the sender knows of the person's colours.
        areas: (T,) of the layout's texels on the body.
    """

    def __init__(self, layout: AtlasLayout, memory: AtlasMemory, areas: FloatArray) -> None:
        self._layout, self._memory = layout, memory
        self._samples = np.arange(0, len(layout.texel), _SAMPLE_STEP)
        self._rows, self._columns = np.divmod(layout.texel[self._samples].astype(np.int64), ATLAS_SIZE)
        faces = layout.region[self._samples] == REGION_INDEX["face"]
        area = areas[self._samples]
        weight = np.where(faces, _FACE_WEIGHT * area[faces].mean(), area)
        self._weight = weight / weight.sum()
        self._tile_of = {level: self._tiles_of_samples(level) for level in (_FIRST_LEVEL, _COARSE, _FINE)}
        # What the receiver has of each sample: its colour, and the level of the tile that it is from, or −1.
        self._received = np.zeros((len(self._samples), 3), np.float32)
        self._level = np.full(len(self._samples), -1)
        self._texel_bytes = np.array([_TEXEL_BYTES[tile.level] for tile in TILES])
        self._versions: Counter[Tile] = Counter()
        self._due_s: dict[Tile, float] = {}
        self._now_s = -math.inf
        self._plan_s, self._restarts = 0.0, 0
        self._allowance = _MOST_BYTES
        self._plan: list[Tile] = []
        self._plan_is_due = False
        self._atlas: _Atlas | None = None

    def observed(self, now_s: float) -> None:
        """Takes note of an observation at a time; after some time `next` plans anew."""
        if math.isinf(self._now_s):
            self._plan_s = now_s + _PLAN_EVERY_S
        self._allowance = min(self._allowance + (now_s - self._now_s) * _BYTES_PER_S, _MOST_BYTES)
        self._now_s = now_s
        if self._memory.restarts > self._restarts:
            self._restart(now_s)
        if now_s >= self._plan_s:
            self._plan_s = now_s + _PLAN_EVERY_S
            self._plan_is_due |= bool(self._memory.known.any())

    def next(self) -> tuple[Tile, bytes] | None:
        """The tile to send now, encoded; None if there is none."""
        if self._plan_is_due:
            self._plan_is_due = False
            self._atlas = _Atlas(self._layout, self._memory)
            first = [tile for tile in TILES if tile.level == _FIRST_LEVEL]
            self._plan = self._worthwhile(self._atlas) if self._versions else first
            if not self._plan:
                self._plan_s += _PLAN_EVERY_S
        if not self._plan or self._atlas is None or self._allowance <= 0:
            return None
        tile = self._plan.pop(0)
        data = self._atlas.encoded(tile)
        if data == WITHDRAWN and not self._versions[tile]:
            # So few texels are known that nothing of it would be shown.
            return None
        self._allowance -= len(data)
        self._sent(tile, len(data), self._atlas)
        return tile, data

    def _restart(self, now_s: float) -> None:
        """Plans anew, because what was sent is wrong: no version of a tile waits, unless it was so before."""
        pause_s = _FIRST_TILE_PAUSE_S * _PAUSE_GROWTH**self._restarts if self._restarts else 0.0
        self._restarts, self._plan_s, self._plan = self._memory.restarts, now_s, []
        self._due_s = {tile: min(due_s, now_s + pause_s) for tile, due_s in self._due_s.items()}

    def withdrawals(self) -> list[tuple[Tile, bytes]]:
        """What takes all tiles back that were sent."""
        return [(tile, WITHDRAWN) for tile in TILES if self._versions[tile]]

    def _tiles_of_samples(self, level: int) -> IntArray:
        """(N,) number of the tile of a level in which each sample lies."""
        first = next(number for number, tile in enumerate(TILES) if tile.level == level)
        across = max(LEVEL_SIZES[level] // TILE_SIZE, 1)
        side = ATLAS_SIZE // across
        return np.asarray(first + self._rows // side * across + self._columns // side)

    def _worthwhile(self, atlas: "_Atlas") -> list[Tile]:
        """The tiles that are worth their bytes now, the best first."""
        gains, sizes = self._gains_and_sizes(atlas)
        rates = 1000 * gains / sizes
        rates[_FACE] *= _FACE_GAIN
        chosen: list[int] = _FACE[rates[_FACE] >= _LEAST_GAIN].tolist()
        for number, tile in enumerate(TILES):
            if tile.level != _COARSE:
                continue
            finer = [
                other
                for other, fine in enumerate(TILES)
                if (fine.level, fine.row // 2, fine.column // 2) == (_FINE, tile.row, tile.column)
                and rates[other] >= _LEAST_GAIN
                and other not in chosen
            ]
            more_bytes = sizes[finer].sum() - sizes[number]
            more_gain = gains[finer].sum() - gains[number]
            if finer and more_gain > 0 and 1000 * more_gain >= _LEAST_GAIN * more_bytes:
                chosen += finer
            elif rates[number] >= _LEAST_GAIN:
                chosen.append(number)
        chosen.sort(key=lambda number: -rates[number])
        return [TILES[number] for number in chosen if self._due_s.get(TILES[number], 0.0) <= self._now_s]

    def _gains_and_sizes(self, atlas: "_Atlas") -> tuple[Float64Array, Float64Array]:
        """(len(TILES),) by how much each tile would lower the visible error, and how many bytes it would take."""
        gains, texels = np.zeros(len(TILES)), np.zeros(len(TILES))
        known, colours = atlas.known[self._samples], atlas.means[self._samples]
        now = np.where(self._level >= 0, _error(colours, self._received), _UNKNOWN_ERROR)
        for level in (_COARSE, _FINE):
            after = np.hypot(_error(colours, atlas.at(level, self._samples)), _CODING_ERROR)
            gain = np.where(known & (self._level <= level), (_visible(now) - _visible(after)) * self._weight, 0)
            gains += np.bincount(self._tile_of[level], gain, minlength=len(TILES))
            texels += np.bincount(self._tile_of[level], known, minlength=len(TILES)) / _samples_per_texel(level)
        return gains, _TILE_BYTES + self._texel_bytes * texels

    def _sent(self, tile: Tile, size: int, atlas: "_Atlas") -> None:
        number = TILES.index(tile)
        inside = np.flatnonzero((self._tile_of[tile.level] == number) & atlas.known[self._samples])
        shown = inside[self._level[inside] <= tile.level]
        self._received[shown] = atlas.at(tile.level, self._samples[shown])
        self._level[shown] = tile.level
        texels = len(inside) / _samples_per_texel(tile.level)
        if texels > _LEAST_TEXELS:
            self._texel_bytes[number] = max(size - _TILE_BYTES, 1.0) / texels
        self._versions[tile] += 1
        pause_s = min(_FIRST_TILE_PAUSE_S * _PAUSE_GROWTH ** (self._versions[tile] - 1), _LONGEST_PAUSE_S)
        self._due_s[tile] = self._now_s + pause_s


class _Atlas:
    """The atlas at one observation."""

    def __init__(self, layout: AtlasLayout, memory: AtlasMemory) -> None:
        self.means, self.known = memory.means.copy(), memory.known
        self._layout = layout
        self._values = memory.picture
        self._levels: dict[int, ByteArray] = {}

    def at(self, level: int, texels: IntArray) -> FloatArray:
        """(N, 3) colours of texels of the layout as a level shows them, before it is coded."""
        if level == _FINE:
            return self.means[texels]
        if level not in self._levels:
            scale = ATLAS_SIZE // LEVEL_SIZES[level]
            self._levels[level] = filled(*reduced(self._values[..., :3], self._values[..., 3] > 0, scale))
        rows, columns = np.divmod(self._layout.texel[texels].astype(np.int64), ATLAS_SIZE)
        centres = np.stack([columns, rows], axis=1).astype(np.float32) + np.float32(0.5)
        return sample(self._levels[level], centres / np.float32(ATLAS_SIZE))

    @cached_property
    def _mask(self) -> BoolArray:
        """(S, S) where the receiver is told to know the colours."""
        extended = self._layout.extended(self._values[..., 3:])[..., 0].astype(np.float32)
        return np.asarray(cv2.GaussianBlur(extended, (0, 0), _EDGE_SIGMA) > 0.5)

    def encoded(self, tile: Tile) -> bytes:
        colours, known = self._values[tile.area][..., :3], self._values[tile.area][..., 3] > 0
        picture, inside = reduced(colours, known, tile.scale)
        _, mask = reduced(colours, self._mask[tile.area], tile.scale)
        return encode_picture(tile, filled(picture, inside), mask)


def _samples_per_texel(level: int) -> float:
    return (ATLAS_SIZE // LEVEL_SIZES[level]) ** 2 / _SAMPLE_STEP


def _error(found: FloatArray, wanted: FloatArray) -> FloatArray:
    return np.asarray(np.abs(found - wanted) @ _THIRDS)  # faster than a mean along the short axis


def _visible(error: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(error - _INVISIBLE_ERROR, 0))


# Seconds from one observation of a person to the next: the first ones, and while there is something new to see: of
# somebody who turns around in four seconds, every eighth of the turn is seen twice.  Else the pause doubles up to the
# longest one.
_FIRST_OBSERVATIONS_PAUSE_S, _PAUSE_S, _MOST_PAUSE_S = 0.15, 0.25, 0.65
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
    pause_s: float = _FIRST_OBSERVATIONS_PAUSE_S
    observations: int = 0
    has_face: bool = False

    def observed(self, now_s: float, new: float) -> None:
        """Takes note of an observation, of which so much was new."""
        self.tiles.observed(now_s)
        self.observations += 1
        if self.observations < _FIRST_OBSERVATIONS:
            self.pause_s = _FIRST_OBSERVATIONS_PAUSE_S
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
