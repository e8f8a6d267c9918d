"""Pictures over a simulated channel: `sender --channel`.

frame ─ window, at the rate of --channel-fps ─┐           ┌─ blob, with a later frame
                                  newest waits └─ encoder ─┘  (a thread beside the labels)
"""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from common.arrays import Image
from common.blobs import SIGNAL, Blob
from common.channel.diffusion import DiffusionDecoder, load_decoder
from common.channel.model import ImageChannel
from common.channel.physical import bandwidth_ratio, channel_uses
from common.channel.sequence import SequenceReceiver
from common.channel.signal_blob import SignalBlob, Window
from common.channel.state import PREAMBLE_USES, ChannelState
from common.channel.transmission import Transmitter, lengths_of, load_network, psnr_db
from common.errors import OutputError, UsageError
from common.frames import PersonLabels
from common.newest_calls import NewestCalls
from common.wire.convert import ChannelReport, Welcome
from sender.capture.source import CapturedFrame
from sender.jscc.channel_estimate import ChannelEstimate
from sender.jscc.config import JsccConfig
from sender.jscc.importance import importance_of
from sender.jscc.view import Views
from sender.link.observer import LinkObserver
from sender.metrics import SenderMetrics
from sender.perception.stage import ObservedPerson

logger = logging.getLogger(__name__)

# Of the times in a file, which are rounded.
_TIME_TOLERANCE_S = 1e-3
# Of the scheduler, where threads have one of their own (Linux): labels come first.
_NICENESS = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    sequence: int
    captured_at: float
    media_time_s: float
    image: Image
    window: Window
    observed: Sequence[ObservedPerson]


@dataclass(frozen=True, slots=True)
class _Totals:
    """Of the session; replaced as a whole, because another thread reads them."""

    pictures: int = 0
    uses: int = 0
    ratios: float = 0.0
    psnr_db: float = 0.0

    def plus(self, uses: int, ratio: float, psnr_db: float) -> "_Totals":
        return _Totals(self.pictures + 1, self.uses + uses, self.ratios + ratio, self.psnr_db + psnr_db)


