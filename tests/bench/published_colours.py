"""Colours of people between sender and receiver in process: what the texture stage sends, as it arrives."""

from collections.abc import Sequence

from common.arrays import Image
from common.blobs import TEXTURE, Blob
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, PersonLabels
from common.texture.point_colours import PointColours, decode
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson
from sender.texture.stage import TextureStage


class PublishedColours:
    """What sender and receiver make of the colours in pictures: blobs there, textures and colours of points here.

    Args:
        stills: every picture is one of its own; else they are the frames of a clip.
    """

    def __init__(self, *, stills: bool = False) -> None:
        self._stills = stills
        self._stage = TextureStage(LabelSpace.load(), BodyModel.load(), stills=stills)
        self._textures, self._points = ReceivedTextures(), dict[int, PointColours]()

    def reset(self) -> None:
        self._stage.reset()
        self._textures, self._points = ReceivedTextures(), {}

    def update(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> None:
        if self._stills:
            self.reset()
        self._take(self._stage.update(CapturedFrame(0, "", 0.0, 0.0, image, camera), observed, people))

    @property
    def textures(self) -> dict[int, ReceivedTexture]:
        """The atlases that have arrived, by identity."""
        return dict(self._textures.of_next_frame(wait=False))

    @property
    def points(self) -> dict[int, PointColours]:
        """The colours of surface points that have arrived, by identity."""
        return dict(self._points)

    def _take(self, blobs: Sequence[Blob]) -> None:
        for blob in blobs:
            if blob.kind == TEXTURE:
                self._textures.take(blob)
            else:
                self._points[blob.key] = decode(blob.data)
