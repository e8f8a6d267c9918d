"""Replaying what a session recorded gives the same files, bit for bit, with the networks that ship."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import LabelFrame
from common.texture.atlas import TILES
from common.texture.atlas import encode as encode_tile
from common.weights.manifest import model_hash
from common.wire.convert import FrameMessage
from receiver.config import PublishConfig, RecordConfig, ReplayConfig
from receiver.engine.reconstructor import LocalEngine, Reconstructor
from receiver.link.session import Arrival
from receiver.mesh.body_file import read_mesh
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_directory import SessionDirectory
from receiver.recorder import FileRecorder
from receiver.replay import Replay, open_recording
from tests.support.link.counting_codec import new_session
from tests.support.motion.label_motion import FINE_RHO, clip

FRAMES = 6


@pytest.fixture
def frames() -> list[LabelFrame]:
    """Somebody who moves, in frames that are six seconds apart for the clock of a recording."""
    return [replace(each, captured_at=1_800_000_000.0 + 6 * each.sequence) for each in clip(FRAMES, seed=7)]


_reconstructor = cache(Reconstructor.load)


@asynccontextmanager
async def receiving(out: Path, recorder: FileRecorder | None = None) -> AsyncIterator[ReceiverPipeline]:
    torch.set_num_threads(1)
    with SessionDirectory(PublishConfig(out)) as directory:
        observers = [] if recorder is None else [recorder]
        pipeline = ReceiverPipeline(
            LocalEngine(_reconstructor()),
            directory,
            ReceiverMetrics(),
            observers=observers,
            new_decoder=lambda: FrameCodec(model_hash()),
        )
        yield pipeline
        await pipeline.close()
    if recorder is not None:
        recorder.close()


def blobs_before(sequence: int, identity: int) -> list[Blob]:
    """A coarse tile before the third frame, a finer one before the sixth."""
    if sequence not in (2, 5):
        return []
    everywhere, tile = np.ones((ATLAS_SIZE, ATLAS_SIZE), np.bool_), TILES[sequence == 5]
    data = encode_tile(tile, np.full((ATLAS_SIZE, ATLAS_SIZE, 3), 90 + 10 * sequence, np.uint8), everywhere)
    return [Blob(TEXTURE, tile.key(identity), data)]


async def receive_live(out: Path, recording: Path, frames: Sequence[LabelFrame]) -> None:
    recorder = FileRecorder(RecordConfig(recording), codec=CODEC_VERSION, model=model_hash().hex(), version="0.1.0")
    encoder, session = FrameCodec(model_hash()), new_session()
    async with receiving(out, recorder) as pipeline:
        await pipeline.on_session(session)
        for frame in frames:
            for blob in blobs_before(frame.sequence, frame.people[0].identity):
                pipeline.on_blob(session, blob)
            encoder.acknowledge(frame.sequence - 1)
            encoded = encoder.encode(frame, FINE_RHO)
            await pipeline.on_frame(session, FrameMessage(frame.sequence, encoded.payload), Arrival(0.0))
            session.handled(frame.sequence)
        await pipeline.on_session_end(session)


async def replay(out: Path, config: ReplayConfig) -> None:
    with open_recording(config, CODEC_VERSION, model_hash().hex()) as recording:
        assert recording is not None
        async with receiving(out) as pipeline:
            await Replay(recording, config, pipeline, lambda _: None).run(asyncio.Event())


def meshes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "meshes").iterdir()}


def of_frames(files: Iterable[str]) -> list[str]:
    """Those that are not shared by several frames."""
    return sorted(name for name in files if name[:6].isdecimal())


async def test_replay_publishes_the_live_meshes_bit_for_bit(tmp_path: Path, frames: list[LabelFrame]) -> None:
    await receive_live(tmp_path / "live", tmp_path / "talk.bw", frames)
    live = meshes(tmp_path / "live")
    assert len(of_frames(live)) == 2 * FRAMES
    await replay(tmp_path / "again", ReplayConfig(tmp_path / "talk.bw", speed="max"))
    assert meshes(tmp_path / "again") == live
    # From the state at the entry point of frame 4, with the blobs before it.
    await replay(tmp_path / "late", ReplayConfig(tmp_path / "talk.bw", speed="max", from_=30.0))
    late, expected = meshes(tmp_path / "late"), [name for name in of_frames(live) if int(name[:6]) >= 5]
    assert of_frames(late) == expected
    for name in expected:
        if name.endswith(".body.gltf"):
            # Rigs begin with another frame.
            bodies = [read_mesh(tmp_path / each / "meshes" / name).vertices for each in ("live", "late")]
            assert np.abs(bodies[1] - bodies[0]).max() < 2e-3
        else:
            assert late[name] == live[name]
