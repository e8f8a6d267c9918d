"""Live sessions that need three times what a pool can do: `python -m tests.bench.overload`; needs the extra `ray`.

A receiver as it ships has a pool of two replicas on this machine. First, eight sessions that lose nothing send as fast
as their frames are acknowledged, which measures the capacity. Then live sessions of one person, 2 frames a second each,
begin at the same moment and try again for as long as they are refused; together they need three times the capacity.

    capacity_fps     frames a second that the eight sessions were acknowledged
    sessions         live sessions that try
    accepted         sessions that the receiver accepted, of which those older than ten seconds are measured
    refused          sessions that it never accepted
    kept_min, _mean  share of its frames that an accepted session had reconstructed, of the worst one and of all
    age_p50, _p95    from a frame's capture to its acknowledgement
    receiver_mb      resident memory of the receiver after a fifth of the time (`first`) and at the end (`last`)
    replicas_mb      that of the replicas
"""

import asyncio
import logging
import math
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.codec.packet import CODEC_VERSION
from common.errors import OutputError
from common.frames import Camera, LabelFrame
from common.io.addresses import Address, Addresses
from common.weights.manifest import model_hash
from common.wire.convert import Hello, Welcome
from sender.congestion.samples import LinkSample
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import Fate, LinkObserver
from tests.bench import report
from tests.bench.measures import percentile
from tests.bench.pool_receiver import PoolReceiver
from tests.bench.scale import stream
from tests.netlab.label_senders import Encoder

SECONDS, QUICK_SECONDS = 600.0, 60.0
OVERLOAD, FPS, REPLICAS = 3.0, 2.0, 2
_CAPACITY_SESSIONS, _CAPACITY_S, _WARM_UP_S = 8, 20.0, 10.0
# A session that was accepted shortly before the end says nothing about a frame rate.
_MEASURED_S = 10.0
_MEMORY_INTERVAL_S = 5.0
_CAMERA = Camera(640, 480, 600.0)

Figures = dict[str, float]


@dataclass(slots=True)
class Session(LinkObserver):
    """What became of the frames of one session.

    Args:
        accepted_s: monotonic time of its first Welcome; None if it was never accepted.
        offered: frames since then.
        reconstructed: of these, acknowledged with a mesh.
        ages_ms: from capture to acknowledgement.
    """

    accepted_s: float | None = None
    offered: int = 0
    reconstructed: int = 0
    ages_ms: list[float] = field(default_factory=list)

    def connected(self, welcome: Welcome) -> None:
        self.accepted_s = time.monotonic() if self.accepted_s is None else self.accepted_s

    def acknowledged(self, frame: LabelFrame, sample: LinkSample) -> None:
        self.ages_ms.append((time.time() - frame.captured_at) * 1e3)

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        self.reconstructed += fate is Fate.ACKNOWLEDGED

    @property
    def kept(self) -> float:
        """Share of the frames that were reconstructed."""
        return self.reconstructed / self.offered if self.offered else math.nan


def link(peer: Address, observer: LinkObserver, *, live: bool) -> LinkClient:
    """The link of a session that tries for as long as it is refused."""
    hello = Hello(
        *(secrets.token_bytes(16), "overload", CODEC_VERSION, model_hash(), live),
        session_secret=secrets.token_bytes(32),
    )
    return LinkClient(
        LinkConfig(peer=Addresses.of(peer)).without_timeouts(), hello, Encoder(model_hash()), observer=observer
    )


def frame_at(clip: Sequence[LabelFrame], sequence: int) -> LabelFrame:
    """A frame of the clip, captured now."""
    return LabelFrame(sequence, "overload", time.time(), _CAMERA, clip[sequence % len(clip)].people)


async def measure_capacity(peer: Address, clips: Sequence[Sequence[LabelFrame]]) -> float:
    """Frames a second of sessions that send as fast as they are acknowledged."""
    sessions = [Session() for _ in range(_CAPACITY_SESSIONS)]

    async def saturate(session: Session, clip: Sequence[LabelFrame]) -> None:
        client = link(peer, session, live=False)
        await client.connect()
        try:
            sequence = 0
            while True:
                await client.send(frame_at(clip, sequence))
                sequence += 1
        finally:
            await client.close()

    tasks = [asyncio.create_task(saturate(each, clip)) for each, clip in zip(sessions, clips, strict=True)]
    await asyncio.sleep(_WARM_UP_S)
    before = sum(each.reconstructed for each in sessions)
    await asyncio.sleep(_CAPACITY_S)
    done = sum(each.reconstructed for each in sessions) - before
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    return done / _CAPACITY_S


