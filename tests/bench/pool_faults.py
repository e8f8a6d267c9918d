"""Faults of a pool under sessions with complete delivery: `python -m tests.bench.pool_faults`; needs the extra `ray`.

A receiver as it ships has a pool of two replicas on this machine; sixteen sessions with complete delivery, each with a
spool on disk, keep frames waiting for it. Systems:

    killed    replicas are killed with SIGKILL, one at a time, chosen at random; the next one when every session has
              had a frame acknowledged since the last kill, and there are as many processes of replicas as before, of
              which the new one may still load its networks
    gone      every replica is killed as soon as it is there, for 30 s; then the pool may come back

At the end of each, the sessions send what is left, and the receiver's frame records are compared with the frames that
were acknowledged and with those that were captured: each must be recorded once, in order and unchanged.

    kills               replicas killed
    frames              frames recorded
    recovery_p50, _max  from a kill (of `gone`: from its end) until every session has had a frame acknowledged
    lost, duplicated, misplaced, wrong    see `tests.bench.ledger`
"""

import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.errors import OutputError
from common.frames import LabelFrame
from common.io.addresses import Address, Addresses
from common.weights.manifest import model_hash
from common.wire.convert import Hello
from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import Fate, LinkObserver, Observers
from sender.spool.complete_delivery import CompleteDelivery, Outstanding
from sender.spool.spool import Spool, SpoolContent
from tests.bench import report
from tests.bench.ledger import Faults, audit
from tests.bench.measures import percentile
from tests.bench.pool_receiver import PoolReceiver
from tests.netlab.durable_sender import FixedRate, frame_of

SESSIONS, REPLICAS = 16, 2
KILLS, QUICK_KILLS = 50, 3
GONE_S, QUICK_GONE_S = 30.0, 10.0
_SPOOL_BYTES = 1e8
# Frames of a session that wait: enough to keep the pool busy, few enough to be sent at the end.
_WAITING_FRAMES = 4
_POLL_S = 0.05
# Longer than a machine with other programs needs to start a replica.
_RECOVERY_TIMEOUT_S = 300.0

Figures = dict[str, float]


class Session(LinkObserver):
    """One session with complete delivery, and the ledger of its acknowledged frames.

    Args:
        folder: for its spool.
        model: hash of the receiver's networks.
    """

    def __init__(self, number: int, folder: Path, peer: Address, model: bytes) -> None:
        self._model = model
        self._folder, self._peer, self._name = folder / f"spool-{number}", peer, f"session-{number}"
        self.ledger: list[int] = []
        self.captured = 0
        self.identifier = ""

    def ended(self, frame: LabelFrame, fate: Fate) -> None:
        if fate is Fate.ACKNOWLEDGED:
            self.ledger.append(frame.sequence)

    async def run(self, stop: asyncio.Event) -> None:
        """Captures until `stop`, then sends until every frame is delivered."""
        model, content = self._model, SpoolContent(self._name, CODEC_VERSION, self._model)
        with closing(Spool(self._folder, content, _SPOOL_BYTES)) as spool:
            self.identifier, outstanding = spool.session_id.hex(), Outstanding()
            hello = Hello(
                *(spool.session_id, self._name, CODEC_VERSION, model, False),
                durable=True,
                session_secret=spool.session_secret,
            )
            link = LinkClient(
                LinkConfig(peer=Addresses.of(self._peer)).without_timeouts(),
                hello,
                FixedRate(FrameCodec(model)),
                observer=Observers(self, outstanding),
            )
            delivery = CompleteDelivery(link, spool, outstanding)
            try:
                await delivery.connect()
                while not stop.is_set():
                    if delivery.outstanding < _WAITING_FRAMES:
                        await delivery.send(frame_of(self.captured))
                        self.captured += 1
                    else:
                        await asyncio.sleep(_POLL_S)
                await delivery.drain()
            finally:
                await delivery.close()


async def until_all_go_on(sessions: Sequence[Session], running: "asyncio.Future[list[None]]") -> float:
    """Waits until every session has had a frame acknowledged from now on; returns the seconds waited.

    Raises:
        OutputError: one has not within five minutes.
        Exception: a session failed.
    """
    began_s, before = time.monotonic(), [len(session.ledger) for session in sessions]
    while any(len(session.ledger) == count for session, count in zip(sessions, before, strict=True)):
        if running.done():
            running.result()
        waited_s = time.monotonic() - began_s
        if waited_s > _RECOVERY_TIMEOUT_S:
            waiting = sum(len(each.ledger) == count for each, count in zip(sessions, before, strict=True))
            raise OutputError(f"{waiting} of {len(sessions)} sessions had no frame acknowledged for {waited_s:.0f} s")
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - began_s


