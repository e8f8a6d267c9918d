"""The seam between an uploaded picture and the people in it.

The upload service depends on `PictureReconstructor` alone; the child process behind it is in `receiver.web.children`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.skinned_glb import Skeleton
from receiver.outfits.mixture import Kinds


class PictureRefused(Exception):
    """The picture cannot be reconstructed; its text says why, for the user."""


class PicturesUnavailable(Exception):
    """No picture can be reconstructed at the moment; its text says why, for the user."""


@dataclass(frozen=True, slots=True)
class ReconstructedPicture:
    """The people of one picture.

    Args:
        people: most prominent first; empty if nobody was found.
        label_bytes: size of the packet that the labels travelled in.
        stages_ms: milliseconds by stage, the sender's and the engine's.
        skeleton: of their bodies.
        kinds: by identity what they were dressed in (`common.wears`).
    """

    width: int
    height: int
    people: tuple[ReconstructedPerson, ...]
    label_bytes: int
    stages_ms: Mapping[str, float]
    skeleton: Skeleton
    kinds: Mapping[int, Kinds]


class PictureReconstructor(Protocol):
    """Turns pictures into people, one after the other or several at a time."""

    async def prepare(self) -> None:
        """Starts what the first picture would otherwise wait for, without waiting. Raises PicturesUnavailable."""

    async def reconstruct(
        self, picture: bytes, on_stage: Callable[[str], None] = lambda _: None
    ) -> ReconstructedPicture:
        """Sends a picture through sender, link and engine.

        Args:
            picture: an encoded image, checked and upright (EXIF orientation applied).
            on_stage: is called with one of `receiver.web.metrics.PICTURE_STAGES` when that stage begins.

        Raises:
            PictureRefused: it is no readable picture.
            PicturesUnavailable: the sender process has ended or is overloaded.
        """
