"""A replay goes the way of a live session: same frames, same order, none dropped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.arrays import ByteArray
from common.blobs import TEXTURE, Blob
from common.body.anatomy import ATLAS_SIZE
from common.clock import Clock
from common.codec.frame_codec import FrameCodec
from common.errors import RecordingError, UsageError
from common.frames import LabelFrame
from common.recording.format import HEAD
from common.recording.reader import Recording
from common.texture.atlas import TILES, encode
from common.wire.convert import FrameMessage
from receiver.config import RecordConfig, ReplayConfig
from receiver.engine.engine import ReconstructionRequest
from receiver.link.session import Arrival, Session
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_records import read_records
from receiver.recorder import FileRecorder
from receiver.replay import Replay, open_recording
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH
from tests.support.receiver.recordings import write_clip
from tests.support.receiver.running_receiver import RunningReceiver
from tests.unit.receiver.test_recorder import assert_equal, record, session_of, slow_clip

MODEL = MODEL_HASH.hex()


@asynccontextmanager
async def playing(
    path: Path,
    out: Path,
    *,
    clock: Clock | None = None,
    model: bytes = MODEL_HASH,
    speed: str = "max",
    from_: float = 0.0,
) -> AsyncIterator[tuple[Replay, RunningReceiver, list[str]]]:
    """A replay, where it plays to, and the lines that it prints."""
    config, lines = ReplayConfig(path, speed, from_), list[str]()
    async with RunningReceiver(out, mesh_every=1000, new_decoder=lambda: FrameCodec(model)) as receiver:
        with open_recording(config, 1, MODEL) as recording:
            assert recording is not None
            yield Replay(recording, config, receiver.pipeline, lines.append, clock or Clock()), receiver, lines


async def live_session(
    pipeline: ReceiverPipeline, session: Session, frames: Sequence[LabelFrame], blobs: Callable[[int], list[Blob]]
) -> None:
    encoder = FrameCodec(MODEL_HASH)
    await pipeline.on_session(session)
    for frame in frames:
        for blob in blobs(frame.sequence):
            pipeline.on_blob(session, blob)
        encoder.acknowledge(frame.sequence - 2)
        encoded = encoder.encode(frame, FINE_RHO)
        await pipeline.on_frame(session, FrameMessage(frame.sequence, encoded.payload), Arrival(0.0))
        session.handled(frame.sequence)
    await pipeline.on_session_end(session)


@dataclass
class Replayed:
    requests: list[ReconstructionRequest]
    lines: list[str]
    session: int


async def replay(path: Path, out: Path, **options: Any) -> Replayed:
    async with playing(path, out, **options) as (played, receiver, lines):
        lines.append(await played.start())
        await played.run(asyncio.Event())
    written, requests = receiver.lines(), receiver.engine.requests
    assert [line["seq"] for line in written] == [request.frame.sequence for request in requests]
    assert all(line["age_ms"] is None for line in written)
    return Replayed(requests, lines, written[0]["session"] if written else 0)


def colours_of(shade: int) -> Blob:
    colours, everywhere = np.full((ATLAS_SIZE, ATLAS_SIZE, 3), shade, np.uint8), np.ones((ATLAS_SIZE,) * 2, np.bool_)
    return Blob(TEXTURE, TILES[0].key(0), encode(TILES[0], colours, everywhere))


def assert_same(found: ReconstructionRequest, expected: ReconstructionRequest) -> None:
    assert_equal(found.frame, expected.frame)
    colours, expected_colours = colours_in(found), colours_in(expected)
    assert colours.keys() == expected_colours.keys()
    assert all(np.array_equal(colours[key], expected_colours[key]) for key in colours)


def colours_in(request: ReconstructionRequest) -> dict[int, ByteArray]:
    textures = {key: each.texture for key, each in request.appearance.items()}
    return {key: texture.texture().colours for key, texture in textures.items() if texture is not None}


async def test_replay_of_bundles_plays_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    recorder = FileRecorder(RecordConfig(path), codec=1, model=MODEL, version="0.1.0")
    live = record(recorder, session_of(), slow_clip(30), bundle=3)
    played = await replay(path, tmp_path / "out", from_=5.0)
    assert [request.frame.sequence for request in played.requests] == list(range(12, 30))
    times_s = [request.frame.captured_at for request in played.requests]
    assert times_s == [decoded.frame.captured_at for decoded in live[12:]]


async def test_replay_reconstructs_exactly_what_the_live_session_did(tmp_path: Path) -> None:
    path, frames = tmp_path / "talk.bw", slow_clip(70)

    def blobs(sequence: int) -> list[Blob]:
        return [colours_of(sequence)] if sequence % 15 == 4 else []

    recorder = FileRecorder(RecordConfig(path), codec=1, model=MODEL, version="0.1.0")
    async with RunningReceiver(
        tmp_path / "live", observers=[recorder], new_decoder=lambda: FrameCodec(MODEL_HASH)
    ) as receiver:
        await live_session(receiver.pipeline, session_of(), frames, blobs)
    recorder.close()
    live = receiver.engine.requests
    assert len(live) == 70 and colours_in(live[-1])
    for position, first in ((0.0, 0), (17.5, 35), (34.0, 68)):
        found = await replay(path, tmp_path / f"from {first}", from_=position)
        assert len(found.requests) == 70 - first
        for one, other in zip(found.requests, live[first:], strict=True):
            assert_same(one, other)
    assert found.lines[0] == f"replaying {path}: 34.5 s of test, recorded by the receiver"
    assert found.lines[1].startswith("replayed 2 frames in")


@pytest.mark.parametrize("timely", [True, False])
async def test_replay_knows_whether_labels_are_timely(tmp_path: Path, timely: bool) -> None:
    recorder = FileRecorder(RecordConfig(tmp_path / "talk.bw"), codec=1, model=MODEL, version="0.1.0")
    session = session_of()
    session.timely = timely
    record(recorder, session, slow_clip(3))
    await replay(tmp_path / "talk.bw", tmp_path / "out")
    assert read_records(tmp_path / "out/sessions.jsonl").sessions[1].timely == timely


async def test_replays_are_sessions_of_their_own(tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.bw", slow_clip(5), state_every=100)
    assert (await replay(tmp_path / "talk.bw", tmp_path / "out")).session == 1
    async with playing(tmp_path / "talk.bw", tmp_path / "out") as (played, receiver, _):
        await played.run(asyncio.Event())
    assert [line["session"] for line in receiver.lines()] == [1] * 5 + [2] * 5


class Waits(list[float]):
    """The waits of a replay, whose time passes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock(monotonic=lambda: self._now_s, wall=lambda: 0.0)
        self._now_s, waits = 50.0, self

        class Waited:
            """In place of `asyncio.timeout`."""

            def __init__(self, delay_s: float) -> None:
                waits.append(delay_s)
                waits._now_s += delay_s

            async def __aenter__(self) -> None:
                raise TimeoutError

            async def __aexit__(self, *_: object) -> None: ...

        monkeypatch.setattr("receiver.replay.asyncio.timeout", Waited)


