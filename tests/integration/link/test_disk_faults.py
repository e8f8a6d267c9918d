"""Disk faults at the receiver under complete delivery: few attempts, one line a state, and nothing lost or doubled."""

import asyncio
import builtins
import errno
import json
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from receiver.config import PublishConfig
from receiver.metrics import ReceiverMetrics
from receiver.pipeline import ReceiverPipeline
from receiver.publish.session_directory import SessionDirectory
from sender.spool import Spool, SpoolContent
from tests.netlab.faults.durable_sender import frame_of
from tests.netlab.programs import FixedRate
from tests.support.link.counting_codec import MODEL
from tests.support.link.link_fixture import LinkFixture
from tests.support.receiver.fake_reconstructor import FakeEngine

TIMEOUT_S = 60.0
Switch = Callable[[], object]


class Ends:
    """A sender with complete delivery and a receiver without reconstruction, in one process."""

    def __init__(self, link: LinkFixture, folder: Path, out: Path) -> None:
        self._link, self.out, self.engine = link, out, FakeEngine()
        self._directory = SessionDirectory(PublishConfig(out))
        self._pipeline = ReceiverPipeline(
            self.engine, self._directory, ReceiverMetrics(), link.clock, new_decoder=lambda: FrameCodec(MODEL)
        )
        self.spool = Spool(folder / "spool", SpoolContent("test", CODEC_VERSION, MODEL), 1e8)

    async def start(self) -> None:
        self._server, address = await self._link.server(self._pipeline, model=MODEL)
        self._client, _ = self._link.client(address, encoder=FixedRate(MODEL, 0.0), spool=self.spool)
        await self._client.connect()

    async def capture(self, frames: int) -> None:
        """Captures 30 frames a second."""
        for _ in range(frames):
            await self._client.send(frame_of(self.spool.next_sequence))
            await asyncio.sleep(1 / 30)

    async def until_delivered(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while self.spool.pending:
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._client.close()
        self.spool.close()
        await self._server.stop()
        await self._pipeline.close()
        self._directory.close()

    @property
    def sequences(self) -> list[int]:
        return [json.loads(line)["seq"] for line in (self.out / "frames.jsonl").read_text().splitlines()]


@pytest.fixture
async def ends(link: LinkFixture, tmp_path: Path) -> AsyncIterator[Ends]:
    both = Ends(link, tmp_path, tmp_path / "out")
    await both.start()
    yield both
    await both.close()


class FailingDisk:
    """Fails `os.write`, `os.fsync` and files that are opened for writing below a folder."""

    def __init__(self, folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._number, self._monkeypatch = str(folder), number, monkeypatch

    def begin(self) -> None:
        for module, name in ((os, "write"), (os, "fsync"), (builtins, "open")):
            self._monkeypatch.setattr(module, name, self._failing(getattr(module, name)))

    def _failing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: int | str | Path, *arguments: Any, **options: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
            if path.startswith(self._folder) and "rb" not in arguments:
                raise OSError(self._number, os.strerror(self._number))
            return function(target, *arguments, **options)

        return call

    def end(self) -> None:
        self._monkeypatch.undo()


async def _deliver_through(ends: Ends, begin: Switch, end: Switch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Delivers frames before, during and after a fault; returns what was logged from its begin on."""
    caplog.set_level(logging.INFO)
    await ends.capture(10)
    await ends.until_delivered()
    caplog.clear()
    reconstructed = len(ends.engine.requests)
    begin()
    await ends.capture(40)
    assert ends.spool.pending == 40
    assert len(ends.engine.requests) - reconstructed <= 10
    # The fault of the output once, and why the link was lost, not once an attempt.
    assert len(caplog.messages) == 2
    end()
    await ends.until_delivered()
    await ends.capture(1)
    await ends.until_delivered()
    assert ends.sequences == list(range(51))
    return caplog.messages


async def test_delivery_when_writes_fail_for_a_time(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk(ends.out, errno.EIO, monkeypatch)
    messages = await _deliver_through(ends, disk.begin, disk.end, caplog)
    begins, lost, again, back = messages
    assert os.strerror(errno.EIO) in begins and begins.endswith("senders wait until it can be written")
    assert lost == "lost the receiver (the receiver cannot write its output (INTERNAL)); trying to resume"
    assert again.startswith("the output can be written again") and back == "the receiver is back"


@pytest.mark.parametrize("name", ["frames.jsonl", "."])
async def test_delivery_when_a_file_is_moved_and_put_back(
    ends: Ends, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = (ends.out / name).resolve()
    moved = path.with_name("moved")
    messages = await _deliver_through(ends, lambda: path.rename(moved), lambda: moved.rename(path), caplog)
    assert "was moved or removed while the receiver writes to it: put it back" in messages[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_delivery_when_a_real_disk_is_full_for_a_time(
    link: LinkFixture, tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends, filler = Ends(link, tmp_path, small_disk / "out"), small_disk / "filler"
    await ends.start()

    def fill() -> None:
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))

    try:
        messages = await _deliver_through(ends, fill, filler.unlink, caplog)
        assert "No space left on device" in messages[0]
    finally:
        await ends.close()
