"""Strangers who open connections to the page and say nothing, or half of a request, beside an honest sender."""

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from common.io.addresses import Address
from sender.link.transport.quic_transport import QuicTransport
from sender.link.transport.transport import Transport
from tests.bench.daemons import ROOT
from tests.bench.measures import percentile
from tests.netlab import hostile_tcp
from tests.netlab.crowd import LightSender, Receiver, Records, Said, receiver, recorded_labels, together

Figures = dict[str, float]

FPS = 5.0
_DOORS = (("1090", "127.0.0.2", ""), ("299", "127.0.0.3", r"GET / HTTP/1.1\r\nHost: "))
_SETTLING_S, _VISIT_EVERY_S = 5.0, 1.0


def measure(seconds: float, files: int) -> tuple[dict[str, Figures], Counter[str]]:
    """An honest sender over QUIC and a visitor of the page, alone for a fifth of the time, then beside strangers.

    Args:
        files: that the receiver may open.

    Returns:
        Figures, and the lines of the receiver's log.
    """
    limited = ("prlimit", f"--nofile={files}:{files}")
    with tempfile.TemporaryDirectory() as name, receiver(Path(name), within=limited) as there:
        found = asyncio.run(_measured(there, seconds))
        lines = there.daemon.log.read_text(errors="replace").splitlines()
    return found, Counter(re.sub(r"\d[\d.:]*", "N", line) for line in lines)


async def _measured(there: Receiver, seconds: float) -> dict[str, Figures]:
    said, records = Said(), Records(there.out)
    account = QuicTransport(Transport(there.sender("honest")))
    honest = LightSender("honest", there.peer, account, recorded_labels(), FPS)
    visits: list[float] = []
    async with together([honest.run(), _visits(there.page, visits)]):
        await asyncio.sleep(_SETTLING_S)
        alone = await _phase(there, records, visits, seconds / 5)
        with strangers(there.page):
            await asyncio.sleep(_SETTLING_S)
            beside = await _phase(there, records, visits, seconds)
    beside["ended"] = sum(said.counts.values())
    return {"alone": alone, "beside strangers": beside}


async def _phase(there: Receiver, records: Records, visits: list[float], seconds: float) -> Figures:
    records.new()
    visits.clear()
    before_ms, began_s = there.daemon.processor_ms(), time.monotonic()
    await asyncio.sleep(seconds)
    lasted_s, frames = time.monotonic() - began_s, records.new()
    ages = np.array([frame["age_ms"] for frame in frames if frame["age_ms"] is not None])
    answered = np.array([each for each in visits if each >= 0])
    return {
        "frames_per_s": len(frames) / lasted_s,
        "age_p50_ms": percentile(ages, 50),
        "age_p95_ms": percentile(ages, 95),
        "visits": float(len(visits)),
        "answered": float(len(answered)),
        "answer_p95_ms": percentile(answered, 95) if len(answered) else float("nan"),
        "cores": (there.daemon.processor_ms() - before_ms) / 1e3 / lasted_s,
        "files": there.daemon.used()["files"],
    }


async def _visits(page: str, visits: list[float]) -> None:
    """Opens the page anew each second, until cancelled; milliseconds of each, or -1 without an answer."""
    while True:
        began_s = time.monotonic()
        try:
            async with httpx.AsyncClient(base_url=page, timeout=5) as client:
                answer = await client.get("/api/status")
            visits.append(1e3 * (time.monotonic() - began_s) if answer.status_code == 200 else -1)
        except httpx.HTTPError:
            visits.append(-1)
        await asyncio.sleep(_VISIT_EVERY_S)


@contextmanager
def strangers(page: str, doors: Sequence[tuple[str, str, str]] = _DOORS) -> Iterator[None]:
    """Processes of their own, until the end of the block; as on other machines, they leave the processor to others."""
    at = str(Address.parse(page.rpartition("/")[2]))
    command = ("nice", "-n", "19", sys.executable, "-m", hostile_tcp.__name__, at)
    running = [subprocess.Popen((*command, *door), cwd=ROOT) for door in doors]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
