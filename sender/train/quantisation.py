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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from common.errors import UsageError, exit_code_of
from common.io.command_line import parser_of
from common.training.recipe import add_export_flags
from common.weights.devices import CPU, int8_weight_bits
from common.weights.inference import NetworkInUse, in_use
from common.weights.loader import load_recorded
from common.weights.manifest import Ranges, add_entry, find_entry
from sender.perception import detect as detector
from sender.perception import movenet, predictor
from sender.perception.crop import CROP_MARGIN
from sender.perception.detect import Detector, NanoDetConfig, NanoDetNet, letterboxed
from sender.perception.movenet import MoveNetConfig, MoveNetGraph, MoveNetNet
from sender.perception.perception_network import PerceptionConfig, PerceptionNet, PerceptionOutput
from sender.perception.predictor import PerceptionGraph
from sender.train.crops import PhotographCropSampler, crops_in_boxes, keypoint_scores
from sender.train.photographs.dataset import Photograph, PhotographDataset, in_crowd

_LEAST_PRODUCTS, _LEAST_INPUTS, _LEAST_OUTPUTS = 1_000_000, 64, 24
# Of a score that 8 bits may not lower by more: about a standard error on the photographs held back.
_LARGEST_LOSS = 0.02
# Photographs to calibrate on, and the seed of their choice.
_PHOTOGRAPHS, _SEED = 256, 1
_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

_IOU = 0.5
# Height from which people are counted.
_LEAST_HEIGHT_PX = 80

Scores = Mapping[str, float]
Inputs = tuple[Tensor, ...]
"""Of one row."""
Compile = Callable[[Inputs], NetworkInUse]
"""A network in use for inputs of the shapes of an example."""


@dataclass(frozen=True)
class Subject:
    """A network to calibrate.

    Args:
        network: as it is compiled for use.
        inputs: to calibrate on.
        score: of the network in use, on validation data.
        decisive: the score that 8 bits may not lower by more than `_LARGEST_LOSS`.
    """

    name: str
    network: nn.Module
    inputs: Iterable[Inputs]
    score: Callable[[Compile], Scores]
    decisive: str


@torch.inference_mode()
def calibrated(network: nn.Module, inputs: Iterable[Inputs]) -> dict[str, tuple[float, float]]:
    """The ranges of the inputs of all layers that are worth it; zero is always within."""
    ranges: dict[str, tuple[float, float]] = {}

    def observe(name: str, module: nn.Module, arguments: Inputs, output: Tensor) -> None:
        weights = module.weight
        assert isinstance(weights, Tensor)
        outputs, inputs = weights.shape[:2]
        if isinstance(module, nn.ConvTranspose2d):
            outputs, inputs = inputs, outputs
        products = output[0].numel() // outputs * weights.numel()
        if inputs >= _LEAST_INPUTS and outputs >= _LEAST_OUTPUTS and products >= _LEAST_PRODUCTS:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, float(arguments[0].min())), max(high, float(arguments[0].max()))

    layers = {name: each for name, each in network.named_modules() if isinstance(each, _LAYERS)}
    plain = {name: each for name, each in layers.items() if getattr(each, "groups", 1) == 1}
    handles = [layer.register_forward_hook(partial(observe, name)) for name, layer in plain.items()]
    for one in inputs:
        network(*one)
    for handle in handles:
        handle.remove()
    return {name: (round(low, 4), round(high, 4)) for name, (low, high) in ranges.items()}


def subjects(photographs: Path) -> Iterator[Subject]:
    """Perception, detector and MoveNet, with training photographs to calibrate on."""
    train, validation = PhotographDataset(photographs, "train"), PhotographDataset(photographs, "val")
    name = predictor.WEIGHTS_NAME
    net = load_recorded(name, predictor.KIND, PerceptionConfig, PerceptionNet)
    column = [field.name for field in fields(PerceptionOutput)].index("keypoints_2d")
    plain, datasets = (torch.zeros(1, dtype=torch.bool),), (train, validation)
    yield _of_crops(name, PerceptionGraph(net), net.config.size, datasets, column=column, last=plain)
    yield _detector(train, validation)
    for each in movenet.NAMES:
        second = load_recorded(each, movenet.KIND, MoveNetConfig, MoveNetNet)
        yield _of_crops(each, MoveNetGraph(second), second.config.size, datasets, movenet.MARGIN)