async def until_complete(receiver: PoolReceiver) -> None:
    """Waits until the pool has all its processes again, those that still load their networks too.

    Raises:
        OutputError: it has not within five minutes.
    """
    began_s = time.monotonic()
    while len(receiver.replicas) < REPLICAS:
        if time.monotonic() - began_s > _RECOVERY_TIMEOUT_S:
            raise OutputError(f"the pool has {len(receiver.replicas)} of {REPLICAS} replicas")
        await asyncio.sleep(_POLL_S)


async def kill_one_at_a_time(
    receiver: PoolReceiver,
    sessions: Sequence[Session],
    running: "asyncio.Future[list[None]]",
    kills: int,
    rng: random.Random,
) -> tuple[int, list[float]]:
    """Kills replicas; returns their number and each recovery in seconds."""
    recoveries_s = []
    for number in range(kills):
        await until_complete(receiver)
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        receiver.kill_replica(rng.choice(receiver.replicas))
        recoveries_s.append(await until_all_go_on(sessions, running))
        report.progress(f"kill {number + 1}: everybody goes on after {recoveries_s[-1]:.1f} s")
    return kills, recoveries_s


async def take_away(
    receiver: PoolReceiver, sessions: Sequence[Session], running: "asyncio.Future[list[None]]", seconds: float
) -> tuple[int, list[float]]:
    """Kills every replica for some seconds; returns how many, and the recovery in seconds."""
    killed: set[int] = set()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        for process in receiver.replicas:
            receiver.kill_replica(process)
            killed.add(process)
        await asyncio.sleep(_POLL_S)
    return len(killed), [await until_all_go_on(sessions, running)]


async def measure(system: str, receiver: PoolReceiver, folder: Path, options: tuple[int, float, int]) -> Figures:
    """Runs one system.

    Args:
        options: kills, seconds without the pool, random seed.

    Raises:
        OutputError: the sessions did not go on.
    """
    kills, gone_s, seed = options
    sessions = [Session(number, folder / system, receiver.peer, model_hash()) for number in range(SESSIONS)]
    stop = asyncio.Event()
    running = asyncio.gather(*(session.run(stop) for session in sessions))
    try:
        await until_all_go_on(sessions, running)
        if system == "killed":
            count, recoveries_s = await kill_one_at_a_time(receiver, sessions, running, kills, random.Random(seed))
        else:
            count, recoveries_s = await take_away(receiver, sessions, running, gone_s)
        stop.set()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    frames, faults = verdict(sessions, read_sessions(receiver.out))
    return {
        "kills": float(count),
        "frames": float(frames),
        "recovery_p50_s": percentile(recoveries_s, 50),
        "recovery_max_s": max(recoveries_s),
    } | faults


def read_sessions(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Sequence and capture time of each frame record in a receiver's directory, in order, by the session's id."""
    records = [json.loads(line) for line in (out / "sessions.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {record["session"]: record["id"] for record in records}
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in names.values()}
    for line in (out / "frames.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found[names[record["session"]]].append((record["seq"], record["captured_at"]))
    return found


def verdict(sessions: Sequence[Session], records: dict[str, list[tuple[int, float]]]) -> tuple[int, Figures]:
    """The number of recorded frames, and the faults of all sessions together."""
    own = [records.get(session.identifier, []) for session in sessions]
    each = [
        audit([*session.ledger, *range(session.captured)], rows) for session, rows in zip(sessions, own, strict=True)
    ]
    names = Faults.__slots__
    return sum(map(len, own)), {name: float(sum(len(getattr(faults, name)) for faults in each)) for name in names}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if frame records are wrong."""
    parser = report.flags("pool_faults", "Kill replicas of a pool, and all of them for a time.", 1)
    parser.add_argument("--kills", type=int, help=f"replicas killed one at a time (default: {KILLS})")
    parser.add_argument("--gone", type=float, help=f"seconds without any replica (default: {GONE_S:g})")
    options = parser.parse_args(arguments)

    def work() -> None:
        logging.getLogger("sender").setLevel(logging.ERROR)
        kills = options.kills or (QUICK_KILLS if options.quick else KILLS)
        gone_s = options.gone or (QUICK_GONE_S if options.quick else GONE_S)
        systems: dict[str, Figures] = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with PoolReceiver(folder / "out", REPLICAS, "--mesh-every", "100") as receiver:
                for system in ("killed", "gone"):
                    systems[system] = asyncio.run(measure(system, receiver, folder, (kills, gone_s, options.seed)))
                    report.progress(f"{system}: {systems[system]}")
        print(f"{SESSIONS} sessions, {REPLICAS} replicas, {kills} kills, {gone_s:g} s, {report.machine_line()}\n")
        print(report.table(systems))
        report.write_json(options.json, "pool_faults", options.seed, systems)
        if any(figures[name] for figures in systems.values() for name in Faults.__slots__):
            raise OutputError("the frame records are wrong")

    return report.run("pool_faults", work)


if __name__ == "__main__":
    sys.exit(main())
