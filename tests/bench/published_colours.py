"""Colours of people between sender and receiver in process: what the texture stage sends, as it arrives."""

from collections.abc import Sequence

from common.arrays import Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.frames import Camera, PersonLabels
from receiver.texture.received_texture import ReceivedTexture, ReceivedTextures
from sender.capture.source import CapturedFrame
from sender.perception.stage import ObservedPerson
from sender.texture.stage import TextureStage


class PublishedColours:
    """What sender and receiver make of the colours in single pictures: tiles there, textures here."""

    def __init__(self) -> None:
        self._stage = TextureStage(LabelSpace.load(), BodyModel.load(), stills=True)

    def textures(
        self, image: Image, camera: Camera, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> dict[int, ReceivedTexture]:
        """The atlases that arrive of a picture, by identity."""
        self._stage.reset()
        arrived = ReceivedTextures()
        for blob in self._stage.update(CapturedFrame(0, "", 0.0, 0.0, image, camera), observed, people):
            arrived.take(blob)
        return dict(arrived.of_next_frame(wait=False))