class JsccStage(LinkObserver):
    """Encodes pictures in a thread of its own; is notified of the receiver by the link.

    Args:
        config: with a channel.

    Raises:
        WeightsError: the weights are missing or damaged.
        OutputError: the report cannot be written.
    """

    timed_as = None

    def __init__(
        self,
        config: JsccConfig,
        channel: ChannelState,
        metrics: SenderMetrics,
        network: ImageChannel | None = None,
        decoder: DiffusionDecoder | None = None,
    ) -> None:
        self._config, self._channel, self._metrics = config, channel, metrics
        self._fading, self._estimate = config.fading, ChannelEstimate(channel.snr_db)
        self._network = network or load_network()
        self._report = _open_report(config.channel_report)
        self._receiver: SequenceReceiver | None = None
        if self._report is not None:
            self._receiver = SequenceReceiver(self._network, decoder or load_decoder(), sequence=False)
        self._views = Views(config.channel_view, config.channel_side)
        self.due_s = -float("inf")
        """Time in the source from which on a frame is taken, seconds."""
        self._taken: bool | None = None
        self._failed = False
        self._totals = _Totals()
        metrics.channel_configured(channel.snr_db)
        self._calls = NewestCalls()
        self._thread = ThreadPoolExecutor(1, "channel", initializer=_yield_to_labels)
        self._encoded: SimpleQueue[Blob] = SimpleQueue()

    def connected(self, welcome: Welcome) -> None:
        if not welcome.takes_signals and self._taken is not False:
            logger.warning("the receiver is of an earlier version and takes no pictures of --channel: labels only")
        self._taken = welcome.takes_signals

    def channel_measured(self, report: ChannelReport) -> None:
        self._estimate.measured(report.sequence, report.snr_db)
        self._metrics.channel_measured(report.snr_db)

    def reset(self) -> None:
        self._views.reset()
        self._estimate.reset()
        self.due_s = -float("inf")

    def update(
        self, frame: CapturedFrame, observed: Sequence[ObservedPerson], people: Sequence[PersonLabels]
    ) -> list[Blob]:
        """Takes a frame, if one is due, and returns the blobs that have been made of earlier ones; does not wait."""
        if not self._taken:
            return []
        if frame.media_time_s >= self.due_s - _TIME_TOLERANCE_S:
            window = self._views.window(frame.image, observed)
            if window is not None:
                self.due_s = self._next_due_s(frame.media_time_s)
                task = _Task(frame.sequence, frame.captured_at, frame.media_time_s, frame.image, window, observed)
                if self._calls.put(SIGNAL, partial(self._encode, task), self._submit):
                    self._metrics.channel_picture_replaced()
        return [self._encoded.get() for _ in range(self._encoded.qsize())]

    def _next_due_s(self, now_s: float) -> float:
        """One interval later; pictures that could not be sent are not made up for."""
        interval_s = 1 / self._config.channel_fps
        regular_s = self.due_s + interval_s
        return regular_s if regular_s > now_s else now_s + interval_s

    def summary(self) -> str:
        totals = self._totals
        if not totals.pictures:
            return f"encoded no pictures for {self._config.channel}"
        line = f"encoded {totals.pictures} pictures for {self._config.channel}: "
        line += f"{totals.uses / totals.pictures:.0f} channel uses each, "
        line += f"bandwidth ratio 1/{totals.pictures / totals.ratios:.1f}"
        return line if self._report is None else f"{line}, PSNR {totals.psnr_db / totals.pictures:.2f} dB"

    def close(self) -> None:
        """Ends the thread after its present picture, and the report. Safe to call twice."""
        self._calls.drop()
        self._thread.shutdown()
        if self._report is not None:
            self._report.close()

    def _submit(self, call: Callable[[], None]) -> None:
        # What it raises is a bug: the callback passes it on to the log.
        self._thread.submit(call).add_done_callback(Future.result)

    def _encode(self, task: _Task) -> None:
        try:
            with self._metrics.stage("channel"):
                picture = self._views.cut(task.image, task.window)
                blob = self._blob(task, picture)
                content = blob.encode()
        except UsageError:
            self._metrics.channel_picture_failed()
            if not self._failed:
                self._failed = True
                logger.warning("--channel-rate is too low for pictures of much detail: some are left out")
            return
        ratio = bandwidth_ratio(blob.channel, blob.signal)
        uses = channel_uses(blob.channel, blob.signal)
        self._metrics.channel_picture_encoded(uses, ratio)
        quality_db = 0.0 if self._report is None else self._reported(blob, picture, uses, ratio)
        self._totals = self._totals.plus(uses, ratio, quality_db)
        self._estimate.sent(task.sequence, task.media_time_s)
        self._encoded.put(Blob(SIGNAL, 0, content))

    def _blob(self, task: _Task, picture: Image) -> SignalBlob:
        values = picture.size
        rate = self._config.rate - Fraction(PREAMBLE_USES, values)
        importance = importance_of(task.window, (picture.shape[0], picture.shape[1]), task.observed)
        channel, assumed = self._channel_at(task.media_time_s), self._estimate.assumed(task.media_time_s)
        self._metrics.channel_assumed(assumed.snr_db, assumed.age_s)
        believed = replace(channel, snr_db=assumed.snr_db)
        transmitter = Transmitter(self._network, believed, rate, quality_db=self._config.channel_quality)
        signal = transmitter.encode(picture, importance)
        lengths = lengths_of(self._network, signal)
        seed = self._config.channel_seed
        return SignalBlob(task.sequence, task.captured_at, task.window, channel, seed, signal, lengths)

    def _channel_at(self, time_s: float) -> ChannelState:
        """The channel that the receiver simulates for a picture of this time; the encoder does not know it."""
        if self._fading is None:
            return self._channel
        channel = replace(self._channel, snr_db=self._fading.snr_db(time_s))
        self._metrics.channel_configured(channel.snr_db)
        return channel

    def _reported(self, blob: SignalBlob, picture: Image, uses: int, ratio: float) -> float:
        """PSNR of what the receiver will have: the symbols as they are on the wire, and the same noise."""
        assert self._report is not None and self._receiver is not None
        arrived = self._receiver.decode(SignalBlob.decode(blob.encode()))
        quality_db = psnr_db(arrived.image, picture)
        line = {
            "sequence": blob.sequence,
            "snr_db": round(blob.channel.snr_db, 3),
            "assumed_snr_db": round(blob.signal.snr_db, 3),
            "psnr_db": round(quality_db, 3),
            "channel_uses": uses,
            "bandwidth_ratio": round(ratio, 6),
        }
        try:
            self._report.write(json.dumps(line) + "\n")
        except OSError as error:
            logger.warning("cannot write --channel-report: %s", error.strerror or error)
        return quality_db


def _yield_to_labels() -> None:
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _open_report(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    try:
        return path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another --channel-report") from error
