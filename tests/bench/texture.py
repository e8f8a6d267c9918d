"""Accuracy of texture atlases on rendered people and on the demo clip: `python -m tests.bench.texture`.

Dressed people of the test split (seed 20,000,007) with their true pose and mask, seen from one side or from eight.
The truth is the same picture without light.  A light's brightness cannot be told from a person's, so each error is
given as it is and, as "relative", after one factor of brightness per person.  Colours are 0…255, errors are means over
texels and channels.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from common.arrays import ByteArray, FloatArray, Image
from common.body.anatomy import REGIONS
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.frames import Camera
from common.texture.atlas import AtlasLayout, Texture
from common.texture.atlas_tiles import TILES, Tile
from common.texture.point_colours import PointColours
from receiver.body.skinning import BodySkin
from receiver.mesh.mesh_texture import TextureCorners
from receiver.texture.atlas_completion import AtlasCompletion
from receiver.texture.colouring import Colouring
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import complete
from receiver.texture.received_texture import ReceivedTexture
from sender.perception.inference.crop import CropBox
from sender.perception.network.output import PerceptionOutput
from sender.texture.atlas_memory import AtlasMemory
from sender.texture.atlas_view import AtlasCamera, AtlasView
from sender.texture.observation import Observation
from sender.texture.point_colour_memory import PointColourMemory
from sender.train.atlas_people import KNOWN_WEIGHT, view_of
from sender.train.texture_people import TexturePeople, TexturePicture, perfect_output
from tests.bench import report
from tests.bench.texture_render import covering_triangles, render_textured

_SEED = 20_000_007
_PEOPLE, _QUICK_PEOPLE = 24, 3
_BYTES = (1_000, 4_000, 16_000, 64_000)
_ALL_SIDES = [number * np.pi / 4 for number in range(8)]
_DEMO = Path(__file__).parents[2] / "sender/capture/data"
_DEMO_STEP = 5


@dataclass(frozen=True)
class Error:
    """Mean errors, as they are and after one factor of brightness."""

    plain: float
    relative: float

    @classmethod
    def of(cls, found: Iterable[FloatArray], truth: Iterable[FloatArray]) -> "Error":
        colours, true = np.concatenate(list(found)), np.concatenate(list(truth))
        factor = true.sum() / max(float(colours.sum()), 1.0)
        return cls(*(float(np.abs(scale * colours - true).mean()) for scale in (1.0, factor)))


class TextureBench:
    """Measures people one after the other."""

    def __init__(self, count: int, seed: int) -> None:
        self.body = BodyModel.load()
        self.layout = AtlasLayout.of(self.body)
        self.completion = AtlasCompletion.load(self.layout)
        self.skin = BodySkin.of(self.body)
        self.face = FaceDetail(self.body, self.skin.template, self.layout)
        self.camera = AtlasCamera(self.layout, self.body.faces.numpy(), self.body.vertex_region.numpy())
        self._people, self._count = TexturePeople(self.body, seed, count), count

    def measure(self) -> dict[str, list[Error]]:
        """Errors of everybody by what was measured."""
        errors: dict[str, list[Error]] = {}
        for person in range(self._count):
            pictures = self._people.pictures(person, _ALL_SIDES)
            truth = [self._view(picture, picture.unlit) for picture in pictures]
            lit = [self._view(picture, picture.lit) for picture in pictures]
            for sides, name in ((1, "one side"), (8, "eight sides")):
                for light in (False, True):
                    memory = AtlasMemory(self.layout, KNOWN_WEIGHT, remove_light=light)
                    for view in lit[:sides]:
                        memory.add(view)
                    what = f"{name}, {'light removed' if light else 'as seen'}"
                    self._add(errors, what, memory, (truth[:sides], truth[sides:]))
                    if light and sides == 1:
                        self._add(errors, f"{what}, completed", memory, ([], truth[sides:]), self.completion)
            for most in _BYTES:
                tiles = _within(memory, most)
                error = self._error(self._received(memory, tiles), truth, memory, known=True)
                if error:
                    errors.setdefault(f"eight sides, {most // 1000} kB", []).append(error)
        return errors

    def _add(
        self,
        errors: dict[str, list[Error]],
        what: str,
        memory: AtlasMemory,
        truth: tuple[Sequence[AtlasView], Sequence[AtlasView]],
        completion: AtlasCompletion | None = None,
    ) -> None:
        """Adds the errors of what is seen, against the first views, and of what is not, against the others."""
        whole = self._received(memory, list(TILES[-16:]), completion)
        for part, views in zip(("seen", "not seen"), truth, strict=True):
            if error := self._error(whole, views, memory, known=part == "seen"):
                errors.setdefault(f"{what}: {part}", []).append(error)

    def _view(self, picture: TexturePicture, image: Image) -> AtlasView:
        return view_of(self.camera, picture, image)

    def _received(
        self, memory: AtlasMemory, tiles: list[Tile], completion: AtlasCompletion | None = None
    ) -> FloatArray:
        """(T, 3) colours of the layout's texels at a receiver that has these tiles."""
        received = ReceivedTexture()
        for tile, data in memory.encoded(tiles):
            received = received.with_tile(tile, data)
        whole = self.whole(received.texture(), completion)
        return whole.reshape(-1, 3)[self.layout.texel].astype(np.float32)

    def whole(self, texture: Texture, completion: AtlasCompletion | None = None) -> ByteArray:
        """(S, S, 3) a received texture as it is published."""
        grey = np.full((len(REGIONS), 3), 0.5, np.float32)
        estimated = completion.estimate(texture) if completion else None
        return self.face.on_atlas(complete(self.layout, texture, grey, estimated), texture.known)

    def _error(
        self, whole: FloatArray, truth: Sequence[AtlasView], memory: AtlasMemory, *, known: bool
    ) -> Error | None:
        chosen = [memory.known[view.texels] == known for view in truth]
        if not sum(selected.sum() for selected in chosen):
            return None
        found = (whole[view.texels[selected]] for view, selected in zip(truth, chosen, strict=True))
        return Error.of(found, (view.colours[selected] for view, selected in zip(truth, chosen, strict=True)))


