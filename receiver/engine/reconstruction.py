"""From one frame's labels to meshes: decode ─ diffusion ─ surface, and the skinned body beside it.

The meshes stand in the camera space of whoever captured the frame.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from common.arrays import FloatArray
from common.body.model import BodyModel, BodyOutput
from common.frames import NEAR_M, Camera, LabelFrame, PersonLabels
from common.texture.point_colours import PointColours
from receiver.body.colouring import Colouring
from receiver.body.skinning import BodySkin
from receiver.decode.stage import DecodedBody, DecodeStage
from receiver.diffusion.stage import DiffusionStage, PointCloud, SamplingConfig
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.metrics import ReceiverMetrics
from receiver.surface.stage import SurfaceConfig, SurfaceStage

# What the keypoints hang on, for their scores: the confidence of the group that moves them most.
_KEYPOINT_GROUPS = (
    *("head",) * 5,
    *("left_arm", "right_arm") * 3,
    *("left_leg", "right_leg") * 3,
)

_NO_COLOURS: Mapping[int, PointColours] = {}


@dataclass(frozen=True, slots=True)
class ReconstructedPerson:
    """One person of a frame, in camera space.

    Args:
        labels: what arrived.
        surface: the watertight mesh of the diffused points.
        body: the skinned parametric body.
        cloud: the diffused points in the person's root frame, where the next frame starts.
        keypoints_2d: (17, 3) x, y in pixels of the source and a score, COCO order.
        joints_3d: (17, 3) metres.
    """

    labels: PersonLabels
    surface: SurfaceMesh
    body: PosedBody
    cloud: PointCloud
    keypoints_2d: FloatArray
    joints_3d: FloatArray


@dataclass(slots=True)
class Timings:
    """Milliseconds each stage took for one frame."""

    stages_ms: dict[str, float] = field(default_factory=dict)


class Reconstructor:
    """The receiver's networks and the body, shared by all sessions; remembers nothing that a result depends on.

    Args:
        decode, diffusion, surface: the stages.
        body: skins bodies.
        metrics: times the stages.
    """

    def __init__(
        self,
        decode: DecodeStage,
        diffusion: DiffusionStage,
        surface: SurfaceStage,
        body: BodyModel,
        metrics: ReceiverMetrics,
    ) -> None:
        self._decode = decode
        self._diffusion = diffusion
        self._surface = surface
        self._body = body
        self._metrics = metrics
        self._skin = BodySkin.of(body)
        self._colouring = Colouring(body)

    @property
    def skeleton(self) -> Skeleton:
        """What every posed body hangs on."""
        return self._skin.skeleton

    @classmethod
    def load(cls, sampling: SamplingConfig, surface: SurfaceConfig, metrics: ReceiverMetrics) -> "Reconstructor":
        """With the weights that ship with the package.

        Raises:
            WeightsError: they are missing or of another version.
        """
        body = BodyModel.load()
        return cls(DecodeStage.load(), DiffusionStage.load(sampling, body), SurfaceStage(surface), body, metrics)

    def reconstruct(
        self,
        frame: LabelFrame,
        previous: Mapping[int, PointCloud],
        timings: Timings | None = None,
        colours: Mapping[int, PointColours] = _NO_COLOURS,
    ) -> tuple[ReconstructedPerson, ...]:
        """Everybody in a frame.

        Args:
            previous: the last frame's clouds by identity; who is not in it starts from the skinned body.
            timings: filled with the time of each stage.
            colours: what surface points were seen to look like, by identity; who is not in it has the colours of the
                body's regions. Hand over the same objects until others arrive: each costs two milliseconds when new.
        """
        if not frame.people:
            return ()
        timings = timings or Timings()
        with self._timed("decode", timings):
            decoded = self._decode.decode(frame.people)
        with self._timed("diffusion", timings):
            clouds = self._diffusion.reconstruct(decoded, [previous.get(one.identity) for one in frame.people])
            learnt = [_seen(colours.get(one.identity)) for one in frame.people]
            clouds = tuple(self._coloured(cloud, decoded, row, learnt[row]) for row, cloud in enumerate(clouds))
        with self._timed("body", timings), torch.inference_mode():
            bodies = self._body(decoded.parameters)
            joints_3d = self._body.coco_keypoints(bodies.vertices).numpy()
        with self._timed("surface", timings):
            surfaces = [self._surface_of(cloud, decoded, row) for row, cloud in enumerate(clouds)]
        return tuple(
            ReconstructedPerson(
                person,
                surfaces[row],
                self._posed(bodies, decoded, row, None if learnt[row] is None else clouds[row].colours),
                clouds[row],
                _keypoints_2d(joints_3d[row], frame.camera, person),
                joints_3d[row],
            )
            for row, person in enumerate(frame.people)
        )

    def _coloured(self, cloud: PointCloud, decoded: DecodedBody, row: int, learnt: PointColours | None) -> PointCloud:
        if learnt is None:
            return cloud
        return replace(cloud, colours=self._colouring.colours(learnt, decoded.colours[row].numpy()))

    def _surface_of(self, cloud: PointCloud, decoded: DecodedBody, row: int) -> SurfaceMesh:
        orientation = decoded.parameters.rotations[row, 0].numpy()
        placed = cloud.placed(orientation, decoded.parameters.translation[row].numpy())
        colours = None if placed.colours is None else np.rint(255 * placed.colours).astype(np.uint8)
        return self._surface.reconstruct(placed.points, placed.normals, colours=colours)

    def _posed(self, bodies: BodyOutput, decoded: DecodedBody, row: int, point_colours: FloatArray | None) -> PosedBody:
        colours = decoded.colours[row].numpy() if bool(decoded.coloured[row]) else None
        return self._skin.pose(bodies, row, colours, point_colours)

    @contextmanager
    def _timed(self, stage: str, timings: Timings) -> Iterator[None]:
        with self._metrics.stage(stage) as span:
            yield
        timings.stages_ms[stage] = span.ms


def _seen(colours: PointColours | None) -> PointColours | None:
    """None where nothing was seen either."""
    return colours if colours is not None and colours.seen.any() else None


def _keypoints_2d(joints_3d: FloatArray, camera: Camera, person: PersonLabels) -> FloatArray:
    """(17, 3) pixels and scores of keypoints (17, 3) in camera space; behind the camera scores 0."""
    confidence = np.array([person.confidence.get(group, 0.0) for group in _KEYPOINT_GROUPS])
    scores = np.where(joints_3d[:, 2] > NEAR_M, confidence, 0.0)
    return np.concatenate([camera.project(joints_3d), scores[:, None]], axis=1).astype(np.float32)
