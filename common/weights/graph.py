"""Networks as graphs of OpenVINO, compiled for this machine's CPU.

    module ─ trace ─ graph ─┬─ maps: up to the last convolutions, in bf16 where the network's score permits
                            └─ readout: what is computed from the maps, in float32

In float32 it is one.  Positions, standard deviations and variances are differences of nearly equal numbers, which bf16
destroys: PyTorch's autocast computes them in float32, OpenVINO's precision hint alone would not.

Layers in 8 bits have quantisers before their weights, one scale a channel, and before their inputs, whose ranges were
calibrated (Jacob et al., *Quantization and training of neural networks*, CVPR 2018); OpenVINO makes integer products of
them.  Of two products that a processor adds in 16 bits, the weights have 7 bits, so that the sum does not saturate.

Imports OpenVINO, so that only `common.weights.inference` may import it.
"""

import threading
import warnings
from collections.abc import Container, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13
from openvino.frontend import FrontEndManager
from torch import Tensor, nn

from common.forks import keep_in_forks
from common.weights import compiled_models, mediapipe_operations
from common.weights.compiled_models import CORE, CPU, CompiledModels, options
from common.weights.manifest import Precision, Ranges
from common.weights.mediapipe_operations import Part, add_operations

SOURCES = (Path(__file__), Path(compiled_models.__file__), Path(mediapipe_operations.__file__))
"""Code on which a compiled graph depends."""

_CONVOLUTIONS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution")
_STEPS, _MIDDLE = 255, 128


class CompiledGraph:
    """A network compiled for the CPU, for inputs of fixed shapes; threads may call it at once.

    The shapes of outputs may depend on the input.

    Args:
        models: OpenVINO's; each reads what the one before returns.

    Attributes:
        threads: how many compute at a time.
    """

    def __init__(self, models: CompiledModels) -> None:
        self.models, self.threads = models, int(models.parts[0].get_property("NUM_STREAMS"))
        self._requests = threading.local()
        keep_in_forks(self)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs, for inputs of the shapes that it was compiled for."""
        # Of each thread its own, so that threads do not wait for each other.
        request: _GraphRequest | None = getattr(self._requests, "request", None)
        if request is None:
            parts = [part.create_infer_request() for part in self.models.parts]
            request = self._requests.request = _GraphRequest(parts)
        return request.run(inputs)


class _GraphRequest:
    """Runs a compiled graph without the interpreter's lock; of one thread at a time."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts, self._outputs = parts, range(len(parts[-1].model_outputs))
        for one, other in pairwise(parts):
            for index in range(len(other.model_inputs)):
                other.set_input_tensor(index, one.get_output_tensor(index))
        # A thread may be in inference mode now and later not, where tensors made in it cannot be changed.
        with torch.inference_mode(False):
            # One by one: the lists of tensors are of a type that two threads must not make at once.
            inputs = range(len(parts[0].model_inputs))
            self._inputs = [torch.from_numpy(parts[0].get_input_tensor(each).data) for each in inputs]

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for place, one in zip(self._inputs, inputs, strict=True):
            place.copy_(one)
        for part in self._parts:
            part.infer()
        last = self._parts[-1]
        return tuple(torch.from_numpy(last.get_output_tensor(each).data.copy()) for each in self._outputs)


def compile_graph(
    network: nn.Module,
    example: Sequence[Tensor],
    precision: Precision,
    threads: int,
    int8: Ranges,
    weight_bits: int,
) -> CompiledGraph:
    """Compiles a network for the shapes of example inputs.

    Args:
        network: tensors → a tuple of tensors.
        int8: inputs of the layers that multiply in 8 bits.
        weight_bits: of these layers' weights, 7 or 8.

    Raises:
        RuntimeError: OpenVINO cannot convert the network.
        ValueError: a layer of `int8` is not in the graph.
    """
    graph = _converted(network, example)
    if weight_bits == 7:
        _make_convolutions(graph, int8)
    _quantise(graph, int8, weight_bits)
    first, *rest = _divided(graph) if precision == "bf16" else [graph]
    compiled = [CORE.compile_model(first, CPU, options(precision, threads))]
    compiled += [CORE.compile_model(one, CPU, options("float32", threads)) for one in rest]
    return CompiledGraph(CompiledModels(compiled))


def compile_file(path: Path, threads: int, parts: Sequence[Part] = ()) -> CompiledGraph:
    """Compiles the network of a file in float32.

    Args:
        parts: those of the face that a network of MediaPipe's looks at closely.

    Raises:
        RuntimeError: OpenVINO cannot read it.
        ValueError: it has other parts.
    """
    frontend = FrontEndManager().load_by_framework("tflite")
    graph = frontend.convert_partially(frontend.load(path))
    add_operations(graph, parts)
    return CompiledGraph(CompiledModels([CORE.compile_model(graph, CPU, options("float32", threads))]))


def _converted(network: nn.Module, example: Sequence[Tensor]) -> Any:
    """The graph of a network.

    Not by `openvino.convert_model`, which does the same and reports its use to OpenVINO's authors.
    """
    # Not needed where all networks are cached.
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about shapes that become constants, as they should
        traced = torch.jit.trace(network, tuple(example), check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=tuple(example))
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape({port: list(tensor.shape) for port, tensor in zip(graph.inputs, example, strict=True)})
    return graph


