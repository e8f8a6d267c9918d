"""What sends pictures over the simulated channel: trained networks, and file formats at its capacity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch

from common.arrays import Image
from common.channel import transmission
from common.channel.diffusion import load_decoder
from common.channel.model import ImageChannel
from common.channel.physical import capacity_bits, carry
from common.channel.state import ChannelState
from common.channel.transmission import Completion, Transmitter, decode
from common.imaging.transforms import as_image, padded
from common.weights.manifest import WEIGHTS_DIRECTORY, read_manifest
from tests.bench.channel import deepjscc
from tests.bench.channel.entropy_lengths import load_entropy_lengths
from tests.bench.rivals.stills import FORMATS, Still
from tests.bench.rivals.stills import decode as decode_still

_QUALITIES = range(1, 101)
_SCALES = (1, 2, 4, 8)


class Sent(NamedTuple):
    """A picture that arrived, and the bandwidth ratio that it took."""

    picture: Image
    rate: float


@dataclass(frozen=True, slots=True)
class Condition:
    """Circumstances of a transmission.

    Args:
        rate: bandwidth ratio that must not be exceeded.
        believed_db: SNR that the sender assumes; None for the true one.
    """

    channel: ChannelState
    rate: Fraction
    believed_db: float | None = None


class System(Protocol):
    """Sends pictures."""

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        """The picture that arrives; None if the system does not know this condition."""
        ...


@dataclass(frozen=True, slots=True)
class TrainedChannel:
    """The image channel, or an ablation of it; with `completion`, decoded by diffusion."""

    network: ImageChannel
    completion: Completion | None = None

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        channel, believed_db = condition.channel, condition.believed_db
        believed = channel if believed_db is None else replace(channel, snr_db=believed_db)
        # Side information that is coded for a better channel than there is would be lost.
        margin_db = max(believed.snr_db - channel.snr_db, 0.0)
        signal = Transmitter(self.network, believed, condition.rate, margin_db).encode(picture)
        received = carry(channel, signal.symbols, torch.Generator().manual_seed(seed))
        return Sent(decode(self.network, signal, received, self.completion), signal.rate(channel.data_share))


@dataclass(frozen=True, slots=True)
class RefinedChannel:
    """The image channel, with symbols that the sender refines for each picture; at 1/16, on AWGN that is as it assumes.

    Other conditions are left out, because refinement takes seconds a picture.
    """

    network: ImageChannel
    steps: int
    rate: Fraction = Fraction(1, 16)

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        channel = condition.channel
        if channel.kind != "awgn" or condition.believed_db is not None or condition.rate != self.rate:
            return None
        signal = Transmitter(self.network, channel, condition.rate, refinement=self.steps).encode(picture)
        received = carry(channel, signal.symbols, torch.Generator().manual_seed(seed))
        return Sent(decode(self.network, signal, received), signal.rate())


@dataclass(frozen=True, slots=True)
class TrainedBaseline:
    """DeepJSCC, which was trained for AWGN at one rate and knows no other."""

    network: deepjscc.DeepJscc

    @torch.no_grad()
    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        channel = condition.channel
        if channel.kind != "awgn" or condition.rate != self.network.config.rate:
            return None
        pictures = padded(picture)
        symbols = self.network.encode(pictures)[0]
        received = carry(channel, symbols, torch.Generator().manual_seed(seed)).symbols
        # It was trained with what arrives as it is: undo the linear estimate, which scales by SNR / (1 + SNR).
        received = received * (1 + 10 ** (-channel.snr_db / 10))
        decoded = as_image(self.network.decode(received[None], (pictures.shape[2], pictures.shape[3])))
        height, width = picture.shape[:2]
        return Sent(decoded[:height, :width], len(symbols) / (3 * height * width))


@dataclass(frozen=True, slots=True)
class CodedFile:
    """A file of Pillow's format behind an ideal channel code: source and channel coding separated.

    The largest quality is taken whose bytes pass at capacity, at the best resolution.
    """

    format: str

    def send(self, picture: Image, condition: Condition, seed: int) -> Sent | None:
        if condition.believed_db is not None or condition.channel.pilots:
            # Capacity is that of known gains and a known SNR.
            return None
        values = picture.size
        budget = float(condition.rate) * values * capacity_bits(condition.channel) / 8
        files = _files(self.format, picture.tobytes(), picture.shape)
        found = _best(files, budget, picture)
        if found is None:
            return Sent(np.broadcast_to(picture.mean((0, 1)).round().astype(np.uint8), picture.shape), 0.0)
        size, decoded = found
        return Sent(decoded, size * 8 / capacity_bits(condition.channel) / values)


class _Files:
    """Files of one picture, encoded when they are needed."""

    def __init__(self, name: str, picture: Image) -> None:
        self._name, self._picture = name, picture
        self._files: dict[tuple[int, int], bytes] = {}

    def best(self, scale: int, budget: float) -> tuple[int, Image] | None:
        """Bytes and picture of the largest quality that fits into the budget; None if none does."""
        low, high = _QUALITIES.start - 1, _QUALITIES.stop - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(self._file(scale, middle)) <= budget else (low, middle - 1)
        if low < _QUALITIES.start:
            return None
        data = self._file(scale, low)
        height, width = self._picture.shape[:2]
        decoded = cv2.resize(decode_still(data), (width, height), interpolation=cv2.INTER_CUBIC)
        return len(data), decoded.astype(np.uint8, copy=False)

    def _file(self, scale: int, quality: int) -> bytes:
        if (scale, quality) not in self._files:
            height, width = (max(side // scale, 1) for side in self._picture.shape[:2])
            reduced = cv2.resize(self._picture, (width, height), interpolation=cv2.INTER_AREA)
            self._files[scale, quality] = Still(self._name, scale, quality).encode(reduced.astype(np.uint8, copy=False))
        return self._files[scale, quality]


def _best(files: _Files, budget: float, original: Image) -> tuple[int, Image] | None:
    """Bytes and picture at the best resolution; lower ones are tried until the error grows."""
    best, least = None, np.inf
    for scale in _SCALES:
        found = files.best(scale, budget)
        if found is None:
            continue
        error = float(np.square(found[1].astype(np.float32) - original).mean())
        if error >= least:
            break
        best, least = found, error
    return best


@lru_cache(maxsize=len(FORMATS))
def _files(name: str, content: bytes, shape: tuple[int, ...]) -> _Files:
    return _Files(name, np.frombuffer(content, np.uint8).reshape(shape))


def trained_systems(folders: Sequence[Path], refinement: int = 0) -> dict[str, System]:
    """The package's image channel, with equal lengths too, and all that was exported to folders.

    With `refinement` steps, the package's image channel is also there with refined symbols.

    Raises:
        WeightsError: weights are missing, damaged or of another version.
    """
    shipped = transmission.load_network(directory=WEIGHTS_DIRECTORY)
    equal = transmission.load_network(directory=WEIGHTS_DIRECTORY)
    equal.config = replace(equal.config, lengths=False)
    blind = transmission.load_network(directory=WEIGHTS_DIRECTORY)
    blind.config = replace(blind.config, snr=False)
    systems: dict[str, System] = {
        "bodywire": TrainedChannel(shipped),
        "the same weights, equal lengths": TrainedChannel(equal),
        "the same weights, lengths by entropy": TrainedChannel(load_entropy_lengths()),
        "the same weights, SNR unknown": TrainedChannel(blind),
        "one step of diffusion": TrainedChannel(shipped, Completion(load_decoder())),
    }
    if refinement:
        systems[f"refined, {refinement} steps"] = RefinedChannel(shipped, refinement)
    for folder in folders:
        for name, entry in read_manifest(folder).items():
            if entry.architecture.get("kind") != deepjscc.KIND:
                systems[name.replace("_", " ")] = TrainedChannel(transmission.load_network(name, folder))
    for baseline in trained_baselines(folders):
        name = "deepjscc" if baseline.config.rate == Fraction(1, 16) else f"deepjscc, {baseline.config.rate}"
        systems[name] = TrainedBaseline(baseline)
    return systems


def trained_baselines(folders: Sequence[Path]) -> list[deepjscc.DeepJscc]:
    """Every DeepJSCC that was exported to folders.

    Raises:
        WeightsError: weights are missing, damaged or of another version.
    """
    return [
        deepjscc.load_network(name, folder)
        for folder in folders
        for name, entry in read_manifest(folder).items()
        if entry.architecture.get("kind") == deepjscc.KIND
    ]


def coded_files() -> dict[str, System]:
    """JPEG, WebP and AVIF at capacity."""
    return {f"{name.lower()} at capacity": CodedFile(name) for name in FORMATS}
