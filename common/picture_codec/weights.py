"""The weights of the picture codec: what decides symbols is stored as integers."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.arrays import IntArray
from common.codec.tables import ALPHABET
from common.errors import WeightsError
from common.imaging.entropy import FactorisedPrior
from common.picture_codec.codec import PictureCodec
from common.picture_codec.fixed_point import BIAS_BITS, WEIGHT_BITS, FixedPointConv
from common.picture_codec.mask import MaskCodec
from common.picture_codec.network import PictureCodecConfig, PictureCodecNetwork
from common.picture_codec.tables import PictureTables, frequencies_of, latent_frequencies
from common.weights.loader import architecture_of, load_weights, save_weights
from common.weights.manifest import WEIGHTS_DIRECTORY, WeightsEntry, find_entry, recorded_config

NAME = "picture_codec"
KIND = "picture_codec"
_FREQUENCIES, _MASK_ONES = "tables.frequencies", "tables.mask_ones"
_EXACT = "hyper_synthesis."
_DIGEST_BYTES = 8


@lru_cache(maxsize=1)
def load_codecs(directory: Path = WEIGHTS_DIRECTORY) -> tuple[PictureCodec, MaskCodec]:
    """The trained codecs of pictures and of masks, the same objects at every call.

    Raises:
        WeightsError: the weights are missing, damaged or of another version.
    """
    tensors = _tensors(directory)
    network = _network(directory)
    network.hyper_synthesis.double()
    digest = codec_digest(directory)
    try:
        tables = PictureTables(_integers(tensors.pop(_FREQUENCIES)))
        masks = MaskCodec(_integers(tensors.pop(_MASK_ONES)))
        network.load_state_dict(_from_integers(tensors))
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"weights {NAME!r} are of another version than this program: reinstall bodywire") from error
    return PictureCodec(network.requires_grad_(False), tables, digest), masks


def codec_digest(directory: Path = WEIGHTS_DIRECTORY) -> bytes:
    """8 bytes that are equal at two ends which can decode each other's pictures.

    Raises:
        WeightsError: the manifest is missing or damaged, or has no picture codec.
    """
    return bytes.fromhex(find_entry(NAME, directory).sha256)[:_DIGEST_BYTES]


def load_network(directory: Path = WEIGHTS_DIRECTORY) -> PictureCodecNetwork:
    """The trained network in float32, to train it further; errors as for `load_codecs`."""
    tensors = _tensors(directory)
    network = _network(directory)
    try:
        del tensors[_FREQUENCIES], tensors[_MASK_ONES]
        network.load_state_dict(_from_integers(tensors))
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"weights {NAME!r} are of another version than this program: reinstall bodywire") from error
    return network


def save_network(
    network: PictureCodecNetwork,
    mask_ones: IntArray,
    recipe: Mapping[str, Any],
    scores: Mapping[str, Any],
    directory: Path = WEIGHTS_DIRECTORY,
) -> WeightsEntry:
    """Writes the weights with the tables that they imply.

    Args:
        mask_ones: of `MaskCodec`.
        recipe, scores, directory: as for `save_weights`.
    """
    tensors = {**network.state_dict(), **_as_integers(network)}
    frequencies = np.concatenate([latent_frequencies(), _hyper_frequencies(network.prior)])
    tensors[_FREQUENCIES] = torch.from_numpy(frequencies.astype(np.int32))
    tensors[_MASK_ONES] = torch.from_numpy(mask_ones.astype(np.int32))
    architecture = {"kind": KIND, **architecture_of(network.config)}
    return save_weights(NAME, tensors, architecture, recipe, scores, storage="float16", directory=directory)


def _network(directory: Path) -> PictureCodecNetwork:
    return PictureCodecNetwork(recorded_config(NAME, KIND, PictureCodecConfig, directory))


def _tensors(directory: Path) -> dict[str, Tensor]:
    return load_weights(NAME, None, directory)


def _integers(tensor: Tensor) -> IntArray:
    return tensor.numpy().astype(np.int64)


def _as_integers(network: PictureCodecNetwork) -> dict[str, Tensor]:
    """Weights and biases of the hyper synthesis in units of the last bit."""
    found: dict[str, Tensor] = {}
    for name, layer in network.hyper_synthesis.named_modules():
        if isinstance(layer, FixedPointConv):
            weight, bias = layer.on_grid()
            found[f"{_EXACT}{name}.weight"] = (weight * 2**WEIGHT_BITS).to(torch.int16)
            found[f"{_EXACT}{name}.bias"] = (bias * 2**BIAS_BITS).to(torch.int32)
    return found


def _from_integers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `_as_integers`, in float64."""
    bits = {"weight": WEIGHT_BITS, "bias": BIAS_BITS}
    return {
        name: value.double() * 2.0 ** -bits[name.rsplit(".", 1)[1]] if name.startswith(_EXACT) else value
        for name, value in tensors.items()
    }


@torch.no_grad()
def _hyper_frequencies(prior: FactorisedPrior) -> IntArray:
    """(C, SYMBOLS) of each channel of hyper latents."""
    whole = torch.arange(-ALPHABET, ALPHABET + 1, dtype=torch.float32)
    channels = len(prior.logits)
    bits = prior.bits(whole.expand(1, channels, 1, -1))[0, :, 0]
    return frequencies_of(np.exp2(-bits.double().numpy()))
