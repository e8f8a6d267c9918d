"""Pictures through the image channel with exact accounting of channel uses."""

import math
from fractions import Fraction

import torch

from common.arrays import ByteArray, Image
from common.channel.importance import map_bits, weights_of
from common.channel.jscc import position_snr_db
from common.channel.lengths import gathered, scattered
from common.channel.model import ImageChannel, ImageChannelConfig
from common.channel.physical import Received, capacity_bits
from common.channel.signal import Signal
from common.channel.state import LENGTHS, ChannelState
from common.errors import MalformedPacket, UsageError
from common.imaging.entropy import rounded
from common.imaging.grid import latent_grid
from common.imaging.transforms import as_image, padded
from common.weights.devices import fast_autocast
from common.weights.loader import load_recorded

WEIGHTS_NAME = "image_channel"
KIND = "image_channel"


def load_network() -> ImageChannel:
    """The trained image channel. Raises WeightsError if the weights are missing, damaged or of another version."""
    return load_recorded(WEIGHTS_NAME, KIND, ImageChannelConfig, ImageChannel)


@torch.no_grad()
def encode(
    network: ImageChannel, picture: Image, channel: ChannelState, rate: Fraction, importance: ByteArray | None = None
) -> Signal:
    """The signal of a picture (H, W, 3) of 8 bits.

    Args:
        rate: bandwidth ratio that must not be exceeded: channel uses per colour value of a pixel.
        importance: (H/16, W/16) level of each position (`common.channel.importance`), sent as side information where
            it has room.

    Raises:
        UsageError: the rate is too low for the picture.
    """
    size = (picture.shape[0], picture.shape[1])
    with fast_autocast():
        source = network.source(padded(picture))
    hyper_latents = rounded(source.z)
    hyper_bits, positions = float(network.side_bits(hyper_latents)), math.prod(latent_grid(size))
    values, least_uses = 3 * size[0] * size[1], LENGTHS[0] * positions
    most_uses = int(rate * values)
    side_uses = math.ceil((hyper_bits + map_bits(importance)) / capacity_bits(channel))
    if side_uses + least_uses > most_uses:
        importance, side_uses = None, math.ceil(hyper_bits / capacity_bits(channel))
    if side_uses + least_uses > most_uses:
        enough = int(values / (least_uses + side_uses))
        raise UsageError(f"--rate {rate} is too low for this picture and channel: use at least 1/{enough}")
    mean_length = torch.tensor([(most_uses - side_uses) / positions], dtype=torch.float64)
    lengths = network.lengths(source.statistics, mean_length, torch.tensor([channel.snr_db]), weights_of(importance))
    with fast_autocast():
        symbols = network.encode(source, torch.full(lengths.shape, channel.snr_db), lengths)
    return Signal(gathered(symbols, lengths), lengths, hyper_latents, size, side_uses)


@torch.no_grad()
def decode(network: ImageChannel, signal: Signal, received: Received) -> Image:
    """The picture (H, W, 3) of 8 bits.

    Args:
        signal: all but its symbols is known to the receiver.
        received: what the channel left of the symbols.

    Raises:
        MalformedPacket: the signal was made by another network.
    """
    if signal.hyper_latents.shape[1] != network.config.hyper_latents:
        raise MalformedPacket("a picture of another network")
    lengths = signal.lengths
    statistics = network.statistics(signal.hyper_latents, latent_grid(signal.size))
    snr_db = position_snr_db(scattered(received.snr, lengths), lengths)
    with fast_autocast():
        pictures = network.decode(scattered(received.symbols, lengths), statistics, snr_db, lengths)
    return as_image(pictures)[: signal.size[0], : signal.size[1]]