def _layer(operation: Any) -> str:
    """The layer of the network that an operation comes from."""
    return str(operation.get_friendly_name().removeprefix("__module.").partition("/")[0])


def _make_convolutions(graph: Any, layers: Container[str]) -> None:
    """Puts convolutions of one pixel in the places of matrix products (1, N, C) of some layers.

    With AVX2 alone, OpenVINO multiplies these in 8 bits 1.6 times as fast as in float32, and matrices not faster.
    """
    for operation in graph.get_ordered_ops():
        if _layer(operation) not in layers or operation.get_type_name() != "MatMul" or _output_axis(operation) is None:
            continue
        weights, x_1NC = operation.input_value(1).get_node().data, operation.input_value(0)
        transposed = operation.get_attributes()
        if len(x_1NC.get_partial_shape()) == 3 and not transposed["transpose_a"]:
            kernels = weights if transposed["transpose_b"] else weights.T
            pixels = opset13.transpose(opset13.unsqueeze(x_1NC, [1]), [0, 3, 1, 2])
            kernels = opset13.constant(kernels[:, :, None, None])
            product = opset13.convolution(pixels, kernels, [1, 1], [0, 0], [0, 0], [1, 1])
            product.set_friendly_name(operation.get_friendly_name())
            result = opset13.squeeze(opset13.transpose(product, [0, 2, 3, 1]), [1])
            for reader in operation.output(0).get_target_inputs():
                reader.replace_source_output(result.output(0))


def _quantise(graph: Any, ranges: Ranges, weight_bits: int) -> None:
    """Puts quantisers before the inputs and weights of some layers. Raises ValueError if one of them is missing."""
    left = set(ranges)
    for operation in graph.get_ordered_ops():
        layer = _layer(operation)
        if layer in ranges and (axis := _output_axis(operation)) is not None:
            weights = operation.input_value(1).get_node().data
            largest = np.abs(weights).max(tuple(set(range(weights.ndim)) - {axis}), keepdims=True)
            # OpenVINO makes integers from −127 to 127 only: those of 7 bits are from −64 to 64.
            largest = largest if weight_bits == 8 else largest * (127 / 64)
            low, high = ranges[layer]
            # Zero, which pads, is one of the steps.
            step = (high - low) / _STEPS
            zero = round(-low / step)
            if weight_bits == 7 and operation.get_type_name() == "ConvolutionBackpropData" and zero == _MIDDLE:
                # With AVX-512 alone, oneDNN halves the weights beside signed inputs, which would leave 6 bits.
                zero -= 1
            low = -zero * step
            _quantise_input(operation, 0, low, low + _STEPS * step, _STEPS + 1)
            _quantise_input(operation, 1, -largest, largest, _STEPS)
            left.discard(layer)
    if left:
        raise ValueError(f"the graph has no layers {', '.join(sorted(left))}")


def _output_axis(operation: Any) -> int | None:
    """The axis of the output channels of an operation's weights; None if it multiplies by none."""
    kind = operation.get_type_name()
    if kind not in ("MatMul", *_CONVOLUTIONS) or operation.input_value(1).get_node().get_type_name() != "Constant":
        return None
    transposed = kind == "ConvolutionBackpropData" or (
        kind == "MatMul" and not operation.get_attributes()["transpose_b"]
    )
    return 1 if transposed else 0


def _quantise_input(operation: Any, number: int, low: Any, high: Any, levels: int) -> None:
    limits = [opset13.constant(np.asarray(limit, np.float32)) for limit in (low, high)]
    quantiser = opset13.fake_quantize(operation.input_value(number), *limits, *limits, levels)
    operation.input(number).replace_source_output(quantiser.output(0))


def _divided(graph: Any) -> tuple[Any, Any]:
    """The graph up to the convolutions that no other follows, and the rest; without convolutions, all is rest."""
    operations = graph.get_ordered_ops()
    maps: set[str] = set()
    for operation in reversed(operations):
        name = operation.get_friendly_name()
        if operation.get_type_name() in _CONVOLUTIONS or name in maps:
            maps |= {name, *(value.get_node().get_friendly_name() for value in operation.input_values())}
    # Inputs are no weights; without a convolution, they still enter the first part, which hands them on.
    maps |= {operation.get_friendly_name() for operation in graph.get_parameters()}
    borders, inputs = [], []
    for operation in operations:
        if operation.get_friendly_name() not in maps or operation.get_type_name() == "Constant":
            continue
        for output in operation.outputs():
            readers = [
                reader for reader in output.get_target_inputs() if reader.get_node().get_friendly_name() not in maps
            ]
            if readers:
                parameter = opset13.parameter(output.get_partial_shape(), output.get_element_type())
                for reader in readers:
                    reader.replace_source_output(parameter.output(0))
                borders.append(output)
                inputs.append(parameter)
    readout = openvino.Model(graph.get_results(), inputs, "readout")
    return openvino.Model([opset13.result(output) for output in borders], graph.get_parameters(), "maps"), readout
