"""The seam between labels and meshes: everything that needs a reconstruction calls a `ReconstructionEngine`.

A request carries all that its result depends on, so an engine keeps no state of any session: a live stream, an upload
and a replay call the same engine, in this process or elsewhere.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Protocol

from common.arrays import FloatArray
from common.frames import LabelFrame, PersonLabels
from common.wears import Wears
from receiver.body.person_scale import PersonScale
from receiver.mesh.mesh_texture import MeshTexture, TextureCorners
from receiver.mesh.skinned_glb import PosedBody, Skeleton
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.texture.received_texture import ReceivedTexture


class RequestWithdrawn(Exception):
    """A request was withdrawn before its reconstruction began."""


class Priority(IntEnum):
    """Whose frames come first when an engine has more than it can do."""

    LIVE = 0  # frames that are dropped when they are late
    UPLOAD = 1  # somebody waits: a file, a picture, a camera of which every frame counts
    REPLAY = 2  # nobody waits: a recording


@dataclass(frozen=True, slots=True)
class PersonAppearance:
    """What blobs have brought of a person; None while nothing is known.

    Args:
        texture: the atlas; a person without one has the colours of the body regions.  Pass the same object until
            another tile arrives: preparing one takes some 10 ms.
        wears: the posterior over what the person wears.
        worn: the same, with the kinds that were drawn from it for as long as they stay plausible.
    """

    texture: ReceivedTexture | None = None
    wears: Wears | None = None
    worn: Wears | None = None


_UNKNOWN = PersonAppearance()


@dataclass(frozen=True, slots=True)
class ReconstructionRequest:
    """One frame of one session.

    Args:
        account: the key of whom the session belongs to; accounts share an engine equally.
        session: the session's key; the sessions of an account share equally what the account gets.
        appearance: by identity; people who are not in it are unknown.
        split_from: number of people of the whole frame that this is a part of; None for a whole frame.
        still: a picture, not a frame of a stream: surfaces are solved in the pose, so that they do not pass through
            themselves.
    """

    account: Hashable
    session: Hashable
    frame: LabelFrame
    appearance: Mapping[int, PersonAppearance] = field(default_factory=dict)
    split_from: int | None = None
    priority: Priority = Priority.LIVE
    still: bool = False

    @property
    def people_in_frame(self) -> int:
        """Number of people in the whole frame, which sets the resolution of the surfaces of a still."""
        return len(self.frame.people) if self.split_from is None else self.split_from

    def appearance_of(self, person: PersonLabels) -> PersonAppearance:
        """What is known of one of the frame's people."""
        return self.appearance.get(person.identity, _UNKNOWN)

    def part(self, number: int) -> "ReconstructionRequest":
        """The request for one of the frame's people, by position."""
        person = self.frame.people[number]
        return replace(
            self,
            frame=replace(self.frame, people=(person,)),
            appearance={person.identity: self.appearance_of(person)},
            split_from=self.people_in_frame,
        )


@dataclass(frozen=True, slots=True)
class ReconstructedPerson:
    """One person of a frame, in camera space (x right, y down, z forward), metres.

    Args:
        surface: the watertight mesh around the displaced template.
        body: the displaced template, skinned: fixed topology and vertex order.
        keypoints_2d: (17, 3) x, y in source pixels and a score, COCO order.
        joints_3d: (17, 3) metres.
        surface_corners: where the surface's triangles are in the texture of the body; None if that is not known.
        scale: how tall the person is, and how sure height and distance are.
        worn: the clothes (`PersonAppearance.worn`).
    """

    labels: PersonLabels
    surface: SurfaceMesh
    body: PosedBody
    keypoints_2d: FloatArray
    joints_3d: FloatArray
    surface_corners: TextureCorners | None = None
    scale: PersonScale | None = None
    worn: Wears | None = None

    @property
    def surface_texture(self) -> MeshTexture | None:
        """The texture of the body, for the surface; None if there is none, or if its place is not known."""
        texture, corners = self.body.texture, self.surface_corners
        return None if texture is None or corners is None else replace(texture, corners=corners)


@dataclass(frozen=True, slots=True)
class ReconstructionResult:
    """The answer to one request.

    Args:
        people: in the order of the request's frame.
        stages_ms: time that the request spent in each stage: `queue` (waiting), then `decode`, `diffusion`, `body`,
            and `surface`, which is added over the people of a still. Requests of one batch share the time of its
            network passes.
    """

    people: tuple[ReconstructedPerson, ...]
    stages_ms: Mapping[str, float]


class ReconstructionEngine(Protocol):
    """Turns label frames of any sessions into meshes."""

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton that every `PosedBody` refers to."""

    async def reconstruct(self, request: ReconstructionRequest) -> ReconstructionResult:
        """Reconstructs everybody in a frame; concurrent requests are batched, and the people of large frames split.

        A result depends on the other people of its batches only by rounding, below 0.1 mm.

        Raises:
            RequestWithdrawn: `withdraw` was called in time.
            ValueError: a label group of the frame is unknown or too long.
        """

    def withdraw(self, request: ReconstructionRequest) -> None:
        """Gives up a request that waits; the session's next one takes its place in the queue."""

    async def close(self) -> None:
        """Finishes the requests that have been accepted, then frees the workers."""
