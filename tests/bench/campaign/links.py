"""Pieces that run senders and a receiver as processes: soak, mutual TLS, reconnecting."""

import asyncio
import random
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import Float64Array
from common.body.label_space import LabelSpace
from common.errors import OutputError
from common.io.addresses import Address
from common.weights.manifest import model_hash
from tests.bench.abuse.supervision import file_descriptors, resident_kb
from tests.bench.campaign.journal import Piece, thinned
from tests.bench.crowded import last_line, start_module, start_receiver
from tests.bench.measures import percentile
from tests.bench.rate import demo_truth
from tests.netlab.programs import MODEL
from tests.netlab.recording import record, write
from tests.support.certificate_authority import Authority
from tests.support.free_port import free_port
from tests.support.tcp_relay import TcpRelay

TLS_SENDERS = 200
_TLS_FPS, _TLS_PROCESSES, _TLS_STARTING_S = 5.0, 2, 15.0
_RECONNECTING_SENDERS, _RECONNECTING_FPS, _CUT_EVERY_S = 4, 30.0, (0.5, 1.5)
# Senders and frames per second before each receiver of the soak.
_SOAK = {"link": (4, 30.0), "reconstruction": (1, 2.0)}
_RECORDED_FRAMES = 300
_STARTING_S, _LOADING_S, _EXIT_TIMEOUT_S = 6.0, 60, 120.0


class Group:
    """Senders in one process, which begin `starting_s` from now and end by themselves."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        peer: str,
        senders: int,
        fps: float,
        frames: float,
        *flags: str,
        model: bytes = MODEL,
        starting_s: float = _STARTING_S,
    ) -> None:
        recording = folder / f"recording-{model.hex()}"
        if not recording.exists():
            write(recording, list(record(demo_truth(LabelSpace.load(), 1).people, _RECORDED_FRAMES, model)))
        self.begin_s = time.time() + starting_s
        self._log = folder / f"senders-{time.monotonic_ns()}.npy"
        named = {"peer": peer, "recording": recording, "log": self._log, "model": model.hex(), "senders": senders}
        named |= {"start-at": self.begin_s, "fps": fps, "frames": round(frames)}
        pairs = [text for name, value in named.items() for text in (f"--{name}", str(value))]
        self._process = start_module(stack, "tests.netlab.load_senders", *pairs, *flags)

    def finish(self) -> tuple[dict[str, Any], Float64Array]:
        """What it printed, and its log (`tests.netlab.load_senders`), when it has ended; raises OutputError."""
        return last_line(self._process, _EXIT_TIMEOUT_S), np.load(self._log)


def _ended(receiver: subprocess.Popen[str], sent: int) -> tuple[dict[str, float], list[str]]:
    """Ends a receiver; returns what became of the frames, and a fault if that is not right."""
    receiver.terminate()
    counts = last_line(receiver, _EXIT_TIMEOUT_S)
    counts["lost"] = sent - counts.pop("frames") + counts["again"]
    return {"sent": sent, **counts}, [f"frames: {counts}"] if any(counts.values()) else []


class Soak:
    """Live senders before a receiver without reconstruction, and a slow one before one that reconstructs.

    The receivers run on from piece to piece, until the stack is left.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._minute, self._began_at = stack, 0, time.time()
        self._receivers: dict[str, tuple[subprocess.Popen[str], str, bytes]] = {}

    def _start(self, folder: Path) -> None:
        peer = f"127.0.0.1:{free_port()}"
        flags = ("--listen", peer, "--out", str(folder / "out"), "--no-body", "--mesh-every", "1000000")
        self._receivers = {
            "link": (*start_receiver(self._stack, folder / "soak.log"), MODEL),
            "reconstruction": (start_module(self._stack, "receiver", *flags), peer, model_hash()),
        }
        for _ in range(_LOADING_S):
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(peer.rpartition(":")[2]))):
                return
            time.sleep(1.0)

    def piece(self, minutes: float, seed: str, folder: Path) -> Piece:
        """Sends for so many minutes; raises OutputError if a process fails."""
        if not self._receivers:
            self._start(folder)
        lines: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        counts: dict[str, float] = {}
        first = self._minute + 1
        with ExitStack() as stack:
            groups = {
                name: Group(stack, folder, peer, *_SOAK[name], 60 * minutes * _SOAK[name][1], "--live", model=model)
                for name, (_, peer, model) in self._receivers.items()
            }
            marks = np.linspace(0, 60 * minutes, max(round(minutes), 1) + 1) + groups["link"].begin_s
            for mark_s in marks[1:]:
                time.sleep(max(0.0, mark_s - time.time()))
                self._minute += 1
                for name, (process, *_) in self._receivers.items():
                    if process.poll() is not None:
                        raise OutputError(f"{name}: the receiver ended by itself, with exit code {process.returncode}")
                    used = {"rss_kb": resident_kb(process.pid), "descriptors": file_descriptors(process.pid)}
                    for key, value in used.items():
                        lines[f"{name}_{key}"].append((self._began_at, self._minute, value))
            for name, group in groups.items():
                printed, log = group.finish()
                sent, ended = sum(printed["sent"]), sum(printed["ended"])
                counts |= {f"{name}_sent": sent, f"{name}_skipped": ended - len(log), f"{name}_lost": sent - ended}
                for number, minute in enumerate(range(first, self._minute + 1), 1):
                    ages_ms = 1e3 * log[np.digitize(log[:, 0], marks) == number, 1]
                    for share in (50, 95) if ages_ms.size else ():
                        age = (self._began_at, minute, round(percentile(ages_ms, share), 3))
                        lines[f"{name}_age_p{share}_ms"].append(age)
        faults = [f"{name}: no frame was acknowledged" for name in groups if f"{name}_age_p50_ms" not in lines]
        faults += [f"{name}: frames without a fate" for name in groups if counts[f"{name}_lost"]]
        return Piece(minutes, counts, lines=dict(lines), faults=faults)


