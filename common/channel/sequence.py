"""The receiver of a sequence of pictures over a simulated channel."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from common.arrays import Image
from common.channel.diffusion import DiffusionDecoder, sample
from common.channel.jscc import position_snr_db
from common.channel.lengths import scattered
from common.channel.model import ImageChannel, Reconstruction
from common.channel.physical import (
    Received,
    bandwidth_ratio,
    carry_picture,
    channel_uses,
    complex_normal,
    picture_generator,
)
from common.channel.signal_blob import SignalBlob, Window
from common.errors import MalformedPacket
from common.imaging.entropy import Statistics
from common.imaging.transforms import as_image
from common.weights.devices import fast_autocast

# Apart from the noise of the channel.
_OTHER_SEED = 1


_PERTURBATIONS = 4
_LEAST_VARIANCE = 1e-3


@torch.no_grad()
def estimated_latents(
    network: ImageChannel, received: Received, statistics: Statistics, lengths: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Latents of a picture (1, latents, H/16, W/16), and the variance of their error by the channel alone.

    The variance is measured: the decoder runs on the symbols again with as much noise added as is in them.

    Args:
        received: the symbols in the order of sending.
        lengths: (1, H/16, W/16) symbols of each position.
    """
    snr_db = position_snr_db(scattered(received.snr, lengths), lengths)
    deviation = received.snr.sqrt() / (1 + received.snr)
    noisy = [
        received.symbols + deviation * complex_normal(received.symbols.shape, generator) for _ in range(_PERTURBATIONS)
    ]
    symbols = torch.cat([scattered(each, lengths) for each in (received.symbols, *noisy)])
    count = len(symbols)
    repeated = Statistics(*(each.expand(count, -1, -1, -1) for each in statistics))
    latents = network.decoder(symbols, repeated, snr_db.expand(count, -1, -1), lengths.expand(count, -1, -1))
    return latents[:1], (latents[1:] - latents[:1]).square().mean(0, keepdim=True)


class LatentFilter:
    """A Kalman filter of the latents of pictures of the same place: earlier ones are side information of the receiver.

    The sender does not know what the noise of the channel left of earlier pictures, and cannot send differences to
    that.  So each picture is sent by itself, and the receiver takes its latents from earlier pictures as further
    measurements of what has not moved (Wyner and Ziv 1976: side information at the decoder alone).

        estimate ŷ, error R of it by the channel ─┐
        state x of the picture before, error P ───┴─ x ← ŷ + K (x − ŷ),  K = R / ((R + P) m²)

    m is the normalised innovation squared, the mean of (ŷ − x)² / (R + P) over the channels of nine positions: 1 where
    only noise has changed.  An adaptive Kalman filter that adds the excess to P has a weight with 1/m.  With 1/m²,
    which was chosen on panned photographs, no picture loses where things move.
    """

    def __init__(self) -> None:
        self._state: tuple[Tensor, Tensor] | None = None
        self.share = 0.0
        """Mean weight of the earlier pictures in the last one, 0…1."""

    def reset(self) -> None:
        """Forgets earlier pictures: the next one shows another place."""
        self._state = None

    def update(self, estimate: Tensor, variance: Tensor) -> Tensor:
        """Latents of the newest picture; shapes as of `estimated_latents`."""
        variance = _around(variance) + _LEAST_VARIANCE
        if self._state is None or self._state[0].shape != estimate.shape:
            self._state, self.share = (estimate, variance), 0.0
            return estimate
        state, state_variance = self._state
        sum_variance = variance + state_variance
        innovation = _around(((estimate - state).square() / sum_variance).mean(1, keepdim=True)).clamp_min(1.0)
        weight = variance / (sum_variance * innovation.square())
        latents = estimate + weight * (state - estimate)
        changed = state_variance + (innovation - 1) * sum_variance
        self._state = latents, (1 - weight).square() * variance + weight.square() * changed
        self.share = float(weight.mean())
        return latents


def _around(values: Tensor) -> Tensor:
    """Means over nine positions, fewer at the border."""
    return functional.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)


@dataclass(frozen=True, slots=True, eq=False)
class SequencePicture:
    """A picture that has arrived.

    Args:
        image: (H, W, 3) RGB of 8 bits.
        measured_snr_db: from the preamble; None if it had no noise.
        uses: channel uses of everything.
        bandwidth_ratio: of the same, per colour value of a pixel.
        earlier_share: mean weight of earlier pictures in it, 0…1.
    """

    image: Image
    measured_snr_db: float | None
    uses: int
    bandwidth_ratio: float
    earlier_share: float


class SequenceReceiver:
    """Decodes the pictures of one session, with those before as side information.

    Args:
        decoder: takes one step of diffusion from the plain decoder's picture; None for that picture.
        sequence: whether they are a sequence; else each is decoded by itself.
    """

    def __init__(
        self, network: ImageChannel, decoder: DiffusionDecoder | None = None, *, sequence: bool = True
    ) -> None:
        self._network = network
        self._decoder = decoder
        self._filter = LatentFilter() if sequence else None
        self._window: Window | None = None

    @torch.no_grad()
    def decode(self, blob: SignalBlob) -> SequencePicture:
        """Sends the symbols over the channel and makes a picture of what arrives.

        Raises:
            MalformedPacket: the hyper latents are of another network, or give no finite latents.
        """
        signal = blob.signal
        if signal.hyper_latents.shape[1] != self._network.config.hyper_latents:
            raise MalformedPacket("a picture of another network")
        arrived = carry_picture(blob.channel, signal.symbols, blob.seed, blob.sequence)
        statistics = self._network.statistics(signal.hyper_latents, signal.grid)
        generator = picture_generator(blob.seed ^ _OTHER_SEED, blob.sequence)
        with fast_autocast():
            latents, variance = estimated_latents(self._network, arrived.received, statistics, blob.lengths, generator)
        if not (torch.isfinite(latents).all() and torch.isfinite(variance).all()):
            raise MalformedPacket("a picture without finite latents")
        share = 0.0
        if self._filter is not None:
            if blob.window != self._window:
                self._filter.reset()
            latents = self._filter.update(latents, variance)
            share = self._filter.share
        self._window = blob.window
        image = self._picture(latents, arrived.received, blob, generator)[: signal.size[0], : signal.size[1]]
        uses, ratio = channel_uses(blob.channel, signal), bandwidth_ratio(blob.channel, signal)
        return SequencePicture(image, arrived.measured_snr_db, uses, ratio, share)

    def _picture(self, latents: Tensor, received: Received, blob: SignalBlob, generator: torch.Generator) -> Image:
        with fast_autocast():
            pictures = self._network.synthesis(latents)
            if self._decoder is not None:
                snr_db = position_snr_db(scattered(received.snr, blob.lengths), blob.lengths)
                state = Reconstruction(pictures, latents, snr_db, blob.lengths)
                pictures = sample(self._decoder, state, generator)
        return as_image(pictures)
