"""Sender processes of the receiver: pictures and browser cameras, and what happens when a process fails."""

import asyncio
import errno
import io
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.io.command_line import read_config
from common.wear_kinds import VALUES
from common.wears import Wears
from common.weights.manifest import model_hash
from receiver.engine.engine import ReconstructedPerson
from receiver.link.refusals import OwnKind
from receiver.link.server import LinkServer
from receiver.link.session import Session
from receiver.publish.frame_record import FrameRecord
from receiver.publish.observer import ObservedSender, SessionObserver
from receiver.publish.session_records import SessionState
from receiver.web.children.pictures import ACCOUNT, ChildPictures, _unsure
from receiver.web.children.sender_child import CAMERA_NAME, ChildCameras, ChildEnded, SenderChild
from receiver.web.children.standby import begun, own_environment, own_program
from receiver.web.library.clips import _STALL_S, ChildClips
from receiver.web.metrics import PICTURE_STAGES
from receiver.web.places import Refused, Visitor
from sender.__main__ import PROGRAM
from sender.config import SenderConfig
from tests.support.link.counting_codec import until
from tests.support.receiver.picture_sender import DEADLY, DEADLY_EXIT_CODE, MODEL_HASH_VARIABLE, SILENT
from tests.support.receiver.published_session import FRAMES, person_record, write_clip
from tests.support.receiver.running_receiver import RunningReceiver, own_link

SENDER = own_program("tests.support.receiver.picture_sender")
ENDS_AT_ONCE = (sys.executable, "-c", "raise SystemExit('no weights')")


def picture(people: int, width: int = 6, mode: str = "RGB") -> bytes:
    """A picture in which `tests.support.receiver.picture_sender` sees this many people."""
    out = io.BytesIO()
    Image.new(mode, (width, people)).save(out, "PNG")
    return out.getvalue()


class Sessions(SessionObserver):
    """Notes the sessions that everybody may observe, and their frames."""

    def __init__(self) -> None:
        self.began: list[Session] = []
        self.frames: list[int] = []
        self.ended = 0

    def session_began(self, number: int, session: Session) -> None:
        self.began.append(session)

    def frame_published(self, number: int, record: FrameRecord, people: Sequence[ReconstructedPerson]) -> None:
        self.frames.append(record.sequence)

    def session_ended(self, number: int) -> None:
        self.ended += 1


class Bench:
    """A receiver without networks, and what starts its processes; everything is closed at the end."""

    def __init__(self, stack: AsyncExitStack, receiver: RunningReceiver, link: LinkServer, sessions: Sessions) -> None:
        self.receiver, self.link, self.sessions = receiver, link, sessions
        self.engine, self.metrics = receiver.engine, receiver.metrics
        self._stack = stack

    def pictures(self, command: tuple[str, ...] = SENDER, waiting: Process | None = None) -> ChildPictures:
        pictures = ChildPictures(self.link, self.engine.skeleton, self.metrics, command, waiting)
        self._stack.push_async_callback(pictures.close)
        return pictures

    @property
    def process_ends(self) -> float:
        return self.metrics.registry.get_sample_value("bodywire_receiver_sender_process_ends_total") or 0.0

    def cameras(self, most: int = 2, command: tuple[str, ...] = SENDER) -> ChildCameras:
        cameras = ChildCameras(self.link, most, self.metrics, command)
        self._stack.push_async_callback(cameras.close)
        return cameras

    def recorded(self) -> list[SessionState]:
        return self.receiver.directory.sessions()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv(MODEL_HASH_VARIABLE, model_hash().hex())
    sessions = Sessions()
    async with AsyncExitStack() as stack:
        running = RunningReceiver(tmp_path / "out", observers=[sessions], new_decoder=None)
        receiver = await stack.enter_async_context(running)
        link = await stack.enter_async_context(own_link(receiver.pipeline))
        yield Bench(stack, receiver, link, sessions)


