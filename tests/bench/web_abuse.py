"""Attacks the web page of a running receiver: `python -m tests.bench.web_abuse --url http://127.0.0.1:8080`.

Several processes send 50,000 requests and messages (`--requests`) of these families:

    documented   derived by Schemathesis from /openapi.json, valid and broken
    mutated      methods, paths, headers and bodies at random, path traversal, malformed HTTP
    pictures     decompression bombs, polyglots, damaged files, paths as names, bodies of 100 MB or held back
    clips        damaged, lying, too large, held back, cancelled, many at once; sessions used and deleted at once
    rights       CSRF, session fixation, other accounts' models and sessions, guessed secrets and links, brute force,
                 locking others out, accounts that end while they upload
    slow         260 connections that read nothing, with a byte now and then, and honest requests beside them
    sockets      /live and /camera without rights or silent, and messages at random

A status of 5xx is a fault, except 503 with Retry-After, which is counted; so are an answer that does not come within
30 s, an attack that is accepted, an answer that shows a secret or a name of another account, and one that the document
does not describe. At the end the victim's account, model and session must be as they were, and when all accounts are
removed, nothing of anybody may be left in the output directory (`--out`, with --url). Half of the requests come family
by family, the others all together. With --live, somebody watches /live meanwhile and must get a frame at least every
5 s: a live sender has to be running, on the clock of this machine. A second table has the rate and age of its frames
when they arrive here, calm and beside each family.

Without --url it serves accounts and uploads itself, with a fake in place of the sender; then an error in the log is a
fault, too. With it, sign-up must be open, and the receiver be a fresh one, with --http-token none and
--uploads-per-minute 1000000: otherwise most bombs end at that limit, as the attacks on passwords do soon at theirs. The
exit code is 1 with any fault.
"""

import argparse
import contextlib
import json
import logging
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from common.errors import BodywireError
from common.text import printable
from receiver.publish.session_deletion import session_of_file, session_of_line
from tests.bench import report
from tests.bench.abuse.campaign import ALL
from tests.bench.abuse.verdict import LiveFrames, Span, by_group
from tests.bench.web_attacks import clips, documented, mutated, pictures, rights, sockets
from tests.bench.web_attacks.target import PASSWORD, STRANGER, Findings, Target, Visitor, send
from tests.support.page_server import running_site

_BATCH = 400
_SHOWN_FAULTS = 30
_FRAME_GAP_S = 5.0
_CALM_S = 20.0
# A session that is in use when its account is removed goes a minute later.
_REMOVED_S = 90.0

Attack = Callable[[Target, int, int], Findings]
FAMILIES: dict[str, tuple[Attack, float]] = {
    "documented": (documented.attack, 0.15),
    "mutated": (mutated.attack, 0.45),
    "pictures": (pictures.attack, 0.05),
    "clips": (clips.attack, 0.05),
    "rights": (rights.attack, 0.15),
    "slow": (sockets.slow, 0.05),
    "sockets": (sockets.web_sockets, 0.1),
}
"""Each family, and its share of the requests."""


class Abused(BodywireError):
    """An attack had an effect."""


def run_family(family: str, target: Target, seed: int, count: int) -> Findings:
    """Runs one batch of a family, in a process of its own."""
    return FAMILIES[family][0](target, seed, count)


def batches(requests: int, seed: int) -> list[tuple[str, int, int]]:
    """Family, seed and number of requests of each batch, shuffled."""
    planned: list[tuple[str, int, int]] = []
    for family, (_, share) in FAMILIES.items():
        left = round(requests * share)
        while left > 0:
            planned.append((family, seed * 100_000 + len(planned), min(left, _BATCH)))
            left -= _BATCH
    random.Random(seed).shuffle(planned)
    return planned


def rounds(requests: int, seed: int, families: Collection[str] = FAMILIES) -> dict[str, list[tuple[str, int, int]]]:
    """Every other batch of each family alone, then those between of all families together."""
    planned = batches(requests, seed)
    alone = {family: [batch for batch in planned if batch[0] == family][::2] for family in families}
    return {**alone, ALL: [batch for batch in planned if batch[0] in families and batch not in alone[batch[0]]]}


