"""Accuracy of texture atlases on rendered people: `python -m tests.bench.texture`.

Dressed people of the test split (seed 20,000,007) with their true pose and mask, seen from one side or from eight.
The truth is the same picture without light.  A light's brightness cannot be told from a person's, so each error is
given as it is and, as "relative", after one factor of brightness per person.  Colours are 0…255, errors are means over
texels and channels.  "streamed": the sides come one after the other, round after round, and the receiver has the tiles
that a sender has chosen by then; `bytes_mean` is their size.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE
from common.body.surface_space import SurfaceSpace
from common.synthetic.kinds.outfits import KindOutfit
from common.texture.atlas import Texture
from common.texture.atlas_tiles import TILES, Tile, encode
from common.wears import Wears
from receiver.body.skinning import BodySkin
from receiver.outfits.guidance import Guidance
from receiver.texture.face_detail import FaceDetail
from receiver.texture.filling import SurfaceFilling
from receiver.texture.received_texture import ReceivedTexture
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasView
from sender.texture.tile_schedule import TileSchedule
from sender.train.atlases.people import KNOWN_WEIGHT, AtlasPeople
from tests.bench import report

_SEED = 20_000_007
# Rounds of the eight sides, and frames from one observation to the next.
_ROUNDS, _FRAMES, _PAUSE_S = (1, 2, 6), 5, 1 / 6
_ALL_SIDES = [number * np.pi / 4 for number in range(8)]


@dataclass(frozen=True)
class Error:
    """Mean errors, as they are and after one factor of brightness."""

    plain: float
    relative: float

    @classmethod
    def between(cls, found: Iterable[FloatArray], truth: Iterable[FloatArray]) -> "Error":
        colours, true = np.concatenate(list(found)), np.concatenate(list(truth))
        factor = true.sum() / max(float(colours.sum()), 1.0)
        return cls(*(float(np.abs(scale * colours - true).mean()) for scale in (1.0, factor)))


class TextureBench:
    """Measures people one after the other."""

    def __init__(self, count: int, seed: int) -> None:
        self._people = AtlasPeople("test", seed, count)
        self.body, self.layout = self._people.body, self._people.layout
        template = BodySkin.from_model(self.body).template
        self._outfits = Guidance.load(template, SurfaceSpace.load())
        self._filling = SurfaceFilling(template, self.layout)
        self.face = FaceDetail(self.body, template, self.layout)
        self._count = count
        self._areas = self.layout.areas(self.body)
        self._bytes: dict[str, list[int]] = {}

    def measure(self) -> dict[str, list[Error]]:
        """Errors of everybody by what was measured."""
        errors: dict[str, list[Error]] = {}
        for person in range(self._count):
            pictures, part = self._people.pictures(person, _ALL_SIDES), self.part(person)
            truth = [self._people.view(picture, picture.unlit) for picture in pictures]
            lit = [self._people.view(picture, picture.lit) for picture in pictures]
            for sides, name in ((1, "one side"), (8, "eight sides")):
                for light in (False, True):
                    memory = AtlasMemory(self.layout, KNOWN_WEIGHT, remove_light=light)
                    for view in lit[:sides]:
                        memory.add(view)
                    what = f"{name}, {'light removed' if light else 'as seen'}"
                    self._add(errors, what, memory, (truth[:sides], truth[sides:]), part)
            self._stream(lit, truth, errors, part)
        return errors

    def part(self, person: int) -> IntArray:
        """(V',) what is outermost at each vertex, where the kinds of somebody's clothes are known."""
        outfit = self._people.outfit(person)
        assert isinstance(outfit, KindOutfit)
        kinds = {name: min(values) for name, values in outfit.kinds.items() if len(set(values)) == 1}
        nothing = np.zeros(0, np.float32)
        return self._outfits.worn(self._outfits.chosen(Wears({}).as_known(kinds), person, nothing, 0), nothing, 0).part

    def _stream(
        self,
        lit: Sequence[AtlasView],
        truth: Sequence[AtlasView],
        errors: dict[str, list[Error]],
        part: IntArray,
    ) -> None:
        """Adds what a receiver has of a person that turns, after some rounds."""
        memory = AtlasMemory(self.layout, KNOWN_WEIGHT)
        schedule = TileSchedule(self.layout, memory, self._areas)
        received, size, observations = ReceivedTexture(), 0, 0
        for turn in range(1, max(_ROUNDS) + 1):
            for view in lit:
                memory.add(view)
                observations += 1
                schedule.observed(observations * _PAUSE_S)
                for _ in range(_FRAMES):
                    if (sent := schedule.next()) is not None:
                        received, size = received.with_tile(*sent), size + len(sent[1])
            if turn in _ROUNDS:
                whole = self.whole(received.texture(), part)
                if error := self._error(whole, truth, memory, known=True):
                    name = f"streamed, {turn} rounds"
                    errors.setdefault(name, []).append(error)
                    self._bytes.setdefault(name, []).append(size)

    def figures(self) -> dict[str, report.Figures]:
        """Mean errors and bytes by what was measured."""
        return {
            name: {
                "error_mean": float(np.mean([error.plain for error in own])),
                "relative_mean": float(np.mean([error.relative for error in own])),
                "bytes_mean": float(np.mean(self._bytes.get(name, [float("nan")]))),
                "people": float(len(own)),
            }
            for name, own in self.measure().items()
        }

    def _add(
        self,
        errors: dict[str, list[Error]],
        what: str,
        memory: AtlasMemory,
        truth: tuple[Sequence[AtlasView], Sequence[AtlasView]],
        outermost: IntArray,
    ) -> None:
        """Adds the errors of what is seen, against the first views, and of what is not, against the others."""
        whole = self._received(memory, list(TILES[-16:]), outermost)
        for part, views in zip(("seen", "not seen"), truth, strict=True):
            if error := self._error(whole, views, memory, known=part == "seen"):
                errors.setdefault(f"{what}: {part}", []).append(error)

    def _received(self, memory: AtlasMemory, tiles: list[Tile], part: IntArray) -> FloatArray:
        """(T, 3) colours of the layout's texels at a receiver that has these tiles."""
        received, atlas = ReceivedTexture(), memory.texture
        for tile in tiles:
            received = received.with_tile(tile, encode(tile, atlas.colours, atlas.known))
        return self.whole(received.texture(), part)

    def whole(self, texture: Texture, part: IntArray) -> FloatArray:
        """(T, 3) the texels of a received texture as it is published."""
        texel, grey = self.layout.texel, np.full(3, 128, np.float32)
        known = texture.known.reshape(-1)[texel]
        surface = self._filling.surface(texture.colours.reshape(-1, 3)[texel], known, part)
        whole = np.zeros((ATLAS_SIZE**2, 3), np.uint8)
        whole[texel] = surface.filled(dict.fromkeys(surface.unseen, grey))
        atlas = self.face.on_atlas(whole.reshape(ATLAS_SIZE, ATLAS_SIZE, 3), texture.known)
        return atlas.reshape(-1, 3)[texel].astype(np.float32)

    def _error(
        self, whole: FloatArray, truth: Sequence[AtlasView], memory: AtlasMemory, *, known: bool
    ) -> Error | None:
        chosen = [memory.known[view.texels] == known for view in truth]
        if not sum(selected.sum() for selected in chosen):
            return None
        found = (whole[view.texels[selected]] for view, selected in zip(truth, chosen, strict=True))
        return Error.between(found, (view.colours[selected] for view, selected in zip(truth, chosen, strict=True)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("texture", __doc__, _SEED)
    report.add_amount(parser, "--people", "number", 24, 3, report.at_least(1))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    bench = TextureBench(options.people, options.seed)
    report.publish(options, bench.figures(), f"{options.people} people, seed {options.seed}, errors of colours 0…255")


if __name__ == "__main__":
    sys.exit(main())
