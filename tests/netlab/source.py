"""A sender without camera and networks, for one of two hosts: `python -m tests.netlab.source --peer H:P`.

Sends the demo clip's true labels, or `--labels`, there and back, at `--fps`, through importance, rate control, codec
and link as the sender does.  With `--blob-bytes` a blob is always in transfer beside them.
"""

import argparse
import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from common.blobs import Blob
from common.body.label_space import LabelSpace
from common.codec.frame_codec import FrameCodec
from common.codec.tables import LEVELS, RateDistortion
from common.codec.tables import load as load_tables
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import GROUP_NAMES, OPTIONAL_GROUPS, group_slices, split
from common.motion.label_track import MotionPredictor
from common.motion.network import LearnedMotion
from common.texture.face_picture import FaceChart
from common.wire.traffic import OTHER, PROBING, Traffic
from sender.config import LinkConfig
from sender.importance import Importance
from sender.link.client import LinkClient
from sender.link.diagnosis import SecurityConfig
from sender.link.quic_transport import QuicTransport
from sender.link.transport import Transport
from sender.link_account import LinkAccount
from sender.metrics import SenderMetrics
from sender.rate.controller import RateController
from sender.rate.policy import RateConfig
from sender.rate.rated_encoder import LabelsAhead, RatedEncoder
from tests.bench.bytes.rate import demo_truth
from tests.netlab.programs import MODEL, new_hello

Bypass = tuple[str, Any]
"""A part of rate control, and what takes its place."""


def equal_levels(table: RateDistortion, budget_bits: float, *unused: object) -> dict[str, float]:
    """In place of `allocate`: the finest level of all groups alike that meets a budget; ω sets their steps."""
    fits = np.flatnonzero(table.bits.sum(axis=0) <= budget_bits)
    level = fits[0] if len(fits) else LEVELS - 1
    return dict.fromkeys(GROUP_NAMES, float(level) / (LEVELS - 1))


def equal_steps(table: RateDistortion, budget_bits: float, *unused: object) -> dict[str, float]:
    """In place of `allocate`: one quantiser step, in σ, for all groups, as fine as meets a budget; ω sets none."""
    base, most = load_tables().base_step, LEVELS - 1
    finest = np.array([np.log2(base[entries]).mean() for entries in group_slices().values()])
    counted = ~np.isin(GROUP_NAMES, OPTIONAL_GROUPS)
    for step in range(round(3 * np.ptp(finest)) + most):
        levels = np.clip(np.rint(step - 3 * (finest - finest.min())), 0, most).astype(int)
        if table.bits[np.arange(len(levels)), levels][counted].sum() <= budget_bits:
            break
    return {name: int(level) / most for name, level in zip(GROUP_NAMES, levels, strict=True)}


BYPASSES: Mapping[str, Bypass] = {
    "omega": ("common.codec.tables.RateDistortion.allocate", equal_steps),
    "allocation": ("common.codec.tables.RateDistortion.allocate", equal_levels),
    "rho": ("sender.rate.controller._STEPS", range(1)),
    "bundles": ("sender.rate.controller._LABELS_PER_S", 0.0),
    "ahead": ("sender.rate.controller._AHEAD_SHARE", 0.0),
    "fps": ("sender.rate.controller._LABELS_PER_S", 30.0),
}
"""No ω; groups at one level; ρ fixed at its least; no bundles; labels as captured; every frame sent."""


class _Account(LinkAccount):
    """Keeps when the receiver was lost, seconds since the epoch."""

    def __init__(self, rate: RateController, metrics: SenderMetrics) -> None:
        super().__init__(rate, metrics)
        self.losses = list[float]()

    def disconnected(self, reason: str) -> None:
        super().disconnected(reason)
        self.losses.append(time.time())


CAMERA, _CHART = Camera(640, 480, 600.0), 128


def loaded_motion() -> Future[MotionPredictor]:
    """The predictor, at once: in simulated time nothing is loaded beside the frames."""
    loaded = Future[MotionPredictor]()
    loaded.set_result(LearnedMotion.load())
    return loaded


def there_and_back(number: int, length: int) -> int:
    """The frame of a clip that is played forwards and backwards in turn: nobody jumps from its end to its beginning."""
    place = number % (2 * length - 2)
    return min(place, 2 * length - 2 - place)


def talking(person: PersonLabels, number: int) -> PersonLabels:
    """With a face in its chart, of which spots move as eyes and lips do."""
    down, across = np.mgrid[:_CHART, :_CHART] / _CHART
    chart = np.stack([150 + 60 * across, 120 + 50 * down, 100 + 40 * across * down], axis=-1)
    opened = 0.03 + 0.03 * np.sin(number / 4)
    for x, y, width in ((0.33, 0.35, 0.06), (0.67, 0.35, 0.06), (0.5, 0.75, 0.12)):
        chart[np.hypot((across - x) / width, (down - y) / opened) < 1] = 40 + 20 * np.cos(number / 9)
    return replace(person, face_landmarks=100 * FaceChart.load().landmarks, face_chart=chart.astype(np.uint8))


