"""The ledgers of the bench of a pool's faults, and its sessions against a receiver without networks."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from common.io.addresses import Address
from tests.bench.pool_faults import Session, read_sessions, until_all_go_on, verdict
from tests.netlab.durable_sender import MODEL, captured_at

PEER = Address("127.0.0.1", 1)


def session(tmp_path: Path, identifier: str, frames: int) -> Session:
    made = Session(0, tmp_path, PEER, MODEL)
    made.identifier, made.captured, made.ledger = identifier, frames, list(range(frames))
    return made


def rows(*sequences: int) -> list[tuple[int, float]]:
    return [(sequence, captured_at(sequence)) for sequence in sequences]


def test_faults_of_all_sessions_are_added_up(tmp_path: Path) -> None:
    sessions = [session(tmp_path, "aa", 3), session(tmp_path, "bb", 3), session(tmp_path, "cc", 1)]
    frames, faults = verdict(sessions, {"aa": rows(0, 1, 1, 2), "bb": rows(0, 2)})
    assert frames == 6
    assert faults == {"lost": 2, "duplicated": 1, "misplaced": 0, "wrong": 0}


async def test_session_that_failed_ends_the_wait(tmp_path: Path) -> None:
    async def fail() -> None:
        raise ValueError("no session")

    running = asyncio.gather(*[fail()])
    with pytest.raises(ValueError, match="no session"):
        await until_all_go_on([session(tmp_path, "aa", 1)], running)


async def test_sessions_deliver_what_they_have_captured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["tests.netlab.durable_receiver", "--listen", "127.0.0.1:0", "--out", str(out)]
    receiver = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert receiver.stdout is not None
        line = await asyncio.to_thread(receiver.stdout.readline)
        peer = Address.parse(line.removeprefix("listening on ").split()[0])
        sessions = [Session(number, tmp_path, peer, MODEL) for number in range(2)]
        stop = asyncio.Event()
        running = asyncio.gather(*(each.run(stop) for each in sessions))
        async with asyncio.timeout(60):
            await until_all_go_on(sessions, running)
            stop.set()
            await running
    finally:
        receiver.kill()
        receiver.communicate()
    frames, faults = verdict(sessions, read_sessions(out))
    assert frames == sum(each.captured for each in sessions) > 0
    assert not any(faults.values())