def mutual_tls(senders: int, seconds: float, _: str, folder: Path) -> Piece:
    """So many senders, each with its certificate, connect at once and send; raises OutputError if a process fails."""
    certificates = folder.parent / "certificates"
    authority = Authority(certificates) if (certificates / "ca.pem").exists() else Authority.make(certificates)
    for name in ("receiver", *(f"sender-{number}" for number in range(senders))):
        if not (certificates / f"{name}.pem").exists():
            authority.issue(name, *(("127.0.0.1",) if name == "receiver" else ()), days=365)
    tls = ("--certificates", str(certificates))
    with ExitStack() as stack:
        receiver, peer = start_receiver(stack, folder / "tls.log", *tls)
        amount = (_TLS_FPS, min(seconds * _TLS_FPS, _RECORDED_FRAMES))
        groups = [
            Group(
                *(stack, folder, peer, len(share), *amount, *tls, "--first", str(share[0])), starting_s=_TLS_STARTING_S
            )
            for share in np.array_split(np.arange(senders), min(_TLS_PROCESSES, senders))
        ]
        printed, logs = zip(*(group.finish() for group in groups), strict=True)
        counts, faults = _ended(receiver, sum(sum(one["sent"]) for one in printed))
    handshakes_s = np.concatenate([one["connect_s"] for one in printed])
    took_s = np.concatenate(logs)[:, 1]
    samples = {"handshake_ms": thinned(1e3 * handshakes_s), "acknowledged_ms": thinned(1e3 * took_s)}
    return Piece(seconds, counts, samples, faults=faults)


def reconnect(reconnects: float, seed: str, folder: Path) -> Piece:
    """Resets the connections of several senders at once, again and again; raises OutputError if a process fails."""
    rng, cuts = random.Random(seed), max(round(reconnects / _RECONNECTING_SENDERS), 1)
    pauses_s = [rng.uniform(*_CUT_EVERY_S) for _ in range(cuts)]
    with ExitStack() as stack:
        receiver, peer = start_receiver(stack, folder / "reconnect.log")
        cut_at, printed, log = asyncio.run(_cut(stack, folder, peer, pauses_s))
        counts, faults = _ended(receiver, sum(printed["sent"]))
    taken_ms = [
        1e3 * taken_s
        for number, connected_at in enumerate(printed["connected_at"])
        for taken_s in recoveries_s(cut_at, connected_at, log[log[:, 2] == number, :2].sum(1))
    ]
    done = cuts * _RECONNECTING_SENDERS
    faults += [f"{done - len(taken_ms)} times no frame was acknowledged after a cut"] if len(taken_ms) < done else []
    return Piece(done, counts, {"first_acknowledged_ms": thinned(taken_ms)}, faults=faults)


async def _cut(
    stack: ExitStack, folder: Path, peer: str, pauses_s: Sequence[float]
) -> tuple[list[float], dict[str, Any], Float64Array]:
    """Times of the cuts, and what the senders printed and logged."""
    relay, cut_at = TcpRelay(Address.parse(peer)), []
    await relay.start()
    amount = (_RECONNECTING_FPS, (sum(pauses_s) + 2 * _CUT_EVERY_S[1]) * _RECONNECTING_FPS)
    group = Group(stack, folder, str(relay.address), _RECONNECTING_SENDERS, *amount, "--encode")
    await asyncio.sleep(group.begin_s + _CUT_EVERY_S[1] - time.time())
    for pause_s in pauses_s:
        relay.cut()
        cut_at.append(time.time())
        await asyncio.sleep(pause_s)
    printed, log = await asyncio.to_thread(group.finish)
    await relay.stop()
    return cut_at, printed, log


def recoveries_s(
    cut_at: Sequence[float], connected_at: Sequence[float], acknowledged_at: Sequence[float] | Float64Array
) -> list[float]:
    """Seconds from each cut to the first acknowledgement behind the first handshake after it, where there is one."""
    acknowledged, found = np.sort(acknowledged_at), []
    for cut_s in cut_at:
        connected_s = min((at for at in connected_at if at > cut_s), default=float("inf"))
        found += [float(at) - cut_s for at in acknowledged[np.searchsorted(acknowledged, connected_s) :][:1]]
    return found