async def test_speed_paces_frames_by_their_time_of_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "talk.bw", slow_clip(9), state_every=100)
    waits = Waits(monkeypatch)
    clock = waits.clock
    played = await replay(tmp_path / "talk.bw", tmp_path / "out", clock=clock, speed="1")
    assert waits == pytest.approx([0.5] * 8)
    assert played.lines[1].startswith("replayed 9 frames in 4.0 s, 4.0 s when they were live, with ")
    assert played.lines[1].endswith(" kbit/s of labels")
    waits.clear()
    await replay(tmp_path / "talk.bw", tmp_path / "twice", clock=clock, speed="2", from_=2.0)
    assert waits == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
async def test_step_of_the_senders_clock_is_no_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    frames = [replace(frame, captured_at=frame.captured_at + step_s * (frame.sequence > 3)) for frame in slow_clip(9)]
    write_clip(tmp_path / "talk.bw", frames, state_every=100)
    waits = Waits(monkeypatch)
    played = await replay(tmp_path / "talk.bw", tmp_path / "out", clock=waits.clock, speed="1")
    assert waits == pytest.approx([0.5] * 8) and f"replaying {tmp_path / 'talk.bw'}: 4.0 s" in played.lines[0]
    waits.clear()
    await replay(tmp_path / "talk.bw", tmp_path / "later", clock=waits.clock, speed="1", from_=3.0)
    assert waits == pytest.approx([0.5] * 2)


async def test_stop_ends_a_replay_at_once(tmp_path: Path) -> None:
    write_clip(tmp_path / "talk.bw", slow_clip(9), state_every=100)
    stop = asyncio.Event()
    async with playing(tmp_path / "talk.bw", tmp_path / "out", speed="1") as (played, receiver, lines):
        running = asyncio.create_task(played.run(stop))
        while not receiver.engine.requests:
            await asyncio.sleep(0)
        stop.set()
        await running
    assert len(receiver.engine.requests) == 1 and lines[-1].startswith("replayed 1 frame ")


async def test_damage_ends_a_replay_with_an_error_behind_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    write_clip(path, slow_clip(60), state_every=20)
    with Recording(path) as recording:
        damaged = recording.blocks[12]
    data = bytearray(path.read_bytes())
    data[damaged.offset + HEAD.size + 9] ^= 1
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=r"talk\.bw is damaged after 1\d\.\d s"):
        await replay(path, tmp_path / "out")
    assert len((tmp_path / "out" / "frames.jsonl").read_text().splitlines()) >= 20
    assert len((await replay(path, tmp_path / "behind", from_=21.0)).requests) == 18


async def test_frames_that_do_not_decode_are_counted_and_the_rest_plays(tmp_path: Path) -> None:
    """A recording whose checksums are right, with packets of other networks in it."""
    write_clip(tmp_path / "talk.bw", slow_clip(6), state_every=100)
    async with playing(tmp_path / "talk.bw", tmp_path / "out", model=b"another ", speed="max") as (
        played,
        receiver,
        lines,
    ):
        await played.run(asyncio.Event())
    assert not receiver.engine.requests and lines[-1].endswith(", 6 refused")


def test_open_refuses_other_versions_and_times_behind_the_end(tmp_path: Path) -> None:
    path = tmp_path / "talk.bw"
    write_clip(path, slow_clip(9), state_every=100)
    with pytest.raises(RecordingError, match="codec version 7"):
        open_recording(ReplayConfig(path), 7, MODEL)
    with pytest.raises(RecordingError, match="No such file"):
        open_recording(ReplayConfig(tmp_path / "none.bw"), 1, MODEL)
    with pytest.raises(UsageError, match=r"--from 600: .* ends after 4\.\d s"):
        open_recording(ReplayConfig(path, from_=600.0), 1, MODEL)


@pytest.mark.parametrize(
    ("speed", "from_", "message"),
    [*((speed, 0.0, "--speed") for speed in ("0", "-1", "fast", "nan", "inf")), ("1", -1.0, "--from")],
)
def test_wrong_options_are_refused(speed: str, from_: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayConfig(speed=speed, from_=from_)
