"""Motion of the demo clip, from both daemons to a socket."""

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from tests.e2e.daemons import receiver, run
from tests.support.processes.demo_clip import beginning
from tests.support.processes.osc_reader import Message, messages


@pytest.mark.slow
def test_motion_of_a_clip_is_sent_sixty_times_a_second(tmp_path: Path) -> None:
    found: list[Message] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(1)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    found.extend(messages(listener.recv(65_536)))

        thread = threading.Thread(target=listen)
        thread.start()
        with receiver(tmp_path / "out", "--vmc", f"localhost:{listener.getsockname()[1]}") as peer:
            done = run("sender", str(beginning(tmp_path / "clip.mp4", frames=60)), "--peer", peer.address)
            assert done.returncode == 0, done.stderr
        ended.set()
        thread.join()
    times = [values[0] for address, values in found if address == "/VMC/Ext/T"]
    assert len(times) > 120 and isinstance(times[0], float) and isinstance(times[-1], float)
    assert 40 < (len(times) - 1) / (times[-1] - times[0]) < 61
    bones = {values[0] for address, values in found if address == "/VMC/Ext/Bone/Pos"}
    assert len(bones - {"LeftEye", "RightEye"}) == 50