def _detector(train: PhotographDataset, validation: PhotographDataset) -> Subject:
    """NanoDet, which reads whole photographs."""
    net = load_recorded(detector.WEIGHTS_NAME, detector.KIND, NanoDetConfig, NanoDetNet)
    side, rng = net.config.size, np.random.default_rng(_SEED)
    chosen = rng.choice(train.indices("openimages"), _PHOTOGRAPHS, replace=False)
    inputs = ((torch.from_numpy(letterboxed(train[int(index)].image, (side, side))[0])[None],) for index in chosen)

    def score(compiled: Compile) -> Scores:
        found = Detector(net.config, lambda height, width: compiled((torch.zeros(1, height, width, 3).byte(),)))
        return proposal_scores(found, (validation[index] for index in validation.indices("people")))

    return Subject(detector.WEIGHTS_NAME, net, inputs, score, "people_found")


def _of_crops(
    name: str,
    graph: nn.Module,
    size: int,
    datasets: tuple[PhotographDataset, PhotographDataset],
    margin: float = CROP_MARGIN,
    column: int = 0,
    last: Sequence[Tensor] = (),
) -> Subject:
    """A network that reads crops of bytes, and `last`; keypoints are one of its outputs."""
    crops = PhotographCropSampler(datasets[0], np.random.default_rng(_SEED), size).batches(1)

    def score(compiled: Compile) -> Scores:
        network = compiled((torch.zeros(1, size, size, 3).byte(), *last))
        boxes = crops_in_boxes(datasets[1], size, margin=margin)
        return keypoint_scores((_columns(network, each.image, last)[column], each) for each in boxes)

    inputs = ((as_crops(each.ready().image), *last) for each in islice(crops, _PHOTOGRAPHS))
    return Subject(name, graph, inputs, score, "photographs_pck10")


def proposal_scores(detector: Detector, photographs: Iterable[Photograph]) -> dict[str, float]:
    """Share of people at least 80 pixels high who are proposed, its standard error, and other proposals a picture."""
    proposed, others = list[bool](), list[int]()
    for item in photographs:
        found = np.array([each.box for each in detector.find(item.image)], np.float32).reshape(-1, 4)
        overlaps = box_iou(torch.from_numpy(found), torch.from_numpy(item.boxes)).numpy() >= _IOU
        tall = item.boxes[:, 3] - item.boxes[:, 1] >= _LEAST_HEIGHT_PX
        proposed += overlaps.any(axis=0)[tall].tolist()
        others.append(int((~overlaps.any(axis=1) & ~in_crowd(found, item.crowds)).sum()))
    share, count = float(np.mean(proposed or [False])), max(len(proposed), 1)
    scores = {"found": share, "found_standard_error": (share * (1 - share) / count) ** 0.5, "others": np.mean(others)}
    return {f"people_{name}": round(float(value), 4) for name, value in scores.items()}


def as_crops(images_B3SS: Tensor) -> Tensor:
    """Images 0…1 (B, 3, S, S) as bytes (B, S, S, 3)."""
    return images_B3SS.mul(255).round().byte().permute(0, 2, 3, 1).contiguous()


def _columns(network: NetworkInUse, images_B3SS: Tensor, last: Sequence[Tensor]) -> Inputs:
    return network(as_crops(images_B3SS), *(each.expand(len(images_B3SS)) for each in last))


def scored(subject: Subject, int8: Ranges) -> Scores:
    """Validation scores of a network as compiled for use."""
    return subject.score(lambda example: in_use(subject.network, example, subject.name, "float32", CPU, int8))


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
        ranges = calibrated(subject.network, subject.inputs)
        scores = {name: scored(subject, int8) for name, int8 in (("float32", {}), ("int8", ranges))}
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
