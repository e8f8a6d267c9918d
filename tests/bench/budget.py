"""Labels under `--budget-kbit`: `python -m tests.bench.budget`.

Two hosts as in `tests.bench.wire`, encrypted, over a link without limit and a round trip of 60 ms.  The sender sends
the labels of the demo clip at 30 frames a second, alone and beside a blob that is always in transfer:

    kbit_mean, kbit_p95   everything at the sender's network device in both directions, each second; without the first
                          two, in which the connection is made
    bytes_per_frame       the same, a frame shown
    frames_per_s          frames shown; the others were left out
    blob_bytes_per_s      of blobs that left
    age_p50_ms, p95       age of the newest frame shown, at any moment
    error_mm              distance of the skin shown from where it is at that moment, mean over time; shown is what
                          the receiver predicts
    held_mm               the same where the newest labels are shown

Needs root, for the namespaces.
"""

import argparse
import sys
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.labels import concatenate
from receiver.motion.predictor import LearnedMotion
from receiver.playout.config import PlayoutConfig
from tests.bench import report
from tests.bench.labels_over_link import Lines
from tests.bench.link import display_ages
from tests.bench.link import figures as age_figures
from tests.bench.measures import mean_distance_mm, percentile
from tests.bench.playout import Receiver
from tests.bench.rate import demo_truth
from tests.bench.wire import FPS, Figures, Packets, send_encrypted
from tests.netlab.hosts import require_hosts
from tests.netlab.source import there_and_back

BUDGETS_KBIT = (5.0, 10.0, 20.0, 50.0)
_RTT_MS, _HOLD_MS = 60.0, 10.0
_SETTLING_S = 2.0
_BLOB_BYTES = 20_000
# Every so many vertices are compared.
_VERTEX_STRIDE = 20


class Skin:
    """The demo clip's person, and where its skin is."""

    def __init__(self) -> None:
        self._space, self._body = LabelSpace.load(), BodyModel.load()
        labels = np.stack([concatenate(person.labels) for person in demo_truth(self._space, 0).people])
        self.truth = self.of(labels)

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
            receiver.take(line["seq"], line["captured_at"] - began_s, np.array(line["labels"], np.float32))
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


def measure(budget_kbit: float | None, blob_bytes: int, seconds: float, skin: Skin, *, quic: bool) -> Figures:
    """Runs sender and receiver under one budget.

    Raises:
        OutputError: a program failed; its error is printed above.
    """
    budget = [] if budget_kbit is None else ["--budget-kbit", str(budget_kbit)]
    source = ["--blob-bytes", str(blob_bytes), *budget]
    sent, packets = send_encrypted(_RTT_MS, _HOLD_MS, seconds, *source, quic=quic, sink_flags=["--with-labels"])
    began_s, span_s = sent.source[0]["began_at"], seconds - _SETTLING_S
    kbit = kbit_per_second(packets, began_s + _SETTLING_S, span_s)
    captured, shown = (np.array([line[key] for line in sent.shown]) for key in ("captured_at", "at"))
    ages = age_figures(display_ages(captured, shown, began_s + _SETTLING_S, began_s + seconds))
    frames_per_s = float((shown >= began_s + _SETTLING_S).sum()) / span_s
    error_mm, held_mm = displayed_mm(skin, sent.shown, began_s, began_s + seconds)
    return {
        "kbit_mean": float(kbit.mean()),
        "kbit_p95": percentile(kbit, 95),
        "bytes_per_frame": float(kbit.mean()) * 125 / frames_per_s,
        "frames_per_s": frames_per_s,
        "blob_bytes_per_s": sent.source[-1]["blob_bytes"] / seconds,
        "age_p50_ms": ages["age_p50_ms"],
        "age_p95_ms": ages["age_p95_ms"],
        "error_mm": error_mm,
        "held_mm": held_mm,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("budget", __doc__, 1)
    parser.add_argument("--quic", action="store_true", help="over QUIC instead of gRPC")
    report.add_amount(parser, "--seconds", "per budget", 40.0, 12.0, float)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    skin = Skin()
    systems: dict[str, Figures] = {}
    for budget_kbit in (*BUDGETS_KBIT, None):
        for blob_bytes in (0, _BLOB_BYTES):
            limit = "no budget" if budget_kbit is None else f"{budget_kbit:g} kbit/s"
            name = limit + (" beside a blob" if blob_bytes else "")
            systems[name] = measure(budget_kbit, blob_bytes, options.seconds, skin, quic=options.quic)
            report.progress(f"{name}: {systems[name]}")
    report.publish(options, systems, f"labels at {FPS:g} frames a second, TLS, {options.seconds:g} s a budget")


if __name__ == "__main__":
    sys.exit(main())
