"""Pictures over a simulated channel: `sender --channel`.

The square around the largest person is encoded in a thread beside the labels, for a channel whose SNR the sender knows;
the blob leaves with a later frame, and the receiver lets noise and fading act on its symbols.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

from common.blobs import SIGNAL, Blob
from common.channel.channel import SignalBlob
from common.channel.image_codec import ImageChannel, encode, load_network
from common.channel.state import MAX_SIDE_PX, ChannelState
from common.errors import UsageError
from common.frames import PersonLabels
from sender.capture.source import CapturedFrame
from sender.jscc.importance import importance_of
from sender.lookahead import Perceived
from sender.metrics import SenderMetrics
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson

logger = logging.getLogger(__name__)

# Between pictures, in the time of the source: as many as an encoder beside the labels makes on two cores.
_INTERVAL_S = 0.2
# Of the times in a file, which are rounded.
_TIME_TOLERANCE_S = 1e-3
# A person who is detected with less is often none.
_MIN_SCORE = 0.5
# Of the scheduler, where threads have one of their own (Linux): labels come first.
_NICENESS = 10


class JsccStage:
    """Encodes pictures in a thread of its own; frames that come meanwhile are left out.

    Args:
        rate: bandwidth ratio that no picture exceeds.

    Raises:
        WeightsError: the weights are missing or damaged.
    """

    timed_as = None

    def __init__(
        self, channel: ChannelState, rate: Fraction, metrics: SenderMetrics, network: ImageChannel | None = None
    ) -> None:
        self._channel, self._rate, self._metrics = channel, rate, metrics
        self._network = network or load_network()
        self._thread = ThreadPoolExecutor(1, "channel", initializer=_yield_to_labels)
        self._encoding: Future[SignalBlob | None] | None = None
        self._due_s = -float("inf")

    def update(self, perceived: Perceived, people: Sequence[PersonLabels]) -> list[Blob]:
        """Takes a frame, if one is due, and returns the blob of an earlier one; does not wait."""
        blobs, frame, observed = self._collect(), perceived.frame, perceived.observed
        if perceived.begins:
            self._due_s = -float("inf")
        seen = [person for person in observed if person.score >= _MIN_SCORE]
        if self._encoding is None and seen and frame.media_time_s >= self._due_s - _TIME_TOLERANCE_S:
            # Pictures that could not be sent are not made up for.
            regular_s = self._due_s + _INTERVAL_S
            self._due_s = regular_s if regular_s > frame.media_time_s else frame.media_time_s + _INTERVAL_S
            largest = max(seen, key=lambda person: person.crop.side)
            window = replace(largest.crop, roll=0.0)
            self._encoding = self._thread.submit(self._encode, frame, window, observed)
        return blobs

    def _collect(self) -> list[Blob]:
        if self._encoding is None or not self._encoding.done():
            return []
        blob, self._encoding = self._encoding.result(), None
        if blob is None:
            self._metrics.channel_picture("failed")
            return []
        self._metrics.channel_picture("encoded", blob.signal.uses)
        return [Blob(SIGNAL, 0, blob.encode())]

    def _encode(self, frame: CapturedFrame, window: CropBox, observed: Sequence[ObservedPerson]) -> SignalBlob | None:
        """None if the rate is too low for the picture; runs in the thread."""
        picture = window.cut(frame.image, MAX_SIDE_PX)
        importance = importance_of(window, MAX_SIDE_PX, observed)
        try:
            with self._metrics.stage("channel"):
                signal = encode(self._network, picture, self._channel, self._rate, importance)
        except UsageError:
            return None
        square = (window.left, window.top, window.side)
        return SignalBlob(frame.sequence, frame.captured_at, square, self._channel, signal)

    def close(self) -> None:
        """Ends the thread after its present picture. Safe to call twice."""
        self._thread.shutdown()


def _yield_to_labels() -> None:
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