def run(
    target: Target, requests: int, seed: int, workers: int, families: Collection[str]
) -> tuple[dict[str, Findings], dict[str, list[Span]]]:
    """Runs all batches of some families; returns the findings of each, and when each round was."""
    found, spans = {family: Findings() for family in families}, {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for group, planned in rounds(requests, seed, families).items():
            began_s = time.time()
            jobs = [(family, pool.submit(run_family, family, target, start, count)) for family, start, count in planned]
            for family, job in jobs:
                found[family].add(job.result())
            spans[group] = [(began_s, time.time())]
            report.progress(f"attacked: {group}")
    return found, spans


def check_victim(target: Target) -> list[str]:
    """What of the victim's is not as it was."""
    faults = []
    session = send(target, "GET", "/api/models", {"Cookie": target.victim.cookie})
    listed = json.loads(session.body)["models"] if session.status == 200 else None
    expected = [] if target.model == "0" * 32 else [target.model]
    if listed is None or [model["id"] for model in listed] != expected:
        faults.append(f"the victim's models are not what they were: {session.status} {session.body[:200]!r}")
    tokens = send(target, "GET", "/api/tokens", {"Cookie": target.victim.cookie})
    if tokens.status != 200 or len(json.loads(tokens.body)["tokens"]) != 1:
        faults.append(f"the victim's tokens are not what they were: {tokens.status} {tokens.body[:200]!r}")
    path, name = f"/api/sessions/{target.session}", f'"name":"{target.canary}"'.encode()
    shown = send(target, "GET", f"/api/shared/{target.link}", STRANGER)
    own = send(target, "GET", path, target.victim.program)
    links = send(target, "GET", f"{path}/shares", target.victim.program)
    if target.session and not (name in own.body and name in shown.body and links.body.count(b'"id"') == 1):
        faults.append(f"the victim's session is not what it was: {own.status} {shown.status} {links.body[:200]!r}")
    return faults


def check_ends(target: Target, out: Path | None) -> list[str]:
    """Removes the accounts of everybody; returns what is left of them in the output directory."""
    until_s = time.monotonic() + _REMOVED_S
    for visitor in (target.victim, target.honest, *target.attackers):
        while (status := _end(target, visitor)) == 429 and time.monotonic() < until_s:
            time.sleep(1)  # the passwords that others have guessed
        if status != 204:
            return [f"the account {visitor.name} cannot be removed: {status}"]
    until_s = time.monotonic() + _REMOVED_S
    while out is not None and (left := _left(out)):
        if time.monotonic() > until_s:
            return [f"left behind: {each}" for each in left]
        time.sleep(1)
    return []


def _end(target: Target, visitor: Visitor) -> int:
    """Signs in, and removes the account; returns the status of what was refused, or 204."""
    name = target.victim.cookie.partition("=")[0]
    given = {"name": visitor.name, "password": PASSWORD}
    signed_in = send(target, "POST", "/api/session", {"Cookie": visitor.known}, given)
    session = re.search(rf"{name}=[^;]+".encode(), signed_in.head)
    if signed_in.status != 200 or session is None:
        return signed_in.status
    cookies = f"{session[0].decode()}; {visitor.known}"
    headers = {"Cookie": cookies, "X-CSRF-Token": json.loads(signed_in.body)["csrf"]}
    return send(target, "DELETE", "/api/account", headers, {"password": PASSWORD}).status


def _left(out: Path) -> list[str]:
    """Temporary files, models, and sessions of clips in an output directory, and meshes of no session."""
    found = [str(path) for pattern in (".*-*", "bodywire-run-*", "models/*") for path in out.glob(pattern)]
    recorded = {session_of_line(line) for line in (out / "frames.jsonl").read_bytes().splitlines()}
    found += [path.name for path in (out / "meshes").iterdir() if session_of_file(path.name) not in recorded]
    return found + re.findall("clip-of-.*", (out / "sessions.jsonl").read_text())


class Watcher(threading.Thread):
    """Watches /live and acknowledges every frame.

    Attributes:
        frames: number, time of capture and age in milliseconds of each frame that came.
        calm: when nothing attacked.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(daemon=True)
        self._target, self._ended = target, threading.Event()
        self.frames: list[tuple[int, int, float]] = []
        self.calm: list[Span] = []
        self.longest_gap_s, self.fault = 0.0, ""

    def rest(self) -> None:
        """Lets a calm time pass."""
        began_s = time.time()
        self._ended.wait(_CALM_S)
        self.calm.append((began_s, time.time()))

    def run(self) -> None:
        url = self._target.url.replace("http", "ws", 1) + "/live"
        headers, origin = {"Cookie": self._target.victim.cookie}, Origin(self._target.url)
        try:
            with connect(url, additional_headers=headers, origin=origin, proxy=None, max_size=None) as connection:
                connection.send('{"type":"watch","session":null,"mesh":"body","preview":false}')
                last_s = time.monotonic()
                while not self._ended.is_set():
                    with contextlib.suppress(TimeoutError):
                        received = connection.recv(timeout=0.5)
                        if isinstance(received, bytes) and self._shown(connection, received):
                            last_s = time.monotonic()
                    self.longest_gap_s = max(self.longest_gap_s, time.monotonic() - last_s)
        except (OSError, WebSocketException) as error:
            self.fault = f"the live stream ended: {error}"

    def _shown(self, connection: ClientConnection, received: bytes) -> bool:
        header = json.loads(received[4 : 4 + int.from_bytes(received[:4], "little")])
        if header["type"] != "frame":
            return False
        record, now_ms = header["record"], time.time() * 1e3
        captured_ms = record["captured_at"] * 1e3
        self.frames.append((record["seq"], round(captured_ms), now_ms - captured_ms))
        connection.send(json.dumps({"type": "shown", "id": header["id"]}))
        return True

    def stop(self) -> list[str]:
        """Ends the watching; returns what was wrong."""
        self._ended.set()
        self.join(10)
        if self.fault or not self.frames or self.longest_gap_s > _FRAME_GAP_S:
            return [self.fault or f"{len(self.frames)} live frames, the longest pause {self.longest_gap_s:.1f} s"]
        return []


class _Alarms(logging.Handler):
    """Keeps what a server in this process logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.faults.append(f"logged {record.getMessage()}")


@contextlib.contextmanager
def _address(url: str | None, out: Path | None, alarms: _Alarms) -> Iterator[tuple[str, Path | None]]:
    """Address and output directory of the receiver."""
    if url:
        yield url.rstrip("/"), out
        return
    logging.getLogger().addHandler(alarms)
    try:
        with tempfile.TemporaryDirectory() as folder, running_site(Path(folder)) as own:
            yield own, Path(folder)
    finally:
        logging.getLogger().removeHandler(alarms)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 with any fault."""
    parser = report.flags("web_abuse", __doc__, 1)
    parser.add_argument("--url", help="address of the page (default: serves accounts and uploads itself)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output directory of the receiver of --url")
    report.add_amount(parser, "--requests", "number", 50_000, 3_000)
    parser.add_argument("--workers", type=int, default=4, help="processes (default: %(default)s)")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), help="only these")
    parser.add_argument("--live", action="store_true", help="watch /live meanwhile; needs a running sender")
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    alarms = _Alarms()
    with _address(options.url, options.out, alarms) as (url, out):
        began_s = time.monotonic()
        target = Target.prepare(url, options.seed)
        watcher = Watcher(target) if options.live else None
        if watcher:
            watcher.start()
            watcher.rest()
        found, spans = run(target, options.requests, options.seed, options.workers, options.families)
        if watcher:
            watcher.rest()
        faults = [fault for findings in found.values() for fault in findings.faults]
        faults += (watcher.stop() if watcher else []) + check_victim(target) + check_ends(target, out)
    faults += alarms.faults
    print(f"{time.monotonic() - began_s:.0f} s, seed {options.seed}, {report.machine_line()}\n")
    systems = {family: _figures(findings) for family, findings in found.items()}
    rows = [[family, *(f"{count:.0f}" for count in figures.values())] for family, figures in systems.items()]
    print(report.markdown([["", *next(iter(systems.values()))], *rows]))
    live = {}
    if watcher:
        live = by_group(LiveFrames([], watcher.frames), watcher.calm, spans)
        print(f"\n{report.table(live)}\n\nthe longest pause of the live view {watcher.longest_gap_s:.1f} s")
    for fault in faults[:_SHOWN_FAULTS]:
        print(f"  {printable(fault, 600)}")
    report.write_json(options, systems, faults=faults, live=live)
    if faults:
        raise Abused(f"{len(faults)} attacks had an effect: see above")


def _figures(findings: Findings) -> dict[str, float]:
    statuses = findings.statuses
    by_class = {
        f"{first}xx": sum(n for status, n in statuses.items() if status // 100 == first) for first in range(2, 6)
    }
    figures = {"sent": findings.sent, **by_class, "closed": statuses[0], "503": statuses[503]}
    return {**figures, "faults": len(findings.faults)}


if __name__ == "__main__":
    sys.exit(main())
