import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common.frames import Camera
from sender.capture.config import CaptureConfig
from sender.capture.interruptible import DaemonWorker, InterruptibleSource
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame, FrameSource
from tests.unit.sender.capture.test_video import film


class BlockingSource(FrameSource):
    """One frame, then a read that blocks until `released`."""

    live = False
    fps = 30.0

    def __init__(self) -> None:
        self.released, self.closed, self.blocked = threading.Event(), threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[CapturedFrame]:
        yield CapturedFrame(0, "a", 0.0, 0.0, np.zeros((4, 6, 3), np.uint8), Camera(6, 4, 7.2))
        self.blocked.set()
        assert self.released.wait(timeout=30)

    def close(self) -> None:
        self.closed.set()


def test_close_ends_an_iteration_that_blocks() -> None:
    blocking = BlockingSource()
    frames: list[CapturedFrame] = []
    source = InterruptibleSource(blocking, DaemonWorker("test"))
    assert source.fps == 30.0
    consumer = threading.Thread(target=lambda: frames.extend(source))
    consumer.start()
    assert blocking.blocked.wait(timeout=10)
    source.close()
    consumer.join(timeout=10)
    assert not consumer.is_alive()
    assert len(frames) == 1
    # The file is closed by the thread that reads it, when its read has ended.
    assert not blocking.closed.is_set()
    blocking.released.set()
    assert blocking.closed.wait(timeout=10)


def test_signal_ends_the_wait_for_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.capture.video._PIPE_TIMEOUT_S", 120.0)
    os.mkfifo(tmp_path / "pipe")
    main = threading.main_thread().ident
    assert main is not None
    # A shell starts background commands with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            open_source(CaptureConfig(str(tmp_path / "pipe")))
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_close_ends_the_wait_for_a_pipe_that_falls_silent(tmp_path: Path) -> None:
    clip, pipe = film(tmp_path / "clip.ts", frames=40, codec="mpeg2video"), tmp_path / "pipe"
    os.mkfifo(pipe)
    written, finish = threading.Event(), threading.Event()

    def write() -> None:
        with open(pipe, "wb") as file:
            file.write(clip.read_bytes())
            file.flush()
            written.set()
            assert finish.wait(timeout=30)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    source = open_source(CaptureConfig(str(pipe)))
    assert written.wait(timeout=10)
    timer = threading.Timer(0.5, source.close)
    timer.start()
    assert len(list(source)) < 40
    timer.join()
    finish.set()
    writer.join(timeout=10)
