"""Labels under `--budget-kbit`, and over thin links: `python -m tests.bench.budget`.

Two hosts as in `tests.bench.wire`, encrypted, over a link of a round trip of 60 ms.  The sender sends the labels of the
demo clip at 30 frames a second: under budgets over a link without limit, alone and beside a blob that is always in
transfer; with `--bypass` under four budgets, whole and with each part of rate control left out (ω, bit allocation, ρ,
bundles, labels ahead, leaving frames out); with `--capacities` under budgets of 2.4 to 500 kbit/s, and without one over
such links that have carried 8 Mbit/s until then, which `--plot` draws:

    kbit_mean, kbit_p95   everything at the sender's network device in both directions, each second; without the first
                          two, in which the connection is made
    bytes_per_frame       the same, a frame shown
    frames_per_s          frames shown; the others were left out
    frames_per_message    of those that waited together
    rho_mean              ρ, over labels and frames
    face_bytes_per_s      of a live face's pictures, with --faces
    blob_bytes_per_s      of blobs that left
    age_p50_ms, p95       age of the newest frame shown, at any moment
    error_mm              distance of the skin shown from where it is at that moment, mean over time; shown is what
                          the receiver predicts
    held_mm               the same where the newest labels are shown

With `--perceived` labels are as the sender perceives the clip, and the skin is where they have it at that moment: what
lasts of their errors nobody can tell.

Needs root, for the namespaces; with `--simulated` sender and receiver run over QUIC in simulated time instead, so that
other programs on the machine change nothing.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.errors import OutputError
from common.labels import concatenate
from common.motion.network import LearnedMotion
from common.wire.traffic import FACES
from receiver.config import PlayoutConfig
from tests.bench import report
from tests.bench.bytes.labels_over_link import PORT, Lines, Sent
from tests.bench.bytes.link import display_ages
from tests.bench.bytes.link import figures as age_figures
from tests.bench.bytes.rate import demo_truth, perceived_demo
from tests.bench.bytes.wire import FPS, Figures, Packets, send_encrypted
from tests.bench.charts import draw
from tests.bench.measures import mean_distance_mm, percentile
from tests.bench.motion.playout import Receiver
from tests.netlab.hosts import ADDRESSES, require_hosts
from tests.netlab.source import BYPASSES, there_and_back
from tests.support.link.certificate_authority import Authority

BUDGETS_KBIT, BYPASSED_KBIT = (1.2, 2.4, 5.0, 10.0, 20.0, 50.0), (2.4, 5.0, 10.0, 20.0)
FACE_KBIT = (20.0, 32.0, 50.0, 100.0, 200.0)
CAPACITIES_KBIT = (2.4, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 500.0)
_RTT_MS, _HOLD_MS = 60.0, 10.0
_SETTLING_S = 2.0
_BLOB_BYTES = 20_000
# Every so many vertices are compared.
_VERTEX_STRIDE = 20


class Skin:
    """The demo clip's person, whose labels are the true ones or as perceived, and where the skin is by them."""

    def __init__(self, *, perceived: bool) -> None:
        self._space, self._body = LabelSpace.load(), BodyModel.load()
        clip = perceived_demo(None) if perceived else demo_truth(self._space, 0)
        self.labels = np.stack([concatenate(person.labels) for person in clip.people])
        self.truth = self.of(self.labels)

    @torch.inference_mode()
    def of(self, labels: FloatArray) -> FloatArray:
        """(N, V, 3) some vertices by labels (N, LABEL_SIZE), metres."""
        parts = torch.from_numpy(labels).split(16)
        found = [self._body(self._space.decode(part)).vertices[:, ::_VERTEX_STRIDE] for part in parts]
        return torch.cat(found).numpy()


def displayed_mm(skin: Skin, shown: Lines, began_s: float, end_s: float) -> tuple[float, float]:
    """Mean distance of the skin shown from where it is at that moment, predicted and held; since `_SETTLING_S`.

    Args:
        shown: a line for each frame, with its labels; captures are ticks of the source from `began_s` on.
    """
    receiver = Receiver(PlayoutConfig("live"), LearnedMotion.load())
    lines, predicted, held, ticks = deque(sorted(shown, key=lambda line: line["at"])), [], [], []
    newest = lines[0]
    for tick in range(int((end_s - began_s) * FPS)):
        now_s = began_s + tick / FPS
        while lines and lines[0]["at"] <= now_s:
            line = lines.popleft()
            receiver.now_s = line["at"] - began_s
            labels = np.array(line["labels"], np.float32)
            receiver.take(line["seq"], line["captured_at"] - began_s, labels, line["ahead_steps"])
            newest = max(newest, line, key=lambda one: one["seq"])
        receiver.now_s = now_s - began_s
        if tick >= _SETTLING_S * FPS and newest["at"] <= now_s:
            ticks.append(there_and_back(tick, len(skin.truth)))
            predicted.append(receiver.shown()[0])
            held.append(np.array(newest["labels"], np.float32))
    truth = skin.truth[ticks]
    found, old = (mean_distance_mm(skin.of(np.stack(rows)), truth) for rows in (predicted, held))
    return found, old


