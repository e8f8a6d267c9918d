"""The receiver of a sequence of pictures over a simulated channel."""

from dataclasses import dataclass

import torch

from common.arrays import Image
from common.channel.latent_filter import LatentFilter, estimated_latents
from common.channel.model import ImageChannel
from common.channel.physical import bandwidth_ratio, carry_picture, channel_uses, picture_generator
from common.channel.signal_blob import SignalBlob, Window
from common.errors import MalformedPacket
from common.imaging.transforms import as_image
from common.weights.devices import fast_autocast

# Apart from the noise of the channel.
_OTHER_SEED = 1


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
        sequence: whether they are a sequence; else each is decoded by itself.
    """

    def __init__(self, network: ImageChannel, *, sequence: bool = True) -> None:
        self._network = network
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
        with fast_autocast():
            image = as_image(self._network.synthesis(latents))[: signal.size[0], : signal.size[1]]
        uses, ratio = channel_uses(blob.channel, signal), bandwidth_ratio(blob.channel, signal)
        return SequencePicture(image, arrived.measured_snr_db, uses, ratio, share)
