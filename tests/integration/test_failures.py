"""After failures of the network or of a program, no frame is lost or shown twice."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.labels import LABEL_SIZE
from receiver.link.connection import Connection
from receiver.link.session import Session
from sender.link.observer import Fate
from tests.support.fake_link import label_frame
from tests.support.link_fixture import LinkFixture, RecordingPipeline, send_all

TIMEOUT_S = 30.0


async def _until(condition: Callable[[], bool]) -> None:
    """Waits with a generous timeout; `tests.bench.failures` measures recovery times."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_half_open_connection_is_replaced_without_loss(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, observer = link.client(relay.address)
    await client.connect()
    await send_all(client, 0, 20)
    relay.black_hole()
    sending = asyncio.create_task(send_all(client, 20, 40))
    await _until(lambda: bool(observer.losses))
    assert not sending.done()
    relay.restore()
    await sending
    await client.drain()
    assert pipeline.decoded == list(range(40))
    assert [sequence for sequence, _ in observer.fates] == list(range(40))
    assert pipeline.opened == 1


async def test_live_sender_resumes_with_the_newest_frame_after_an_outage(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    _, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, observer = link.client(relay.address, live=True)
    await client.connect()
    await send_all(client, 0, 1)
    await pipeline.until_decoded(0)
    relay.black_hole()
    await send_all(client, 1, 60)
    await _until(lambda: bool(observer.losses))
    await send_all(client, 60, 100)
    relay.restore()
    await client.drain()
    # Frames in flight are lost with the network; frames captured during the outage are stale.
    assert pipeline.decoded == [0, 99]
    assert observer.fates[-1] == (99, Fate.ACKNOWLEDGED)


async def test_sender_resumes_from_another_address(link: LinkFixture) -> None:
    pipeline = RecordingPipeline()
    server, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, observer = link.client(relay.address)
    await client.connect()
    await send_all(client, 0, 20)
    relay.source = "127.0.0.9"
    relay.black_hole()
    relay.restore()
    await send_all(client, 20, 40)
    await client.drain()
    assert len(observer.losses) == 1
    assert pipeline.decoded == list(range(40))
    assert (pipeline.opened, len(server.sessions)) == (1, 0)


class _SessionPipeline(RecordingPipeline):
    async def on_session(self, session: Session) -> int:
        self.session = session
        return await super().on_session(session)


async def test_stream_of_a_vanished_sender_ends_and_its_session_is_kept(
    link: LinkFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = Connection.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "silence_s", 0.1)
    pipeline = _SessionPipeline()
    server, address = await link.server(pipeline)
    relay = await link.relay(address)
    client, _ = link.client(relay.address)
    await client.connect()
    await client.send(label_frame(0))
    await pipeline.until_decoded(0)
    assert pipeline.session.in_use
    relay.black_hole()
    await client.close()
    await _until(lambda: not pipeline.session.in_use)
    assert len(server.sessions) == 1


class Programs:
    """A sender and a receiver as processes on the loopback, and their logs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        np.save(folder / "labels.npy", np.random.default_rng(5).normal(size=(50, LABEL_SIZE)).astype(np.float32))
        self._listen = "127.0.0.1:0"
        self.start_receiver()
        self.sender = self._start(
            "logging_sender", "--peer", self._listen, "--labels", str(folder / "labels.npy"), "--fps", "60"
        )

    def _start(self, module: str, *flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"tests.netlab.{module}", *flags, "--log", str(self._folder / module)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._stack.callback(process.communicate)
        self._stack.callback(process.kill)
        return process

    def start_receiver(self) -> None:
        self.receiver = self._start("logging_receiver", "--listen", self._listen)
        assert self.receiver.stdout is not None
        self._listen = self.receiver.stdout.readline().removeprefix("listening on ").strip()

    def events(self, module: str, what: str) -> list[dict[str, Any]]:
        path = self._folder / module
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n") and f'"what": "{what}"' in line]

    async def until_shown(self, more: int) -> None:
        count = len(self.events("logging_receiver", "shown")) + more
        await _until(lambda: len(self.events("logging_receiver", "shown")) >= count)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with ExitStack() as stack:
        yield Programs(tmp_path, stack)


async def _stop_the_receiver(programs: Programs) -> None:
    programs.receiver.send_signal(signal.SIGSTOP)
    await _until(lambda: bool(programs.events("logging_sender", "disconnected")))
    programs.receiver.send_signal(signal.SIGCONT)


async def _stop_the_sender(programs: Programs) -> None:
    programs.sender.send_signal(signal.SIGSTOP)
    await _until(lambda: bool(programs.events("logging_receiver", "left")))
    programs.sender.send_signal(signal.SIGCONT)


async def _kill_the_receiver(programs: Programs) -> None:
    programs.receiver.kill()
    await _until(lambda: bool(programs.events("logging_sender", "disconnected")))
    programs.start_receiver()


@pytest.mark.parametrize("fail", [_stop_the_receiver, _stop_the_sender, _kill_the_receiver])
async def test_every_frame_is_shown_once_when_a_program_stops_or_is_killed(programs: Programs, fail: Any) -> None:
    await programs.until_shown(10)
    await fail(programs)
    await programs.until_shown(10)
    programs.sender.terminate()
    await _until(lambda: programs.sender.poll() is not None)
    assert programs.sender.returncode == 0
    captured = [line["seq"] for line in programs.events("logging_sender", "captured")]
    assert [line["seq"] for line in programs.events("logging_receiver", "shown")] == captured