async def test_picture_becomes_people_in_their_colours(bench: Bench) -> None:
    stages: list[str] = []
    pictures = bench.pictures()
    first = await pictures.reconstruct(picture(2), stages.append)
    second = await pictures.reconstruct(picture(3))
    assert stages == list(PICTURE_STAGES[:1]) + [stage for stage in PICTURE_STAGES if stage != "queue"]
    assert (first.width, first.height, len(first.people), len(second.people)) == (6, 2, 2, 3)
    assert first.unsure == {key: list(kinds) for key, kinds in first.kinds.items()}, "nobody says what they wear"
    assert first.label_bytes > 0
    assert [{key for key, sizes in each.blob_bytes.items() if sizes} for each in (first, second)] == [{1}, {3, 4}]
    one, other = bench.engine.requests
    assert one.account == other.account == f"token:{ACCOUNT}" and one.still and other.still
    textures = [{key: each.texture for key, each in request.appearance.items()} for request in (one, other)]
    assert [{key for key, each in known.items() if each is not None} for known in textures] == [{1}, {3, 4}]
    red = textures[1][4]
    assert red is not None
    np.testing.assert_allclose(red.texture().colours[0, 0], [4, 0, 0], atol=4)
    assert bench.recorded() == [] and bench.sessions.began == [] and not any((bench.receiver.out / "meshes").iterdir())


def test_kinds_beside_which_others_are_possible_are_unsure() -> None:
    possible = {"headwear": ("none", "cap"), "shoes": ("boots",), "layer": ("coat",)}
    posterior = {
        name: np.array([(value in kept) / len(kept) for value in VALUES[name]], np.float32)
        for name, kept in possible.items()
    }
    person = replace(person_record(), wears=Wears(posterior))
    kinds = {"headwear": "none", "shoes": "boots", "layer": "top", "sleeve": "long"}
    assert _unsure(person, kinds) == ["headwear", "layer", "sleeve"]


async def test_process_waits_for_a_receiver_that_is_busy_as_long_as_it_is_waited_for(bench: Bench) -> None:
    says = (sys.executable, "-c", "import sys; sys.exit(' '.join(sys.argv[1:]))")
    child = SenderChild(bench.link, ObservedSender("clip", "anna", OwnKind.CLIP), Path("clip.mp4"), command=says)
    await child.start()
    assert await child.ended() == 1
    await child.close()
    link = read_config(SenderConfig, PROGRAM, child.words[0].split(), {}).link
    assert min(link.connect_timeout, link.reconnect_timeout) >= 10 * _STALL_S


async def test_pictures_at_once_do_not_mix_and_unreadable_ones_are_refused(bench: Bench) -> None:
    pictures = bench.pictures()
    numbers = [1, 5, 2, 4, 3, 6]
    results = await asyncio.gather(*(pictures.reconstruct(picture(people)) for people in numbers))
    assert [(result.height, len(result.people)) for result in results] == [(people, people) for people in numbers]
    with pytest.raises(Refused, match="not an image that can be read"):
        await pictures.reconstruct(b"GIF89a")
    with pytest.raises(Refused, match="an image has 1 to"):
        await pictures.reconstruct(b"")
    assert len((await pictures.reconstruct(picture(1))).people) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process is limited on Linux alone")
async def test_picture_that_takes_too_much_memory_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.children.sender_child._MOST_MORE_BYTES", 300_000_000)
    pictures = bench.pictures()
    assert len((await pictures.reconstruct(picture(1))).people) == 1
    with pytest.raises(Refused, match="too large: too little memory"):
        await pictures.reconstruct(picture(8_000, width=20_000, mode="1"))
    assert len((await pictures.reconstruct(picture(1))).people) == 1
    assert bench.process_ends == 0