def _within(memory: AtlasMemory, most_bytes: int) -> list[Tile]:
    """The tiles that are sent first and have at most so many bytes together."""
    tiles, spent = [], 0
    for tile, data in memory.encoded(list(TILES)):
        spent += len(data)
        if spent > most_bytes:
            break
        tiles.append(tile)
    return tiles


class DemoBench:
    """The demo clip with its true poses: renderings of the coloured body against the pictures."""

    def __init__(self, bench: TextureBench) -> None:
        self._bench, self._skin = bench, bench.skin
        with np.load(_DEMO / "demo.truth.npz") as truth:
            self._truth = {name: truth[name] for name in truth.files}
        with av.open(str(_DEMO / "demo.mp4")) as container:
            self._frames = [
                frame.to_ndarray(format="rgb24").astype(np.uint8)
                for frame in itertools.islice(container.decode(video=0), 0, None, _DEMO_STEP)
            ]
        height, width = self._frames[0].shape[:2]
        self._camera = Camera(width, height, float(self._truth["focal_px"]))

    def measure(self) -> dict[str, list[Error]]:
        """Errors of each frame after the whole clip was seen."""
        bench, body = self._bench, self._bench.body
        atlas, plain = AtlasMemory(bench.layout), AtlasMemory(bench.layout, remove_light=False)
        points = PointColourMemory(body.point_regions().numpy())
        bodies = [self._posed(number * _DEMO_STEP) for number in range(len(self._frames))]
        for frame, vertices in zip(self._frames, bodies, strict=True):
            crop, output = self._perceived(vertices)
            observation = Observation.from_output(frame, crop, output)
            surface, normals = body.surface_points(torch.from_numpy(vertices)[None])
            points.add(observation, surface[0].numpy(), normals[0].numpy(), self._camera)
            view = bench.camera.view(frame, crop, observation, vertices, self._camera)
            for memory in (atlas, plain):
                memory.add(view)
        grey = np.full((len(REGIONS), 3), 0.5, np.float32)
        observed = Colouring(body).colours(PointColours(*points.take()), grey)
        point_colours = np.rint(255 * (self._skin.points @ observed)).clip(0, 255).astype(np.uint8)
        errors: dict[str, list[Error]] = {}
        for frame, vertices in list(zip(self._frames, bodies, strict=True))[::3]:
            skin = vertices[self._skin.template.kept]
            triangle = covering_triangles(skin, self._skin.template.faces, self._camera)
            mask = triangle >= 0
            true = frame[mask].astype(np.float32)
            by_points = point_colours[self._skin.template.faces[triangle[mask]]].mean(axis=1)
            errors.setdefault("demo clip, 2,048 points", []).append(Error.of([by_points.astype(np.float32)], [true]))
            for name, memory in (("atlas as seen", plain), ("atlas, light removed", atlas)):
                image = self._render(skin, bench.whole(memory.texture))
                errors.setdefault(f"demo clip, {name}", []).append(Error.of([image[mask].astype(np.float32)], [true]))
        return errors

    def _render(self, skin: FloatArray, atlas: ByteArray) -> ByteArray:
        coordinates = self._bench.body.texture_coordinates.numpy()[self._skin.template.face_index]
        corners = TextureCorners.from_triangles(self._skin.template.faces, coordinates)
        return render_textured(skin, self._skin.template.faces, corners, atlas, self._camera)

    def _posed(self, number: int) -> FloatArray:
        truth = self._truth
        parameters = BodyParameters(
            axis_angle_to_matrix(torch.from_numpy(truth["rotation_vectors"][number : number + 1])),
            torch.from_numpy(truth["curl"])[None],
            torch.from_numpy(truth["shape"])[None],
            torch.from_numpy(truth["translation"][number : number + 1]),
        )
        with torch.inference_mode():
            return np.asarray(self._bench.body(parameters).vertices[0].numpy(), np.float32)

    def _perceived(self, vertices: FloatArray) -> tuple[CropBox, PerceptionOutput]:
        skin = vertices[self._skin.template.kept]
        triangle = covering_triangles(skin, self._skin.template.faces, self._camera)
        region = 1 + self._skin.template.region[self._skin.template.faces[np.maximum(triangle, 0), 0]]
        part = np.where(triangle >= 0, region, 0).astype(np.uint8)
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        crop = CropBox.around([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        return crop, perfect_output(part, crop)


def figures(errors: dict[str, list[Error]]) -> dict[str, report.Figures]:
    """Mean errors by what was measured."""
    return {
        name: {
            "error_mean": float(np.mean([error.plain for error in own])),
            "relative_mean": float(np.mean([error.relative for error in own])),
            "people": float(len(own)),
        }
        for name, own in errors.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("texture", __doc__, _SEED)
    parser.add_argument(
        "--people", type=report.at_least(1), help=f"number (default: {_PEOPLE}, {_QUICK_PEOPLE} with --quick)"
    )
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    people = options.people or (_QUICK_PEOPLE if options.quick else _PEOPLE)
    bench = TextureBench(people, options.seed)
    systems = figures(bench.measure()) | figures(DemoBench(bench).measure())
    report.publish(options, systems, f"{people} people, seed {options.seed}, errors of colours 0…255")


if __name__ == "__main__":
    sys.exit(main())