async def play(peer: Address, session: Session, clip: Sequence[LabelFrame], end_s: float) -> None:
    """One live session until `end_s` (monotonic)."""
    client = link(peer, session, live=True)
    try:
        async with asyncio.timeout_at(end_s):
            await client.connect()
            due_s, sequence = time.monotonic(), 0
            while True:
                await client.send(frame_at(clip, sequence))
                session.offered, sequence = session.offered + 1, sequence + 1
                due_s += 1 / FPS
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
    except TimeoutError:
        # The last frames are still on their way.
        session.offered = max(session.offered - client.outstanding, session.reconstructed)
    finally:
        await client.close()


async def overload(receiver: PoolReceiver, clips: Sequence[Sequence[LabelFrame]], seconds: float) -> Figures:
    """The figures of the module's docstring.

    Raises:
        OutputError: no session was accepted for long enough, or the receiver ended.
    """
    capacity_fps = await measure_capacity(receiver.peer, clips)
    report.progress(f"capacity: {capacity_fps:.1f} frames a second")
    sessions = [Session() for _ in range(max(math.ceil(OVERLOAD * capacity_fps / FPS), 2))]
    end_s = time.monotonic() + seconds
    tasks = [
        asyncio.create_task(play(receiver.peer, session, clips[number % len(clips)], end_s))
        for number, session in enumerate(sessions)
    ]
    memory = []
    while time.monotonic() < end_s - _MEMORY_INTERVAL_S:
        await asyncio.sleep(_MEMORY_INTERVAL_S)
        memory.append(receiver.memory_mb())
    await asyncio.gather(*tasks)
    if not receiver.alive:
        raise OutputError("the receiver ended; see its error above")
    return {"capacity_fps": capacity_fps} | figures(sessions, memory, end_s)


def figures(sessions: Sequence[Session], memory: Sequence[tuple[float, float]], end_s: float) -> Figures:
    """Figures of the live sessions.

    Args:
        memory: (receiver, replicas) in MB, at equal intervals.
        end_s: monotonic time of the end.

    Raises:
        OutputError: no session was accepted for long enough.
    """
    accepted = [each for each in sessions if each.accepted_s is not None]
    measured = [each for each in accepted if each.accepted_s is not None and end_s - each.accepted_s >= _MEASURED_S]
    if not measured:
        raise OutputError("no session was accepted for long enough to measure it")
    kept = [each.kept for each in measured]
    ages_ms = [age for each in measured for age in each.ages_ms]
    first, last = np.array(memory[len(memory) // 5]), np.array(memory[-1])
    return {
        "sessions": float(len(sessions)),
        "accepted": float(len(accepted)),
        "refused": float(len(sessions) - len(accepted)),
        "kept_min_share": min(kept),
        "kept_mean_share": sum(kept) / len(kept),
        "age_p50_ms": percentile(ages_ms, 50),
        "age_p95_ms": percentile(ages_ms, 95),
        "receiver_first_mb": float(first[0]),
        "receiver_last_mb": float(last[0]),
        "replicas_first_mb": float(first[1]),
        "replicas_last_mb": float(last[1]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = report.flags("overload", "Load a pool with live sessions that need three times its capacity.", 1)
    parser.add_argument("--seconds", type=float, help=f"of overload (default: {SECONDS:g})")
    options = parser.parse_args(arguments)

    def work() -> None:
        # Each refusal is a line; there are thousands.
        logging.getLogger("sender").setLevel(logging.ERROR)
        seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
        clips = [stream(options.seed + session) for session in range(_CAPACITY_SESSIONS)]
        with (
            tempfile.TemporaryDirectory() as folder,
            PoolReceiver(Path(folder) / "out", REPLICAS, "--mesh-every", "100") as receiver,
        ):
            systems = {"overload": asyncio.run(overload(receiver, clips, seconds))}
        print(f"{REPLICAS} replicas, {FPS:g} frames a second a session, {seconds:g} s, {report.machine_line()}\n")
        print(report.transposed(systems))
        report.write_json(options.json, "overload", options.seed, systems)

    return report.run("overload", work)


if __name__ == "__main__":
    sys.exit(main())