def kbit_per_second(packets: Packets, began_s: float, seconds: float) -> Float64Array:
    """(N,) kilobits in each full second from a moment on."""
    second = np.floor(packets.at_s - began_s).astype(int)
    inside = (second >= 0) & (second < int(seconds))
    return np.bincount(second[inside], weights=packets.size[inside], minlength=int(seconds)) * 8 / 1e3


@dataclass(frozen=True, slots=True)
class Conditions:
    """One run.

    Args:
        budget_kbit: infinite for none.
        link_kbit: of the link.
        blob_bytes: size of the blob in transfer; 0 for none.
        bypass: part of rate control that is left out.
        connecting_s: in simulated time, before the first frame, over an ample link; 0 for a link that is thin from the
            beginning, both ways.
        steps: of a simulated link, both ways: (seconds, kbit/s) from the first frame on, before `link_kbit`.
        cut: of a simulated link: from and to, seconds after the first frame.
        loss: of a simulated link: share of packets lost in each direction.
        labels: file of the labels to send, in place of the demo clip's true ones.
        faces: whether a live face is sent beside them.
    """

    budget_kbit: float = math.inf
    link_kbit: float = math.inf
    blob_bytes: int = 0
    bypass: str | None = None
    connecting_s: float = 5.0
    steps: tuple[tuple[float, float], ...] = ()
    cut: tuple[float, float] | None = None
    loss: float = 0.0
    labels: Path | None = None
    faces: bool = False

    @property
    def name(self) -> str:
        """As in the table."""
        limits = {"budget of ": self.budget_kbit, "link of ": self.link_kbit}
        found = [f"{what}{kbit:g} kbit/s" for what, kbit in limits.items() if math.isfinite(kbit)] or ["no budget"]
        without = [f"without {self.bypass}"] if self.bypass else []
        lost = [f"{self.loss:.0%} lost"] if self.loss else []
        return ", ".join(
            [*found, *without, *lost, *(["beside a blob"] if self.blob_bytes else []), *(["with a face"] * self.faces)]
        )

    @property
    def flags(self) -> list[str]:
        """Of the source."""
        budget = ["--budget-kbit", str(self.budget_kbit)] if math.isfinite(self.budget_kbit) else []
        labels = ["--labels", str(self.labels)] if self.labels else []
        bypass = ["--bypass", self.bypass] if self.bypass else []
        return ["--blob-bytes", str(self.blob_bytes), *budget, *labels, *bypass, *(["--faces"] * self.faces)]


def simulate(conditions: Conditions, seconds: float) -> tuple[Sent, Packets]:
    """Runs sender and receiver over QUIC in simulated time.

    Raises:
        OutputError: the program failed; its error is printed above.
    """
    with tempfile.TemporaryDirectory() as folder:
        authority, out = Authority.make(Path(folder) / "certs"), Path(folder) / "run.json"
        certificate, key = authority.issue("receiver", ADDRESSES[1])
        options = {
            "peer": f"{ADDRESSES[1]}:{PORT}",
            "tls-ca": authority.certificate,
            "tls-cert": certificate,
            "tls-key": key,
            "out": out,
            "seconds": seconds,
            "rtt-ms": _RTT_MS,
            "hold-ms": _HOLD_MS,
            "connecting-s": conditions.connecting_s,
            "loss": conditions.loss,
            **({"link-kbit": conditions.link_kbit} if math.isfinite(conditions.link_kbit) else {}),
        }
        steps = ["--steps", *(f"{length_s}:{kbit}" for length_s, kbit in conditions.steps)] if conditions.steps else []
        cut = ["--cut", *map(str, conditions.cut)] if conditions.cut else []
        flags = [*(text for name, value in options.items() for text in (f"--{name}", str(value))), *steps, *cut]
        flags = [*conditions.flags, *flags]
        done = subprocess.run([sys.executable, "-m", "tests.netlab.virtual_quic", *flags], check=False)
        if done.returncode:
            raise OutputError(f"the simulation ended with exit code {done.returncode}; see its error above")
        found = json.loads(out.read_text("utf-8"))
    packets = Packets(*np.array(found["packets"], np.float64).T)
    return Sent(found["source"], [line for line in found["shown"] if line["what"] == "shown"], []), packets


def run(conditions: Conditions, seconds: float, options: argparse.Namespace) -> tuple[Sent, Packets]:
    """Runs sender and receiver, as the bench was asked. Raises OutputError if a program fails."""
    if options.simulated:
        return simulate(conditions, seconds)
    flags, link_kbit = conditions.flags, conditions.link_kbit
    return send_encrypted(
        _RTT_MS, _HOLD_MS, seconds, *flags, quic=options.quic, sink_flags=["--with-labels"], link_kbit=link_kbit
    )


