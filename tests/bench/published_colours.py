"""Colours of people between sender and receiver in process: what the texture stage sends, as it arrives."""

from collections.abc import Sequence

from common.arrays import Image
from common.blobs import Blob
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, PersonLabels
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson
from sender.texture.stage import TextureStage


class PublishedColours:
    """What sender and receiver make of the colours in pictures: tiles there, textures here.

    Args:
        stills: every picture is one of its own; else they are the frames of a clip.
    """

    def __init__(self, *, stills: bool = False) -> None:
        self._stills = stills
        self._stage = TextureStage(LabelSpace.load(), BodyModel.load(), stills=stills)
        self._textures = ReceivedTextures()

    def reset(self) -> None:
        self._stage.reset()
        self._textures = ReceivedTextures()

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

    def _take(self, blobs: Sequence[Blob]) -> None:
        for blob in blobs:
            self._textures.take(blob)
