"""What programs share that observe the texture atlases of rendered people, with their true poses and masks."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from common.arrays import Image
from common.body.model import BodyModel
from common.errors import OutputError
from common.io.atomic_write import atomic_write
from common.synthetic.dataset.split import SEED_RANGES, SPLITS, Split
from common.texture.atlas import AtlasLayout
from sender.texture.atlas_view import AtlasCamera, AtlasView
from sender.texture.observation import Observation
from sender.train.texture_people import CAMERA, TexturePeople, TexturePicture

KNOWN_WEIGHT = 0.02
"""Weight from which a texel is known: people who turn around are seen once from each side."""


def add_people_flags(parser: argparse.ArgumentParser, count: int, count_help: str) -> None:
    """Adds --out, --split, --count and --seed."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the files")
    parser.add_argument("--split", choices=SPLITS, default="train", help="whose shapes and poses")
    parser.add_argument("--count", type=int, default=count, help=f"{count_help} (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="within the split's seeds (default: %(default)s)")


class AtlasPeople:
    """Rendered people and the camera that observes their atlases.

    Raises:
        RendererUnavailable: OpenGL is not available.
    """

    def __init__(self, split: Split, seed: int, count: int) -> None:
        body = BodyModel.load()
        self.layout = AtlasLayout.from_body(body)
        self._camera = AtlasCamera(self.layout, body.faces.numpy(), body.vertex_region.numpy())
        self._seed = SEED_RANGES[split].start + seed
        self._people = TexturePeople(body, self._seed, count, split)

    def rng(self, person: int, purpose: int) -> np.random.Generator:
        """The randomness of one person for one purpose."""
        return np.random.default_rng([self._seed, person, purpose])

    def pictures(self, person: int, yaws: Sequence[float]) -> list[TexturePicture]:
        """See `TexturePeople.pictures`."""
        return self._people.pictures(person, list(yaws))

    def view(self, picture: TexturePicture, image: Image) -> AtlasView:
        """What the lit or the unlit image of a picture shows of the atlas."""
        return view_of(self._camera, picture, image)


def view_of(camera: AtlasCamera, picture: TexturePicture, image: Image) -> AtlasView:
    """What the lit or the unlit image of a picture shows of the atlas."""
    observation = Observation.from_output(image, picture.crop, picture.output)
    return camera.view(image, picture.crop, observation, picture.vertices, CAMERA)


def write_files(
    options: argparse.Namespace, people_per_file: int, suffix: str, content: Callable[[AtlasPeople, range], bytes]
) -> None:
    """Renders the people of all files that do not exist.

    Args:
        options: of `add_people_flags`.
        people_per_file: the number of people of one file.

    Raises:
        OutputError: a file cannot be written.
        RendererUnavailable: OpenGL is not available.
    """
    torch.set_num_threads(1)
    people = AtlasPeople(options.split, options.seed, options.count)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for first in range(0, options.count, people_per_file):
            path = options.out / f"{options.split}-{options.seed}-{first:05d}{suffix}"
            if not path.exists():
                atomic_write(path, content(people, range(first, first + people_per_file)))
    except OSError as error:
        raise OutputError(f"cannot write {options.out}: {error.strerror or error}") from error
