"""Sessions that are played out: who is shown between labels, to programs by VMC and to browsers."""

import contextlib
import socket
from pathlib import Path
from typing import Any

import numpy as np

from common.body.model import BodyModel
from common.io.addresses import Address
from receiver.body.skinning import BodySkin
from receiver.config import PlayoutConfig
from receiver.motion.playout import PlayoutBuffer
from receiver.publish.observer import SessionObserver
from receiver.vmc.motion_sender import PLAYED_HZ, Bones, MotionSender
from receiver.web.live.hub import MOST_HZ, LiveHub, LivePoses
from tests.support.processes.osc_reader import messages
from tests.support.receiver.running_receiver import RunningReceiver, live_session, packets

LABELS_HZ = 5


async def test_people_move_between_five_labels_a_second(tmp_path: Path) -> None:
    observers: list[SessionObserver] = []
    hips: list[Any] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        address = Address("127.0.0.1", listener.getsockname()[1])
        async with RunningReceiver(tmp_path, observers=observers) as receiver:
            playout, hub = PlayoutBuffer(PlayoutConfig(), clock=receiver.clock), LiveHub(receiver.clock)
            skeleton = BodySkin.from_model(BodyModel.load()).skeleton
            sender = MotionSender([address], skeleton, receiver.clock, (playout.view(), Bones.load()))
            observers += [playout, hub, sender]
            poses = LivePoses(hub, playout, receiver.pipeline.pose, receiver.clock)
            session, frames = await receiver.begin(live_session()), packets(10, interval_s=1 / LABELS_HZ)
            with hub.watcher() as watcher:
                shown: list[tuple[int, float]] = []
                for tick in range(2 * PLAYED_HZ):
                    if tick % (PLAYED_HZ // LABELS_HZ) == 0:
                        await receiver.handle(session, next(frames))
                    if tick == PLAYED_HZ:
                        assert len(receiver.engine.requests) == 6, "nothing is posed while nobody watches"
                        watcher.watch(1)
                        watcher.take_frame()
                    await poses.show()
                    while (frame := watcher.take_frame()) is not None:
                        shown.append((frame.record.sequence, frame.blend_ms))
                    sender.send()
                    with contextlib.suppress(BlockingIOError):
                        while found := messages(listener.recv(65_536)):
                            hips += [values[1:] for _, values in found if values[:1] == ("Hips",)]
                    receiver.now_s += 1 / PLAYED_HZ
                    receiver.wall_s += 1 / PLAYED_HZ
            sender.close()
            assert len(receiver.lines()) == 10, "files keep one mesh a frame that was sent"
    assert len(hips) == 2 * PLAYED_HZ
    steps = np.abs(np.diff(hips[PLAYED_HZ:], axis=0)).max(axis=1)
    assert steps.min() > 0 and steps.max() < 20 * np.median(steps)
    # No published frame comes between those that are predicted, but all of their records do.
    assert {sequence for sequence, _ in shown} == set(range(5, 10))
    assert len(shown) > 50 and all(blend_ms > 1e3 / MOST_HZ for _, blend_ms in shown[1:])


async def test_sessions_without_people_are_not_posed(tmp_path: Path) -> None:
    observers: list[SessionObserver] = []
    async with RunningReceiver(tmp_path, observers=observers) as receiver:
        playout, hub = PlayoutBuffer(PlayoutConfig(), clock=receiver.clock), LiveHub(receiver.clock)
        observers += [playout, hub]
        poses = LivePoses(hub, playout, receiver.pipeline.pose, receiver.clock)
        session = await receiver.begin(live_session())
        with hub.watcher() as watcher:
            watcher.watch(None)
            posed = []
            for packet in packets(5, interval_s=0.1, empty=(0, 1, 3, 4)):
                await receiver.handle(session, packet)
                before = len(receiver.engine.requests)
                for _ in range(3):
                    await poses.show()
                    receiver.now_s += 1 / MOST_HZ
                    receiver.wall_s += 1 / MOST_HZ
                posed.append(len(receiver.engine.requests) - before)
    assert posed == [0, 0, 3, 1, 0]
