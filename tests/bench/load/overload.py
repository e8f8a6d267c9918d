"""Twice what the receiver carries: whom it serves, whom it refuses, what it says."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from sender.link.transport import Transport
from tests.bench.measures import percentile
from tests.netlab.crowd import (
    LightSender,
    Receiver,
    Records,
    Said,
    receiver,
    recorded_labels,
    request,
    together,
    watch,
)

Figures = dict[str, float]

_SLOW_FPS = 5.0
_BODIES = ("--mesh-every", "1", "--meshes", "none")
_SESSION = "/api/sessions/1"
_MADE = [f"{_SESSION}/meshes/{number:06d}.body.glb" for number in range(200)]
_MADE += [f"{_SESSION}/{each}" for each in ("thumbnail", "frames?limit=200")] * 20
_FPS, _FULL_RATE, _CROWD = 10.0, 15.0, 4
_GREEDY, _SESSIONS, _WATCHERS, _REQUESTS = 8, 16, 16, 60
# Until all have connected, and queues are as long as they get.
_SETTLING_S = 8.0


@dataclass(frozen=True, slots=True)
class Account:
    """What one account does: so many sessions, each with so many people and frames a second.

    Args:
        honest: it asks for no more than others do.
    """

    sessions: int = 1
    people: int = 1
    fps: float = _FPS
    live: bool = True
    honest: bool = True


def fairness(shares: Sequence[float]) -> float:
    """Jain's index: 1 if all are equal, 1/n if one has all.

    Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness", DEC-TR-301, 1984.
    """
    every = np.array(shares, float)
    return float(every.sum() ** 2 / (len(every) * (every**2).sum())) if every.any() else 0.0


def fair_share(demands: Sequence[float], capacity: float) -> float:
    """Most that each gets where all get as much as they want or the same (max-min fairness)."""
    left, share = capacity, float("inf")
    for number, demand in enumerate(sorted(demands)):
        share = left / (len(demands) - number)
        if demand > share:
            return share
        left -= demand
    return max(demands)


@dataclass(frozen=True, slots=True)
class Phase:
    """Who comes: accounts, honest and others, browsers that watch, and clients that ask for one path after another."""

    accounts: Sequence[Account]
    browsers: int = 0
    requests: int = 0
    asked: Sequence[str] = ("/api/status",)
    flags: Sequence[str] = ()


FLAT_OUT = Phase([Account(people=_CROWD, fps=1000.0, live=False)] * 2)
"""Files, which wait: as many people a second as the receiver carries."""


def phases(capacity: float) -> dict[str, Phase]:
    """What comes, where the receiver carries `capacity` people a second."""
    senders = max(round(capacity / _FPS), 2)
    greedy = Account(_GREEDY, _CROWD, _FULL_RATE, honest=False)
    few = ("--max-sessions", str(_SESSIONS))
    return {
        "twice the senders": Phase([Account()] * 2 * senders),
        "beside a greedy one": Phase([*[Account()] * (senders // 2), greedy]),
        "twice the sessions": Phase([Account(people=0, fps=1.0)] * 2 * _SESSIONS, flags=few),
        "one with all sessions": Phase([Account(_SESSIONS, 0, 1.0, honest=False), *[Account()] * 4], flags=few),
        "twice the watchers": Phase([Account()] * (senders // 2), 2 * _WATCHERS),
        "beside requests": Phase([Account()] * (senders // 2), requests=_REQUESTS),
        "alone": Phase([Account(fps=_SLOW_FPS)], flags=_BODIES),
        "beside what is made": Phase([Account(fps=_SLOW_FPS)], requests=_REQUESTS, asked=_MADE, flags=_BODIES),
    }


def measure(phase: Phase, seconds: float) -> tuple[Figures, Counter[str]]:
    """Runs a phase against a receiver of its own, without meshes on the disk; figures, and what it said."""
    flags = ("--mesh-every", "1000000", *phase.flags)
    with tempfile.TemporaryDirectory() as name, receiver(Path(name), *flags) as there:
        return asyncio.run(_measured(there, phase, seconds))


async def _measured(there: Receiver, phase: Phase, seconds: float) -> tuple[Figures, Counter[str]]:
    said, shown, answers = Said(), Counter[str](), Counter[str]()
    records, labels = Records(there.out), recorded_labels()
    crowd = []
    for number, account in enumerate(phase.accounts):
        identity = Transport(there.sender(f"account-{number}"))
        names = (f"{number}.{each}" for each in range(account.sessions))
        rest = (there.peer, identity, labels, account.fps, account.people, account.live)
        crowd += [LightSender(name, *rest) for name in names]
    browsers = [watch(there.page, shown) for _ in range(phase.browsers)]
    asked = cycle(phase.asked)
    flood = [request(there.page, answers, asked) for _ in range(phase.requests)]
    async with together([*(one.run() for one in crowd), *browsers, *flood]):
        await asyncio.sleep(_SETTLING_S)
        records.new()
        before_ms, before = there.daemon.processor_ms(), shown["frames"]
        await asyncio.sleep(seconds)
        spent_ms, frames = there.daemon.processor_ms() - before_ms, records.new()
    got = Counter[int]()
    for frame in frames:
        got[_account(frame)] += max(len(frame["people"]), 1)
    rates = [got[number] / seconds for number in range(len(phase.accounts))]
    demands = [one.sessions * one.fps * max(one.people, 1) for one in phase.accounts]
    # Of what was served in this phase: the machine may carry another amount in each. Flags limit who is served at all.
    share = fair_share(demands, sum(rates))
    honest = {n for n, one in enumerate(phase.accounts) if one.honest and (got[n] or not phase.flags)}
    shares = [rates[number] / max(min(demands[number], share), 1e-9) for number in honest]
    ages = np.array([frame["age_ms"] for frame in frames if _account(frame) in honest])
    figures = {
        "senders": len(crowd),
        "served": len({frame["source"] for frame in frames}),
        "asked_per_s": sum(demands),
        "served_per_s": sum(rates),
        "jain": fairness(shares),
        "least_share": min(shares, default=0.0),
        **{f"age_p{part}_ms": percentile(ages, part) for part in (50, 95, 99) if len(ages)},
        "cores": spent_ms / 1e3 / seconds,
        "shown_per_s": (shown["frames"] - before) / seconds,
    }
    return figures, said.counts + answers


def _account(frame: Mapping[str, Any]) -> int:
    return int(frame["source"].split(".")[0])
