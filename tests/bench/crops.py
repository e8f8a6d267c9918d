"""The test set: crops of people that no training saw, rendered once and kept, and the truth about them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

import common.synthetic
from common.arrays import FloatArray
from common.body.bake import cache_directory
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.errors import OutputError
from common.frames import Camera, PersonLabels
from common.labels import split
from common.synthetic import render_shards
from common.synthetic.dataset.presets import EVERYDAY, PRESETS
from common.synthetic.dataset.shards import Batch
from receiver.body.skinning import BodySkin
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.train.semantics import true_parameters
from tests.bench.measures import Surface, centred
from tests.bench.report import tell

SEED = 7
"""Data sets of the test split are counted from 0; the trainings' own checks use others."""


def crop_set(count: int, seed: int, size: int, preset: str = EVERYDAY.name, workers: int = 2) -> Path:
    """The directory with `count` crops of the test split in a preset, rendered if the cache does not hold them yet.

    Raises:
        RendererUnavailable: there is no OpenGL to render them with.
        OutputError: the cache cannot be written.
        ValueError: the seed is beyond the split.
    """
    directory = cache_directory() / f"bench-crops-{_generator()}-{preset}-{seed}-{count}-{size}"
    tasks = render_shards.plan(directory, "test", seed, count, size, PRESETS[preset])
    if tasks:
        tell(f"rendering {count} test images into {directory}")
        _make(directory)
        render_shards.render(tasks, workers)
    return directory


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {error.strerror}; set BODYWIRE_CACHE") from error


def _generator() -> str:
    """A name for what renders the images: another generator makes other images."""
    sources = sorted(Path(common.synthetic.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]


def _tensor(values: npt.NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def camera_of(focal: float, size: int) -> Camera:
    """A crop's own camera: it looks through the crop's middle."""
    return Camera(size, size, float(focal) * size)


@dataclass(frozen=True)
class TruePerson:
    """One person as it truly is: the bare body, for nobody of the test set wears more than colours.

    Args:
        labels: what a sender without error would say.
        keypoints: (17, 3) relative to the middle of the hips, metres, axes of the crop's camera.
        mesh: the skin, coloured, relative to the middle of the hips.
        surface: the same, to measure distances to.
        whole: all keypoints lie within the crop, and nothing stands before the person.
    """

    labels: PersonLabels
    keypoints: FloatArray
    mesh: SurfaceMesh
    surface: Surface
    whole: bool


class Truth:
    """Poses true people."""

    def __init__(self, body: BodyModel, space: LabelSpace) -> None:
        self.body, self.space = body, space
        self.skin = BodySkin.of(body)

    @torch.inference_mode()
    def people(self, batch: Batch) -> list[TruePerson]:
        """Everybody in a batch of crops."""
        parameters, colours = true_parameters(batch), _tensor(batch["colours"])
        labels = people_of(self.space.encode(parameters, colours))
        posed = self.body(parameters)
        places = np.asarray(batch["keypoints_2d"], np.float32)
        whole = ((places >= 0) & (places <= 1)).all((1, 2)) & (np.asarray(batch["occluded"]) == 0)
        people = []
        for row, keypoints in enumerate(batch["joints_3d"]):
            mesh = self.skin.pose(posed, row, colours[row].numpy()).mesh
            mesh = SurfaceMesh(centred(keypoints, mesh.vertices).astype(np.float32), mesh.faces, mesh.colours)
            relative = centred(keypoints).astype(np.float32)
            surface = Surface(mesh.vertices, mesh.faces)
            people.append(TruePerson(labels[row], relative, mesh, surface, bool(whole[row])))
        return people


def people_of(labels: torch.Tensor) -> list[PersonLabels]:
    """Whole label vectors (B, 104) as people whom the sender is sure of."""
    vectors = [split(row) for row in labels.numpy()]
    return [PersonLabels(0, 1.0, groups, confidence=dict.fromkeys(groups, 1.0)) for groups in vectors]
