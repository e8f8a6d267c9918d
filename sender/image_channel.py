"""The pictures of an analogue session, most of them spent on what matters of people.

Pictures over a simulated channel: `sender --channel`.

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

import cv2
import numpy as np

from common.arrays import ByteArray, FloatArray
from common.blobs import SIGNAL, Blob
from common.body.anatomy import REGION_INDEX
from common.channel.channel import SignalBlob
from common.channel.image_codec import ImageChannel, encode, load_network
from common.channel.state import MAX_SIDE_PX, ChannelState
from common.errors import UsageError
from common.frames import PersonLabels
from common.imaging.grid import latent_grid
from sender.capture.source import CapturedFrame
from sender.lookahead import Perceived
from sender.metrics import SenderMetrics
from sender.perception.crop import CropBox
from sender.perception.track import ObservedPerson

# Of the part maps, in which 0 is the background.
_FINE_PARTS = tuple(1 + REGION_INDEX[name] for name in ("face", "hand.L", "hand.R"))
# Samples of the maps in each direction of a latent position.
_SAMPLES = 4
# Share of a position that a person, and a face or hand, has to cover.  With 0.1 for people too, the channel moves
# 13.3 % of the keypoints of held-back photographs instead of 12.6 %; PSNR is the same.
_LEAST_COVER = 0.3
_LEAST_FINE_COVER = 0.1


def importance_of(window: CropBox, side_px: int, observed: Sequence[ObservedPerson]) -> ByteArray | None:
    """Level (H/16, W/16) of each latent position: 2 on faces and hands, 1 on people; None if nobody is in the window.

    Args:
        window: the square of the frame that is sent, upright.
        side_px: of its picture.
    """
    levels = np.zeros(latent_grid((side_px, side_px)), np.uint8)
    for person in observed:
        mask = person.output.mask_logits[0].float().numpy() > 0
        fine = mask & np.isin(person.output.part_logits[0].argmax(0).numpy(), _FINE_PARTS)
        for level, covered, least in ((1, mask, _LEAST_COVER), (2, fine, _LEAST_FINE_COVER)):
            cover = _cover(covered.astype(np.float32), person, window, len(levels))
            levels = np.maximum(levels, level * (cover > least).astype(np.uint8))
    return levels if levels.any() else None


def _cover(shown: FloatArray, person: ObservedPerson, window: CropBox, positions: int) -> FloatArray:
    """(positions, positions) share of each position that a map of a person's crop covers."""
    samples = positions * _SAMPLES
    # Centres of texels and of samples are at halves.
    texels = (np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) + 0.5) / len(shown)
    origin, right, below = window.to_units(person.crop.to_pixels(texels.astype(np.float32))) * samples - 0.5
    transform = np.stack([right - origin, below - origin, origin], axis=1)
    sampled = cv2.warpAffine(shown, transform, (samples, samples), flags=cv2.INTER_LINEAR)
    return np.asarray(sampled.reshape(positions, _SAMPLES, positions, _SAMPLES).mean((1, 3)), np.float32)


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
