"""Calibrates the layers of perception, detector and MoveNet that multiply in 8 bits on CPUs (`common.weights.graph`).

Each network reads training photographs; the smallest and largest inputs of its layers are recorded.  Layers with few
products gain nothing; those with few output channels, whose outputs are estimates, and those with few input channels,
near the picture, stay in floating point: in 8 bits, the latter would double the error that is made.  The networks are
scored on the photographs held back, in both precisions, as they run in use.  --export adds the ranges to the manifest;
the weights stay as they are.  A network that is trained anew loses its ranges: calibrate it again.

Examples:
  python -m sender.train.quantisation --photographs photographs
  python -m sender.train.quantisation --photographs photographs --export
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UsageError, exit_code_of
from common.io.command_line import parser_of
from common.training.flags import add_export_flags
from common.weights.devices import CPU, int8_weight_bits
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import Ranges, add_entry, find_entry
from sender.perception.inference import detector as detection
from sender.perception.inference import predictor
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.movenet import predictor as movenet
from sender.perception.movenet.decode import MoveNetGraph
from sender.perception.movenet.network import MoveNetConfig, MoveNetNet
from sender.perception.network.network import PerceptionNet
from sender.perception.network.output import PerceptionOutput
from sender.train.crops.scores import keypoint_scores
from sender.train.frames.scores import photograph_scores
from sender.train.movenet import AsPerception, as_crops
from sender.train.photographs.crops import PhotographCropSampler, crops_in_boxes
from sender.train.photographs.dataset import PhotographDataset
from sender.train.photographs.frames import PhotographFrames

_LEAST_PRODUCTS, _LEAST_INPUTS, _LEAST_OUTPUTS = 1_000_000, 64, 24
# Of a score that 8 bits may not lower by more: about a standard error on the photographs held back.
_LARGEST_LOSS = 0.02
# Photographs to calibrate on, and the seed of their choice.
_PHOTOGRAPHS, _SEED = 256, 1
_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """A network to calibrate.

    Args:
        network: as it is compiled for use.
        inputs: of one row, to calibrate on.
        score: of a network with the same outputs, on validation data.
        decisive: the score that 8 bits may not lower by more than `_LARGEST_LOSS`.
    """

    name: str
    network: nn.Module
    inputs: Iterable[Tensor]
    score: Callable[[nn.Module], Scores]
    decisive: str


class PlainOutputs(nn.Module):
    """Perception with the fields of its output as a tuple."""

    def __init__(self, net: PerceptionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image_B3SS: Tensor) -> tuple[Tensor, ...]:
        output: PerceptionOutput = self.net(image_B3SS)
        return tuple(output.columns())


class _AsModule(nn.Module):
    """A network in use as the trainings score it."""

    def __init__(self, network: NetworkInUse, together: Callable[..., object]) -> None:
        super().__init__()
        self._network, self._together = network, together

    def forward(self, images: Tensor) -> object:
        return self._together(*self._network(images))


@torch.inference_mode()
def calibrated(network: nn.Module, inputs: Iterable[Tensor]) -> dict[str, tuple[float, float]]:
    """The ranges of the inputs of all layers that are worth it; zero is always within."""
    ranges: dict[str, tuple[float, float]] = {}
    handles = []

    def observe(name: str, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        weights = module.weight
        assert isinstance(weights, Tensor)
        outputs, inputs = weights.shape[:2]
        if isinstance(module, nn.ConvTranspose2d):
            outputs, inputs = inputs, outputs
        products = output[0].numel() // outputs * weights.numel()
        if inputs >= _LEAST_INPUTS and outputs >= _LEAST_OUTPUTS and products >= _LEAST_PRODUCTS:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(arguments[0].min())), max(high, float(arguments[0].max()))

    for name, module in network.named_modules():
        if isinstance(module, _LAYERS) and getattr(module, "groups", 1) == 1:

            def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                observe(name, module, arguments, output)

            handles.append(module.register_forward_hook(hook))
    for one in inputs:
        network(one)
    for handle in handles:
        handle.remove()
    return {name: (round(low, 4), round(high, 4)) for name, (low, high) in ranges.items()}


def subjects(photographs: Path) -> Iterator[Subject]:
    """Perception, detector and MoveNet, with training photographs to calibrate on."""
    train, validation = PhotographDataset(photographs, "train"), PhotographDataset(photographs, "val")
    perception, detector = Perception.load(), Detector.load()
    crops = PhotographCropSampler(train, np.random.default_rng(_SEED), perception.size)
    yield Subject(
        predictor.WEIGHTS_NAME,
        PlainOutputs(perception.net),
        (batch.ready().image for batch in islice(crops.batches(1), _PHOTOGRAPHS)),
        lambda network: keypoint_scores(network, crops_in_boxes(validation, perception.size)),
        "photographs_pck10",
    )
    size = detector.net.config.size
    frames = PhotographFrames(train, "openimages", np.random.default_rng(_SEED), size)
    yield Subject(
        detection.WEIGHTS_NAME,
        detector.net,
        (predictor.as_images(frames().image[None]) for _ in range(_PHOTOGRAPHS)),
        lambda network: photograph_scores(network, validation, size),
        "people_ap",
    )
    for name in movenet.NAMES:
        yield _movenet(name, train, validation)


def _movenet(name: movenet.Name, train: PhotographDataset, validation: PhotographDataset) -> Subject:
    net = load_recorded(name, movenet.KIND, MoveNetConfig, MoveNetNet)
    size = net.config.size
    crops = PhotographCropSampler(train, np.random.default_rng(_SEED), size)
    return Subject(
        name,
        MoveNetGraph(net),
        (as_crops(batch.ready().image) for batch in islice(crops.batches(1), _PHOTOGRAPHS)),
        lambda network: keypoint_scores(AsPerception(network), crops_in_boxes(validation, size, margin=movenet.MARGIN)),
        "photographs_pck10",
    )


def scored(subject: Subject, example: Tensor, int8: Ranges) -> Scores:
    """Validation scores of a network as compiled for use."""
    network = in_use(subject.network, (example,), subject.name, "float32", CPU, int8)
    together = PerceptionOutput if subject.name == predictor.WEIGHTS_NAME else lambda *outputs: outputs
    return subject.score(_AsModule(network, together))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.quantisation", __doc__ or "")
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder that sender.train.photographs.dataset wrote"
    )
    add_export_flags(parser, "add the ranges to the manifest")
    return parser.parse_args(arguments)


def calibrate(options: argparse.Namespace) -> None:
    """The whole calibration, top to bottom.

    Raises:
        UsageError: a network scores clearly worse in 8 bits.
    """
    if int8_weight_bits() < 8:
        print("this processor lacks VNNI: convolutions alone multiply in 8 bits, by weights of 7, or none")
    for subject in subjects(options.photographs):
        inputs = list(subject.inputs)
        ranges = calibrated(subject.network, inputs)
        scores = {name: scored(subject, inputs[0], int8) for name, int8 in (("float32", {}), ("int8", ranges))}
        for name in scores["int8"]:
            print(f"{subject.name} {name}: {scores['float32'][name]:g} in float32, {scores['int8'][name]:g} in int8")
        lost = scores["float32"][subject.decisive] - scores["int8"][subject.decisive]
        if lost > _LARGEST_LOSS:
            raise UsageError(
                f"8 bits cost {subject.name} {lost:.3f} of {subject.decisive}: its ranges are not exported"
            )
        if options.export:
            entry = find_entry(subject.name, options.weights)
            content = (options.weights / entry.file).read_bytes()
            add_entry(subject.name, replace(entry, int8=ranges), content, options.weights)


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.quantisation", lambda: calibrate(parse())))
