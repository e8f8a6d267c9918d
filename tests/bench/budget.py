"""Labels under `--budget-kbit`: `python -m tests.bench.budget`.

Two hosts as in `tests.bench.wire`, encrypted, over a link without limit and a round trip of 60 ms.  The sender sends
the labels of the demo clip at 30 frames a second, alone and beside a blob that is always in transfer:

    kbit_mean, kbit_p95   everything at the sender's network device in both directions, each second; without the first
                          two, in which the connection is made
    frames_per_s          frames shown; the others were left out
    blob_bytes_per_s      of blobs that left
    age_p50_ms, p95       age of the newest frame shown, at any moment
    error_mm              distance of the skin shown from where it is at that moment, mean over time

Needs root, for the namespaces.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.labels import concatenate
from tests.bench import report
from tests.bench.link import display_ages
from tests.bench.link import figures as age_figures
from tests.bench.measures import mean_distance_mm, percentile
from tests.bench.rate import demo_truth
from tests.bench.wire import FPS, Figures, Packets, send_encrypted
from tests.netlab.hosts import require_hosts

BUDGETS_KBIT = (5.0, 10.0, 20.0, 50.0)
_RTT_MS, _HOLD_MS = 60.0, 10.0
_SETTLING_S = 2.0
_BLOB_BYTES = 20_000
# Every so many vertices are compared.
_VERTEX_STRIDE = 20


@torch.inference_mode()
def skins() -> FloatArray:
    """(N, V, 3) some vertices of the demo clip's person, metres, frame by frame."""
    space, body = LabelSpace.load(), BodyModel.load()
    labels = np.stack([concatenate(person.labels) for person in demo_truth(space, 0).people])
    found = [body(space.decode(part)).vertices[:, ::_VERTEX_STRIDE] for part in torch.from_numpy(labels).split(16)]
    return torch.cat(found).numpy()


def staleness_mm(vertices: FloatArray, shown: Sequence[tuple[int, float]], begin_s: float, end_s: float) -> float:
    """Mean distance, over the ticks of the source between two moments, from the newest frame shown to the present one.

    Args:
        vertices: (N, V, 3) of a clip that the source repeats.
        shown: number of each frame and when it was shown, seconds from frame 0 on.
    """
    numbers, at_s = (
        np.array(column, np.float64) for column in zip(*sorted(shown, key=lambda one: one[1]), strict=True)
    )
    newest = np.maximum.accumulate(numbers).astype(int)
    found = []
    for tick in range(int(begin_s * FPS), int(end_s * FPS)):
        index = int(np.searchsorted(at_s, tick / FPS, side="right")) - 1
        if index >= 0:
            pair = vertices[newest[index] % len(vertices)], vertices[tick % len(vertices)]
            found.append(mean_distance_mm(*pair))
    return float(np.mean(found)) if found else float("nan")


def kbit_per_second(packets: Packets, began_s: float, seconds: float) -> Float64Array:
    """(N,) kilobits in each full second from a moment on."""
    second = np.floor(packets.at_s - began_s).astype(int)
    inside = (second >= 0) & (second < int(seconds))
    return np.bincount(second[inside], weights=packets.size[inside], minlength=int(seconds)) * 8 / 1e3


def measure(budget_kbit: float | None, blob_bytes: int, seconds: float, vertices: FloatArray) -> Figures:
    """Runs sender and receiver under one budget.

    Raises:
        OutputError: a program failed; its error is printed above.
    """
    budget = [] if budget_kbit is None else ["--budget-kbit", str(budget_kbit)]
    sent, packets = send_encrypted(_RTT_MS, _HOLD_MS, seconds, "--blob-bytes", str(blob_bytes), *budget)
    began_s, span_s = sent.source[0]["began_at"], seconds - _SETTLING_S
    kbit = kbit_per_second(packets, began_s + _SETTLING_S, span_s)
    captured, shown = (np.array([line[key] for line in sent.shown]) for key in ("captured_at", "at"))
    ages = age_figures(display_ages(captured, shown, began_s + _SETTLING_S, began_s + seconds))
    late = [(line["seq"], line["at"] - began_s) for line in sent.shown]
    return {
        "kbit_mean": float(kbit.mean()),
        "kbit_p95": percentile(kbit, 95),
        "frames_per_s": float((shown >= began_s + _SETTLING_S).sum()) / span_s,
        "blob_bytes_per_s": sent.source[-1]["blob_bytes"] / seconds,
        "age_p50_ms": ages["age_p50_ms"],
        "age_p95_ms": ages["age_p95_ms"],
        "error_mm": staleness_mm(vertices, late, _SETTLING_S, seconds),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("budget", __doc__, 1)
    report.add_amount(parser, "--seconds", "per budget", 40.0, 12.0, float)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    require_hosts()
    vertices = skins()
    systems: dict[str, Figures] = {}
    for budget_kbit in (*BUDGETS_KBIT, None):
        for blob_bytes in (0, _BLOB_BYTES):
            limit = "no budget" if budget_kbit is None else f"{budget_kbit:g} kbit/s"
            name = limit + (" beside a blob" if blob_bytes else "")
            systems[name] = measure(budget_kbit, blob_bytes, options.seconds, vertices)
            report.progress(f"{name}: {systems[name]}")
    report.publish(options, systems, f"labels at {FPS:g} frames a second, TLS, {options.seconds:g} s a budget")


if __name__ == "__main__":
    sys.exit(main())