async def send(options: argparse.Namespace, people: Sequence[PersonLabels]) -> None:
    """A live source for `--seconds`: a frame at every tick, without waiting for the one before.

    Prints when it started and, at the end, its counters and the estimated capacity: (seconds, bit/s, whether it is no
    lower bound) per frame.
    """
    config = LinkConfig(peer=options.peer, connect_timeout=30.0, budget_kbit=options.budget_kbit)
    traffic = Traffic()
    rate = RateController(RateConfig(policy=options.policy), None, config.budget_bps, lambda: traffic.message_cost)
    metrics = SenderMetrics()
    # Loaded during the first frame, it would delay that.
    motion = loaded_motion()
    encoder = RatedEncoder(FrameCodec(options.model), Importance.load(), rate, metrics, LabelsAhead(lambda: motion))
    account = _Account(rate, metrics)
    transport = Transport(SecurityConfig(insecure=options.tls_ca is None, tls_ca=options.tls_ca))
    link = LinkClient(
        config,
        new_hello("source", options.model, live=True),
        encoder,
        observer=account,
        pacer=rate,
        traffic=traffic,
        transport=QuicTransport(transport, config.round_trip_s) if options.quic else transport,
    )
    await link.connect()
    await asyncio.sleep(max(0.0, options.start_at - time.time()))
    began_s, wall_s = time.monotonic(), time.time()
    print(json.dumps({"began_at": wall_s}), flush=True)
    estimates: list[tuple[float, float | None, bool]] = []
    for sequence in range(int(options.seconds * options.fps)):
        await asyncio.sleep(max(0.0, began_s + sequence / options.fps - time.monotonic()))
        person = people[there_and_back(sequence, len(people))]
        person = talking(person, sequence) if options.faces else person
        frame = LabelFrame(sequence, "demo", time.time(), CAMERA, (person,))
        rate.on_offered(time.monotonic() * 1e3)
        if options.blob_bytes:
            link.post(Blob("noise", 0, secrets.token_bytes(options.blob_bytes)))
        await link.send(frame)
        capacity = rate.state.capacity
        estimates.append((sequence / options.fps, capacity.bps, capacity.measured))
    await link.close()
    counters = {
        "losses": account.losses,
        "acknowledged": account.acknowledged_frames,
        "payload_bytes": account.payload_bytes,
        "blob_bytes": traffic.by_purpose().get(OTHER, 0),
        "probing_bytes": traffic.by_purpose().get(PROBING, 0),
        "link_bytes": traffic.total_bytes,
        "by_purpose": dict(traffic.by_purpose()),
    }
    print(json.dumps({**counters, "capacity_bps": estimates, "f": rate.state.f}), flush=True)


def flags(program: str) -> argparse.ArgumentParser:
    """Those of the source."""
    parser = argparse.ArgumentParser(f"python -m {program}")
    parser.add_argument("--peer", type=Address.parse, required=True)
    parser.add_argument("--policy", choices=("capacity", "paper", "fixed"), default="capacity")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument(
        "--start-at", type=float, default=0.0, help="when the first frame is captured, seconds since the epoch"
    )
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--budget-kbit", type=float, help="as the sender's option")
    parser.add_argument("--bypass", choices=BYPASSES, help="a part of rate control that is left out")
    parser.add_argument("--blob-bytes", type=int, default=0, help="size of the blobs sent beside the frames")
    parser.add_argument("--faces", action="store_true", help="with a live face")
    parser.add_argument("--labels", type=Path, help="other labels (N, LABEL_SIZE) than the demo clip's true ones, .npy")
    parser.add_argument("--model", type=bytes.fromhex, default=MODEL, help="of the receiver, hexadecimal")
    parser.add_argument("--tls-ca", type=Path, help="encrypt; the authority of the receiver's certificate")
    parser.add_argument("--quic", action="store_true", help="send over QUIC, with --tls-ca")
    return parser


def bypassed(name: str | None) -> AbstractContextManager[object]:
    """Rate control without a part; whole for None."""
    return patch(*BYPASSES[name]) if name else nullcontext()


def people_of(options: argparse.Namespace) -> Sequence[PersonLabels]:
    """Whom the options have the source send, frame by frame."""
    if options.labels is None:
        return demo_truth(LabelSpace.load(), 0).people
    return [PersonLabels(0, 1.0, split(row)) for row in np.load(options.labels)]


def main() -> None:
    options = flags("tests.netlab.source").parse_args()
    with bypassed(options.bypass):
        asyncio.run(send(options, people_of(options)))


if __name__ == "__main__":
    main()