async def test_process_that_dies_or_does_not_answer_fails_its_pictures_and_is_started_again(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = bench.pictures()
    deadly = asyncio.create_task(pictures.reconstruct(picture(1, width=DEADLY)))
    with pytest.raises(Refused, match="has ended"):
        await deadly
    assert len((await pictures.reconstruct(picture(2))).people) == 2
    assert f"exit code {DEADLY_EXIT_CODE}" in caplog.text
    assert bench.process_ends == 1
    with monkeypatch.context() as impatient:
        impatient.setattr("receiver.web.children.pictures._PICTURE_S", 0.2)
        with pytest.raises(Refused, match="was not finished within"):
            await pictures.reconstruct(picture(1, width=SILENT))
    assert len((await pictures.reconstruct(picture(2))).people) == 2


async def test_process_that_cannot_start_fails_pictures(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pictures = bench.pictures(command=ENDS_AT_ONCE)
    with pytest.raises(Refused, match="has ended"):
        await pictures.reconstruct(picture(1))
    assert "pictures: no weights" in caplog.text


async def test_waiting_process_takes_the_first_picture(bench: Bench) -> None:
    script = (
        "import runpy, sys; sys.argv += sys.stdin.read().split(chr(0))\n"
        "runpy.run_module('tests.support.receiver.picture_sender', run_name='__main__', alter_sys=True)"
    )
    waiting = await begun((sys.executable, "-c", script), PIPE)
    pictures = bench.pictures(waiting=waiting)
    assert len((await pictures.reconstruct(picture(1))).people) == 1
    assert waiting.returncode is None
    with pytest.raises(Refused, match="has ended"):
        await pictures.reconstruct(picture(1, width=DEADLY))
    assert waiting.returncode == DEADLY_EXIT_CODE
    # The next one is started as usual.
    assert len((await pictures.reconstruct(picture(2))).people) == 2


async def test_waiting_process_that_has_ended_is_replaced(bench: Bench) -> None:
    waiting = await begun(ENDS_AT_ONCE, PIPE)
    await waiting.wait()
    assert len((await bench.pictures(waiting=waiting).reconstruct(picture(1))).people) == 1
    assert bench.process_ends == 0


async def test_close_ends_a_process_that_waits(bench: Bench) -> None:
    waiting = await begun((sys.executable, "-c", "import sys; sys.stdin.read()"), PIPE)
    await bench.pictures(waiting=waiting).close()
    assert waiting.returncode is not None


async def test_close_fails_the_pictures_in_the_process(bench: Bench) -> None:
    pictures = bench.pictures()
    await pictures.prepare()
    await pictures.reconstruct(picture(1))
    waiting = asyncio.create_task(pictures.reconstruct(picture(1, width=SILENT)))
    await asyncio.sleep(0)
    await pictures.close()
    with pytest.raises(Refused):
        await waiting
    with pytest.raises(Refused, match="stopping"):
        await pictures.reconstruct(picture(1))


async def test_private_files_are_removed(bench: Bench) -> None:
    ended: list[bool] = []
    sender = ObservedSender("pictures", ACCOUNT, OwnKind.PICTURES)
    child = SenderChild(bench.link, sender, "socket", on_end=lambda: ended.append(True), command=SENDER)
    await child.start()
    await child.ready()
    folder = child.socket_path.parent
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())}
    assert modes == {folder.name: "0o700", "token": "0o600", "pictures.sock": "0o600"}
    await child.close()
    assert not folder.exists()
    with pytest.raises(ChildEnded):
        await child.ready()