def measure(conditions: Conditions, seconds: float, skin: Skin, options: argparse.Namespace) -> Figures:
    """The figures of a run. Raises OutputError if a program fails."""
    sent, packets = run(conditions, seconds, options)
    began_s, span_s = sent.source[0]["began_at"], seconds - _SETTLING_S
    kbit = kbit_per_second(packets, began_s + _SETTLING_S, span_s)
    captured, shown = (np.array([line[key] for line in sent.shown]) for key in ("captured_at", "at"))
    ages = age_figures(display_ages(captured, shown, began_s + _SETTLING_S, began_s + seconds))
    settled = [line for line in sent.shown if line["at"] >= began_s + _SETTLING_S]
    frames_per_s = len(settled) / span_s
    error_mm, held_mm = displayed_mm(skin, sent.shown, began_s, began_s + seconds)
    return {
        "kbit_mean": float(kbit.mean()),
        "kbit_p95": percentile(kbit, 95),
        "bytes_per_frame": float(kbit.mean()) * 125 / frames_per_s,
        "frames_per_s": frames_per_s,
        "frames_per_message": len(settled) / len({line["message"] for line in settled}),
        "rho_mean": float(np.mean([line["rho"] for line in settled])),
        "face_bytes_per_s": sent.source[-1]["by_purpose"].get(FACES, 0) / seconds,
        "blob_bytes_per_s": sent.source[-1]["blob_bytes"] / seconds,
        "age_p50_ms": ages["age_p50_ms"],
        "age_p95_ms": ages["age_p95_ms"],
        "error_mm": error_mm,
        "held_mm": held_mm,
    }


PLOTTED = {
    "error_mm": "displayed error, mm",
    "frames_per_s": "frames a second",
    "frames_per_message": "frames a message",
    "kbit_mean": "kbit/s, both ways",
    "rho_mean": "ρ",
}
"""The figures over capacities, a panel each."""


def plot(path: Path, runs: Mapping[Conditions, Figures]) -> None:
    """Draws figures over capacities, of budgets and links. Raises as `draw`."""
    panels = {
        label: {series: _points(runs, series, name) for series in ("budget", "link")} for name, label in PLOTTED.items()
    }
    draw(path, "", "capacity, kbit/s", panels, stacked=True)


def _points(runs: Mapping[Conditions, Figures], series: str, name: str) -> list[tuple[float, float]]:
    """(kbit/s, figure) of the runs with such a limit."""
    limits = {conditions: float(getattr(conditions, f"{series}_kbit")) for conditions in runs}
    return [(kbit, runs[conditions][name]) for conditions, kbit in limits.items() if math.isfinite(kbit)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("budget", __doc__, 1)
    parser.add_argument("--quic", action="store_true", help="over QUIC instead of gRPC")
    parser.add_argument("--simulated", action="store_true", help="over QUIC, in simulated time and without root")
    parser.add_argument("--perceived", action="store_true", help="labels as perceived, instead of the true ones")
    parser.add_argument("--bypass", action="store_true", help="leave out parts of rate control instead")
    parser.add_argument("--faces", action="store_true", help="with and without a live face, instead of a blob")
    parser.add_argument("--capacities", action="store_true", help="many budgets, and links")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="with --capacities: a picture of the figures")
    report.add_amount(parser, "--seconds", "per run", 40.0, 12.0, float)
    return report.run(parser, _work, arguments)


def _runs(options: argparse.Namespace) -> Iterator[Conditions]:
    if options.capacities:
        yield from (Conditions(budget_kbit=kbit) for kbit in CAPACITIES_KBIT)
        yield from (Conditions(link_kbit=kbit) for kbit in CAPACITIES_KBIT)
    elif options.bypass:
        yield from (Conditions(kbit, bypass=bypass) for kbit in BYPASSED_KBIT for bypass in (None, *BYPASSES))
    elif options.faces:
        for kbit in FACE_KBIT:
            yield from (Conditions(kbit, faces=faces) for faces in (False, True))
            yield from (Conditions(link_kbit=kbit, faces=faces) for faces in (False, True))
    else:
        yield from (
            Conditions(kbit, blob_bytes=size) for kbit in (*BUDGETS_KBIT, math.inf) for size in (0, _BLOB_BYTES)
        )


def _work(options: argparse.Namespace) -> None:
    if not options.simulated:
        require_hosts()
    skin = Skin(perceived=options.perceived)
    systems: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(labels := Path(folder) / "labels.npy", skin.labels)
        for conditions in _runs(options):
            systems[conditions.name] = measure(replace(conditions, labels=labels), options.seconds, skin, options)
            report.progress(f"{conditions.name}: {systems[conditions.name]}")
    report.publish(options, systems, f"labels at {FPS:g} frames a second, TLS, {options.seconds:g} s a run")
    if options.capacities and options.plot is not None:
        plot(options.plot, {conditions: systems[conditions.name] for conditions in _runs(options)})


if __name__ == "__main__":
    sys.exit(main())
