"""The test set: rendered crops of people excluded from all trainings, kept in a cache, and their ground truth."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

import common.synthetic
from common.arrays import BoolArray, ByteArray, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel, BodyOutput
from common.errors import OutputError
from common.frames import Camera, PersonLabels
from common.io.files import cache_directory
from common.labels import split
from common.synthetic import render_shards
from common.synthetic.assets.garments import Canvas, Outfit, PosedSkeleton
from common.synthetic.dataset import EVERYDAY, PRESETS
from common.synthetic.render_shards import REQUIRED_FIELDS, Batch, CropDataset
from common.synthetic.renderer import Figure, Renderer
from common.synthetic.scene.scene import Dresser, State, worn_figure
from receiver.body.skinning import BodySkin
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.train.crops import true_parameters
from tests.bench.measures import Surface, centred
from tests.bench.people.shells import ShellMaker
from tests.bench.report import progress
from tests.support.meshes.posed_templates import pose, templates

SEED = 7
"""Data set number within the test split; the trainings score themselves on others."""


def truth_fields(dataset: CropDataset) -> tuple[str, ...]:
    """Fields of a batch with which `Truth` knows the clothes."""
    return (*REQUIRED_FIELDS, "outfit", *({"kinds"} & set(dataset.fields)))


def crop_set(count: int, seed: int, size: int, preset: str = EVERYDAY.name, workers: int = 2) -> Path:
    """The directory with `count` crops of the test split in a preset, rendered unless the cache has them.

    Raises:
        RendererUnavailable: OpenGL is missing.
        OutputError: the cache cannot be written.
        ValueError: the seed is beyond the split.
    """
    directory = cache_directory() / f"bench-crops-{_generator()}-{preset}-{seed}-{count}-{size}"
    tasks = render_shards.plan(directory, "test", seed, count, size, PRESETS[preset])
    if tasks:
        progress(f"rendering {count} test images into {directory}")
        _make(directory)
        render_shards.render(tasks, workers)
    return directory


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {error.strerror}; set BODYWIRE_CACHE") from error


def _generator() -> str:
    """A hash of the renderer's sources: when they change, the test set is rendered again."""
    sources = sorted(Path(common.synthetic.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:10]


def coarse_mask(mask: ByteArray) -> BoolArray:
    """(B, S/2, S/2) pixels of half resolution of which more than half is covered in masks (B, S, S) of 0 or 255."""
    count, size, _ = mask.shape
    return np.asarray(mask.reshape(count, size // 2, 2, size // 2, 2).mean((2, 4)) > 127.5)


def camera_of(focal: float, size: int) -> Camera:
    """The camera of a crop of `size` pixels; `focal` is in crop widths, the principal point in the middle."""
    return Camera(size, size, float(focal) * size)


@dataclass(frozen=True)
class TruePerson:
    """Ground truth of one crop.

    Args:
        labels: what a sender without error would send.
        keypoints: (17, 3) relative to the midpoint of the hips, metres, axes of the crop's camera.
        mesh: the coloured skin relative to the midpoint of the hips.
        bare: the same triangles, for distances.
        surface: the outer shell, with clothes and hair, about the hips too.
        shell: the same in its unlit colours.
        mask: (S/2, S/2) the visible part of the person with clothes and hair, at half the crop's resolution.
        depth: (S/2, S/2) camera z minus the root joint's, metres, valid on `mask`.
    """

    labels: PersonLabels
    keypoints: FloatArray
    mesh: SurfaceMesh
    bare: Surface
    surface: Surface
    shell: SurfaceMesh
    camera: Camera
    mask: BoolArray
    depth: FloatArray


class Truth:
    """Reads the ground truth of test crops."""

    def __init__(self, body: BodyModel, space: LabelSpace) -> None:
        self.body, self.space = body, space
        self.skin = BodySkin.from_model(body)

    @cached_property
    def _shells(self) -> ShellMaker:
        return ShellMaker(Renderer(Canvas.from_model(self.body)))

    @cached_property
    def _dressed(self) -> Dresser:
        return Dresser(Canvas.from_model(self.body), dressed=True)

    @cached_property
    def _painted(self) -> Dresser:
        return Dresser(Canvas.from_model(self.body), dressed=False)

    @torch.inference_mode()
    def people(self, batch: Batch) -> list[TruePerson]:
        """The person of each crop of a batch with `truth_fields`."""
        parameters = true_parameters(batch)
        bare, posed = templates(self.skin, parameters), self.body(parameters)
        figures = [self._figure(batch, posed, row) for row in range(len(posed.vertices))]
        colours = torch.from_numpy(np.stack([self._shells.region_colours(figure) for figure in figures]))
        vectors = self.space.encode(parameters, colours)
        labels = people_of(vectors)
        masks = coarse_mask(np.asarray(batch["mask"], np.uint8))
        size = batch["mask"].shape[1]
        people = []
        for row, keypoints in enumerate(batch["joints_3d"]):
            mesh = pose(self.skin, bare, row, colours[row].numpy()).mesh
            mesh = SurfaceMesh(centred(keypoints, mesh.vertices).astype(np.float32), mesh.faces, mesh.colours)
            relative = centred(keypoints).astype(np.float32)
            skin = Surface(mesh.vertices, mesh.faces)
            shell = self._shells.make(figures[row])
            shell = replace(shell, vertices=centred(keypoints, shell.vertices).astype(np.float32))
            surface = Surface(shell.vertices, shell.faces)
            camera = camera_of(float(batch["focal"][row]), size)
            depth = np.asarray(batch["depth"][row], np.float32)
            people.append(TruePerson(labels[row], relative, mesh, skin, surface, shell, camera, masks[row], depth))
        return people

    def _figure(self, batch: Batch, posed: BodyOutput, row: int) -> Figure:
        """One person of a batch, in the same outfit."""
        dresser = self._dressed if "kinds" in batch else self._painted
        shape, outfit = np.asarray(batch["shape"][row], np.float32), np.asarray(batch["outfit"][row], np.uint64)
        rest = self.body.rest_joints_of(posed.vertices.new_tensor(shape)[None])[0].numpy()
        positions, rotations = (part[row].numpy() for part in (posed.joint_positions, posed.joint_rotations))
        skeleton = PosedSkeleton(shape, rest, positions, rotations)
        return worn_figure(drawn_again(dresser, outfit), posed.vertices[row].numpy(), skeleton)


def drawn_again(dresser: Dresser, state: State) -> Outfit:
    """The outfit that a dresser drew with a generator in this state."""
    low, high, inc_low, inc_high, has_uint32, uinteger = (int(word) for word in state)
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return dresser.draw(np.random.Generator(bits))[0]


def people_of(labels: torch.Tensor) -> list[PersonLabels]:
    """Label vectors (B, LABEL_SIZE) as people with all groups and full confidence."""
    vectors = [split(row) for row in labels.numpy()]
    return [PersonLabels(0, 1.0, groups, confidence=dict.fromkeys(groups, 1.0)) for groups in vectors]