async def test_full_disk_fails_pictures(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    pictures = bench.pictures()
    with monkeypatch.context() as disk:
        disk.setattr("common.io.files.tempfile.mkdtemp", full)
        with pytest.raises(Refused, match="cannot be started"):
            await pictures.reconstruct(picture(1))
    # One that still starts is not ended by impatience.
    with monkeypatch.context() as impatient:
        impatient.setattr("receiver.web.children.pictures._PICTURE_S", 0.05)
        with pytest.raises(Refused, match="was not finished within"):
            await pictures.reconstruct(picture(1))
    assert len((await pictures.reconstruct(picture(1))).people) == 1
    assert bench.process_ends == 0


async def test_frames_of_a_browser_camera_reach_the_pipeline(bench: Bench) -> None:
    cameras = bench.cameras()
    async with cameras.open() as camera:
        assert await camera.push(picture(1))
        await until(lambda: bench.sessions.frames == [0])  # of a live session the next one might replace it
        assert not await camera.push(b"no picture")
        assert await camera.push(picture(2))
        await until(lambda: bench.sessions.frames == [0, 1])
    (session,) = bench.sessions.began
    assert session.sender == CAMERA_NAME and session.live and bench.sessions.ended == 1
    (state,) = bench.recorded()
    assert state.frames == 2 and state.owner is not None and state.owner.subject == "token:browser-camera"


async def test_camera_whose_process_dies_has_to_begin_again(bench: Bench) -> None:
    async with bench.cameras().open() as camera:
        with pytest.raises(Refused, match="begin again"):
            while True:
                await camera.push(picture(1, width=DEADLY))


async def test_cameras_are_limited(bench: Bench) -> None:
    cameras = bench.cameras(1)
    async with cameras.open():
        with pytest.raises(Refused, match="too many cameras"):
            async with cameras.open():
                pass
    async with cameras.open():
        pass


async def test_one_account_does_not_keep_others_from_their_cameras(bench: Bench) -> None:
    cameras, anna = bench.cameras(2), (True, "anna")
    async with cameras.open(anna):
        with pytest.raises(Refused, match="too many cameras"):
            await open_and_push(cameras, anna)
        assert await open_and_push(cameras, (True, "bob"))


async def test_visitor_who_begins_again_and_again_has_to_wait(bench: Bench) -> None:
    cameras = bench.cameras(command=ENDS_AT_ONCE)

    async def begin(visitor: str) -> str:
        with pytest.raises(Refused) as refused:
            async with cameras.open((True, visitor)):
                pass
        return str(refused.value)

    reasons = [await begin("anna") for _ in range(7)]
    assert all("cannot be started" in reason for reason in reasons[:6])
    assert "too many cameras: try again in" in reasons[6]
    assert "cannot be started" in await begin("bob")


async def open_and_push(cameras: ChildCameras, visitor: Visitor) -> bool:
    """Whether a frame of a new camera is taken."""
    async with cameras.open(visitor) as camera:
        return await camera.push(picture(1))


def test_settings_of_another_sender_do_not_reach_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BODYWIRE_SENDER_CAMERA", "0"), ("PYTHONPATH", "/elsewhere")):
        monkeypatch.setenv(name, value)
    environment = own_environment(without="BODYWIRE_SENDER_")
    assert "BODYWIRE_SENDER_CAMERA" not in environment and "HOME" in environment
    assert environment["PYTHONPATH"].endswith(":/elsewhere")


async def play(bench: Bench, clip: Path, command: tuple[str, ...] = SENDER) -> tuple[list[str], list[int]]:
    """Ids of sessions, and numbers of published frames, that are reported."""
    sessions, frames = list[str](), list[int]()
    clips = ChildClips(bench.link, bench.metrics, command)
    await clips.play(clip, "clip-of-anna", sessions.append, frames.append)
    return sessions, frames


async def test_clip_becomes_a_session_of_its_account_that_nobody_observes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "Im Park.mp4")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the folder where the receiver was started')")
    sessions, frames = await play(bench, Path("Im Park.mp4"))
    (state,) = bench.recorded()
    assert sessions == [state.identifier] and frames == list(range(1, FRAMES + 1)) and state.frames == FRAMES
    assert state.owner is not None and state.owner.subject == "token:clip-of-anna"
    assert state.statistics.source == "Im Park.mp4" and state.statistics.mean_age_ms is None
    assert bench.sessions.began == [] and bench.process_ends == 0


async def test_damaged_clip_is_refused(bench: Bench, tmp_path: Path) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(write_clip(tmp_path / "whole.mp4").read_bytes()[:1000])
    with pytest.raises(Refused, match="the clip cannot be played: cannot open it: Invalid data") as refused:
        await play(bench, clip)
    assert refused.value.status == 422 and str(tmp_path) not in str(refused.value)


WARNS = """
import sys
clip = sys.argv[sys.argv.index("--camera") + 1]
print(clip + " is cut: it ends after 0.10 s", file=sys.stderr)
print("the machine is slow", file=sys.stderr)
"""


async def test_what_a_clip_lacks_is_told(bench: Bench, tmp_path: Path) -> None:
    clips = ChildClips(bench.link, bench.metrics, (sys.executable, "-c", WARNS))
    warnings = await clips.play(write_clip(tmp_path / "a.mp4"), "clip-of-anna", lambda _: None, lambda _: None)
    assert warnings == ["the clip is cut: it ends after 0.10 s"]


async def test_clip_whose_process_dies_can_be_tried_again(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="try again"):
        await play(bench, write_clip(tmp_path / "a.mp4"), ENDS_AT_ONCE)
    assert bench.process_ends == 1


async def test_cancelled_clip_ends_its_process_and_session(bench: Bench, tmp_path: Path) -> None:
    bench.engine.gate.clear()
    playing = asyncio.create_task(play(bench, write_clip(tmp_path / "a.mp4")))
    await until(lambda: bool(bench.engine.requests))
    playing.cancel()
    bench.engine.gate.set()
    await asyncio.gather(playing, return_exceptions=True)
    (state,) = bench.recorded()
    bench.receiver.directory.usage.settled(state.number)
    assert state.number not in bench.receiver.directory.usage.live()
