"""Frames of the sender process for pictures reach the job that expects them, and nobody else."""

import numpy as np
import pytest

from common.blobs import PREVIEW, TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.body.model import BodyModel
from common.codec.frame_codec import FrameCodec
from common.errors import ChecksumMismatch, MalformedPacket
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import GROUPS
from common.texture.atlas import AtlasLayout
from common.texture.atlas_tiles import TILES
from common.texture.atlas_tiles import encode as encode_tile
from common.wire.convert import FrameMessage
from receiver.link.frame_handler import Arrival
from receiver.link.session import Session
from receiver.texture.inpainting import TextureInpainter
from receiver.web.children.picture_frames import PictureFrames
from receiver.web.children.sender_child import ChildEnded
from tests.support import fake_link
from tests.support.running_receiver import MODEL, packets

EVERYWHERE = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_)
TILE_DATA = encode_tile(TILES[0], np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90, np.uint8), EVERYWHERE)


def session() -> Session:
    return fake_link.new_session(FrameCodec(MODEL))


def picture_of_person_4() -> FrameMessage:
    labels = {group.name: np.zeros(group.size, np.float32) for group in GROUPS}
    frame = LabelFrame(1, "picture 2", 1000.0, Camera(640, 480, 768.0), (PersonLabels(4, 0.9, labels),))
    return FrameMessage(1, FrameCodec(MODEL).encode(frame, {}).payload)


async def test_frame_goes_to_its_job_with_its_colours() -> None:
    frames, sender = PictureFrames(), session()
    await frames.on_session(sender)
    # Person 3 is in the picture, person 4 in a later one.
    for identity in (3, 4):
        frames.on_blob(sender, Blob(TEXTURE, TILES[0].key(identity), TILE_DATA))
    (packet,) = packets(1, "picture 1")
    with frames.expect("picture 1") as expected, frames.expect("picture 2") as other:
        await frames.on_frame(sender, packet, Arrival(0.0))
        labels = await expected
        assert not other.done()
    assert labels.frame.source == "picture 1" and 3 in labels.textures
    assert labels.payload_bytes == len(packet.payload) and labels.session is sender
    with frames.expect("picture 2") as expected:
        await frames.on_frame(sender, picture_of_person_4(), Arrival(0.0))
        labels = await expected
    assert set(labels.textures) == {4}, "those of picture 1 are forgotten"


async def test_frame_that_nobody_expects_any_more_is_dropped() -> None:
    frames, sender = PictureFrames(), session()
    first, second = packets(2, "picture 1")
    with frames.expect("picture 1") as expected:
        expected.cancel()
        await frames.on_frame(sender, first, Arrival(0.0))
    await frames.on_frame(sender, second, Arrival(0.0))
    assert frames.arrived == 2


async def test_colours_of_an_earlier_process_are_forgotten() -> None:
    frames, sender = PictureFrames(), session()
    frames.on_blob(sender, Blob(TEXTURE, TILES[0].key(3), TILE_DATA))
    await frames.on_session(sender)
    with frames.expect("picture 1") as expected:
        await frames.on_frame(sender, next(packets(1, "picture 1")), Arrival(0.0))
        assert (await expected).textures == {}


async def test_packet_that_is_damaged_is_refused() -> None:
    frames, sender = PictureFrames(), session()
    packet = next(packets(1, "picture 1"))
    with frames.expect("picture 1") as expected, pytest.raises(ChecksumMismatch):
        await frames.on_frame(sender, FrameMessage(0, packet.payload[:-3]), Arrival(0.0))
    assert not expected.done()


@pytest.mark.parametrize(
    "blob",
    [
        Blob(PREVIEW, 0, b"\xff\xd8\xff\xd9"),
        Blob(TEXTURE, len(TILES) * 256, TILE_DATA),
        Blob(TEXTURE, 0, b"tile"),
    ],
)
def test_other_blobs_are_refused(blob: Blob) -> None:
    with pytest.raises(MalformedPacket):
        PictureFrames().on_blob(session(), blob)


async def test_all_jobs_fail_with_the_process() -> None:
    frames = PictureFrames()
    with frames.expect("picture 1") as first, frames.expect("picture 2") as second:
        frames.fail(ChildEnded("the sender process has ended"))
        frames.fail(ChildEnded("and again"))
        for expected in (first, second):
            with pytest.raises(ChildEnded, match="the sender process has ended"):
                await expected


async def test_textures_of_a_picture_are_completed_before_its_job_goes_on() -> None:
    layout = AtlasLayout.from_body(BodyModel.load())
    inpainter = TextureInpainter(lambda: (layout, lambda texture: np.full((128, 128, 3), texture.colours.max())))
    frames, sender = PictureFrames(inpainter), session()
    await frames.on_session(sender)
    left = np.arange(ATLAS_SIZE)[None].repeat(ATLAS_SIZE, axis=0) < ATLAS_SIZE // 2
    for number, shade in enumerate((90, 200)):
        data = encode_tile(TILES[number], np.full((ATLAS_SIZE, ATLAS_SIZE, 3), shade, np.uint8), left)
        frames.on_blob(sender, Blob(TEXTURE, TILES[number].key(3), data))
    with frames.expect("picture 1") as expected:
        await frames.on_frame(sender, next(packets(1, "picture 1")), Arrival(0.0))
        texture = (await expected).textures[3]
    assert texture.completion is not None and texture.completion[0, 0, 0] == texture.texture().colours.max()
