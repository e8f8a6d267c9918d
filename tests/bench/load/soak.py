"""The soak: both daemons for as long as one likes, in pieces, and what grows."""

import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from common.errors import OutputError
from sender.link.transport import Transport
from tests.bench.charts import draw
from tests.bench.measures import percentile
from tests.bench.time.daemons import ROOT, Camera, Daemon
from tests.bench.time.web import account
from tests.netlab.crowd import LightSender, Receiver, Records, Said, receiver, recorded_labels, together, watch
from tests.netlab.faults.audit import rows_in
from tests.support.processes.demo_clip import demo_pictures

Row = dict[str, Any]

# Of one certificate, which may have 64 sessions.
_STREAMS_OF_ACCOUNT = 25
_WITH_PEOPLE, _BROWSERS, _CAMERA_FPS = 4, 10, 1.0
_SESSION_S, _UPLOAD_S, _SAMPLE_S = 300.0, 60.0, 10.0
# Without a pause, at the beginning: until the receiver remembers 128 people, its memory grows with each.
_FIRST_UPLOADS = 140
_MOST_LOG_BYTES = 100_000
# What begins is left out: a third of a piece, at most the first hour.
_SETTLING_SHARE, _MOST_SETTLING_H = 1 / 3, 1.0
_DAY_H, _GROWTH, _SIGMAS = 23.0, 0.05, 3.0
FIGURES = ("mb", "children_mb", "files", "threads")
COLUMNS = (*(f"{daemon}_{what}" for daemon in ("receiver", "sender") for what in FIGURES), "age_p50_ms", "age_p99_ms")


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure changes: mean, slope an hour, and the slope's standard error."""

    mean: float
    per_hour: float
    error: float

    @property
    def grows(self) -> bool:
        """Whether it surely grows by more than a twentieth in a day, from its first hour on."""
        return _DAY_H * (self.per_hour - _SIGMAS * self.error) > _GROWTH * self.mean


def trend(rows: Sequence[Row], column: str) -> Trend:
    """The line through a figure, with a level of its own for each piece.

    Neighbouring residuals are alike: the standard error is that of as many fewer independent ones (AR(1)).
    """
    settled = []
    for piece in sorted({row["piece"] for row in rows}):
        points = np.array([(row["hours"], row[column]) for row in rows if row["piece"] == piece])
        settled.append(points[points[:, 0] >= min(_SETTLING_SHARE * points[-1, 0], _MOST_SETTLING_H)])
    centred = [points - points.mean(axis=0) for points in settled]
    x, y = np.concatenate(centred).T
    slope = x @ y / (x @ x)
    left = [points[:, 1] - slope * points[:, 0] for points in centred]
    squares = sum(float(each @ each) for each in left)
    alike = min(max(sum(float(each[1:] @ each[:-1]) for each in left) / max(squares, 1e-12), 0.0), 0.99)
    free = max((len(x) - len(settled) - 1) * (1 - alike) / (1 + alike), 1.0)
    mean = np.concatenate(settled)[:, 1].mean()
    return Trend(float(mean), float(slope), float(np.sqrt(squares / free / (x @ x))))


async def uploads(page: str, answers: Counter[str]) -> None:
    """Uploads pictures without a pause, later one a minute, and deletes the model made of each, until cancelled."""
    (picture,) = demo_pictures(1)
    async with httpx.AsyncClient(base_url=page, timeout=60.0, headers=await asyncio.to_thread(account, page)) as client:
        for number in count():
            try:
                answer = await client.post("/upload", files={"image": ("frame.jpg", picture, "image/jpeg")})
                answers[f"upload {answer.status_code}"] += 1
                if answer.is_success:
                    await client.delete(f"/api/models/{answer.json()['id']}")
            except httpx.HTTPError as error:
                answers[type(error).__name__] += 1
            await asyncio.sleep(_UPLOAD_S if number >= _FIRST_UPLOADS else 0.0)


def piece(state: Path, minutes: float, streams: int, fps: float) -> None:
    """Runs both daemons with their crowd, and appends a row to the state each ten seconds.

    Raises:
        OutputError: a daemon has ended.
    """
    number = max((row["piece"] for row in rows_in(state)), default=0) + 1
    flags = ("--max-sessions", str(streams + 8), "--keep-gb", "0.5", "--mesh-every", "10", "--meshes", "surfaces")
    with tempfile.TemporaryDirectory() as name, receiver(Path(name), *flags) as there:
        pictures, own = Path(name) / "pictures.sock", there.sender("camera")
        words = ("sender", f"socket+live:{pictures}", "--peer", str(there.peer), "--tls-ca", str(own.tls_ca))
        keys = ("--tls-cert", str(own.tls_cert), "--tls-key", str(own.tls_key))
        sender = Daemon(ROOT, Path(name) / "sender.log", *words, *keys)
        try:
            sender.wait_until(pictures.exists)
            Camera(pictures, _CAMERA_FPS, 60 * minutes + 60).start()
            asyncio.run(_sampled(there, sender, number, state, minutes, streams, fps))
        finally:
            sender.end()


async def _sampled(
    there: Receiver, sender: Daemon, number: int, state: Path, minutes: float, streams: int, fps: float
) -> None:
    said, answers, labels, records = Said(), Counter[str](), recorded_labels(), Records(there.out)
    accounts = [Transport(there.sender(f"account-{each}")) for each in range(-(-streams // _STREAMS_OF_ACCOUNT))]
    crowd = [
        LightSender(
            *(f"stream-{each}", there.peer, accounts[each % len(accounts)], labels, fps),
            people=int(each < _WITH_PEOPLE),
            lasts_s=_SESSION_S * (0.5 + each / streams),
        ).run()
        for each in range(streams)
    ]
    browsers = [watch(there.page, answers) for _ in range(_BROWSERS)]
    began_s = time.monotonic()
    async with together([*crowd, *browsers, uploads(there.page, answers)]):
        while time.monotonic() < began_s + 60 * minutes:
            await asyncio.sleep(_SAMPLE_S)
            if there.daemon.process.poll() is not None or sender.process.poll() is not None:
                raise OutputError(f"a daemon has ended: {there.daemon.log.read_text()[-600:]}")
            frames = await asyncio.to_thread(records.new)
            ages = [frame["age_ms"] for frame in frames if frame["people"] and frame["age_ms"] is not None]
            row = {
                **{"piece": number, "hours": (time.monotonic() - began_s) / 3600, "load": os.getloadavg()[0]},
                **{f"receiver_{name}": value for name, value in there.daemon.used().items()},
                **{f"sender_{name}": value for name, value in sender.used().items()},
                **{f"age_p{share}_ms": percentile(np.array(ages), share) if ages else 0.0 for share in (50, 99)},
                **{"frames": len(frames), "meshed": len(ages), "answers": answers, "said": said.counts},
            }
            with state.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if there.daemon.log.stat().st_size > _MOST_LOG_BYTES:
                os.truncate(there.daemon.log, 0)


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Draws memory, descriptors, threads and age over the hours of all pieces."""
    ends = {row["piece"]: row["hours"] for row in rows}
    before = {piece: sum(hours for other, hours in ends.items() if other < piece) for piece in ends}

    def line(column: str) -> list[tuple[float, float]]:
        return [(before[row["piece"]] + row["hours"], row[column]) for row in rows]

    names = {"memory, MB": "mb", "descriptors": "files", "threads": "threads"}
    panels = {y: {one: line(f"{one}_{what}") for one in ("receiver", "sender")} for y, what in names.items()}
    draw(path, "", "hours", {**panels, "age p99, ms": {"receiver": line("age_p99_ms")}}, stacked=True)
