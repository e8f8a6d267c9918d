"""Networks captured as CUDA graphs, which run the calls of all threads as batches.

    calls ─ one batch of 1, 2, 4 … 32 rows ─ pinned ─ a copy ─ graph of the network ─ a copy ─ pinned ─ their rows

A network that PyTorch launches kernel by kernel keeps the processor busy for longer than the GPU: 14 ms for 0.2 ms of
arithmetic.  A graph of all its kernels is one launch.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

MOST_ROWS: Final = 32
"""Of a batch; more are several."""

# So often a network runs before it is captured, because libraries allocate and choose algorithms at first.
_WARM_UP = 3
# Where the tensors of a block begin, bytes.
_ALIGNMENT = 256
# Capturing waits for the whole device, which nobody else may do meanwhile.
_capturing = threading.Lock()

Run = Callable[..., tuple[Tensor, ...]]

logger = logging.getLogger(__name__)


class CudaGraph:
    """A network captured for inputs of fixed shapes; of one thread at a time.

    Args:
        network: tensors on the device → tensors there.
        example: inputs on the host.

    Raises:
        RuntimeError: it cannot be captured: it makes tensors on the host, waits for the device, or shapes depend on
            values.
    """

    def __init__(self, network: Run, example: Sequence[Tensor], device: torch.device) -> None:
        self._stream, self._graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
        # Waiting for it takes no processor time.
        self._done = torch.cuda.Event(blocking=True)
        with _capturing, torch.cuda.stream(self._stream):
            self._host_in, self._inputs = packed(example, pinned=True)
            self._device_in, inputs = packed(example, device)
            for _ in range(_WARM_UP):
                example = network(*inputs)
            self._host_out, self._outputs = packed(example, pinned=True)
            self._device_out, outputs = packed(example, device)
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                for place, output in zip(outputs, network(*inputs), strict=True):
                    place.copy_(output)

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The network's outputs, on the host, for inputs of at most as many rows as it was captured for."""
        rows = len(inputs[0])
        for place, one in zip(self._inputs, inputs, strict=True):
            place[:rows].copy_(one)
        with torch.cuda.stream(self._stream):
            self._device_in.copy_(self._host_in, non_blocking=True)
            self._graph.replay()
            self._host_out.copy_(self._device_out, non_blocking=True)
            self._done.record()
        self._done.synchronize()
        return tuple(output[:rows].clone() for output in self._outputs)


def packed(
    tensors: Sequence[Tensor], device: torch.device | None = None, *, pinned: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """A block of bytes for some tensors, which one copy transfers, and the places of the tensors in it."""
    starts, size = [], 0
    for tensor in tensors:
        starts.append(size)
        size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    block = torch.zeros(size, dtype=torch.uint8, device=device, pin_memory=pinned)
    places = [
        block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for start, tensor in zip(starts, tensors, strict=True)
    ]
    return block, places


@dataclass(slots=True, eq=False)
class _Call:
    """A thread's call; its turn comes with outputs, or with None: then the thread runs the next batch."""

    inputs: tuple[Tensor, ...]
    turn: "Future[tuple[Tensor, ...] | None]" = field(default_factory=Future)

    @property
    def shapes(self) -> tuple[object, ...]:
        return tuple((tensor.shape[1:], tensor.dtype) for tensor in self.inputs)


class CapturedNetwork:
    """A network that is captured once for each batch size that it meets: 1, 2, 4 … 32 rows.

    Of a thread that finds it idle, the call runs at once.  Whoever comes meanwhile waits, and then goes as one batch
    with all others who wait.

    Args:
        network: tensors of B rows on the device → tensors of B rows there.
        name: in the log.
    """

    def __init__(self, network: Run, name: str, device: torch.device) -> None:
        self._network, self._name, self._device = network, name, device
        self._graphs: dict[tuple[object, ...], CudaGraph] = {}
        self.fails = False
        self._lock, self._waiting, self._busy = threading.Lock(), list[_Call](), False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        call = _Call(inputs)
        with self._lock:
            waits, self._busy = self._busy, True
            self._waiting.append(call)
        if waits and (outputs := call.turn.result()) is not None:
            return outputs
        with self._lock:
            calls = [one for one in self._waiting if one.shapes == call.shapes]
            self._waiting = [one for one in self._waiting if one not in calls]
        try:
            return self._together(call, calls)
        finally:
            with self._lock:
                self._busy = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].turn.set_result(None)

    def _together(self, own: _Call, calls: Sequence[_Call]) -> tuple[Tensor, ...]:
        """Runs calls as one batch, and returns the outputs of one of them; the others get theirs, or its error."""
        try:
            outputs = self._run([torch.cat(rows) for rows in zip(*(call.inputs for call in calls), strict=True)])
        except BaseException as error:
            for call in calls:
                if call is not own:
                    call.turn.set_exception(error)
            raise
        parts = zip(*(output.split([len(call.inputs[0]) for call in calls]) for output in outputs), strict=True)
        of_calls = dict(zip(map(id, calls), parts, strict=True))
        for call in calls:
            if call is not own:
                call.turn.set_result(of_calls[id(call)])
        return of_calls[id(own)]

    def _run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        starts = range(0, len(inputs[0]), MOST_ROWS)
        batches = [self._batch([one[start : start + MOST_ROWS] for one in inputs]) for start in starts]
        return batches[0] if len(batches) == 1 else tuple(map(torch.cat, zip(*batches, strict=True)))

    def _batch(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if not self.fails:
            size = 1 << (len(inputs[0]) - 1).bit_length()
            key = (size, *((tensor.shape[1:], tensor.dtype) for tensor in inputs))
            try:
                if key not in self._graphs:
                    example = [tensor.new_zeros(size, *tensor.shape[1:], device="cpu") for tensor in inputs]
                    self._graphs[key] = CudaGraph(self._network, example, self._device)
                return self._graphs[key].run(inputs)
            except RuntimeError as error:
                self.fails = True
                logger.warning("the network %s cannot be captured, and runs slower: %s", self._name, error)
        return tuple(output.cpu() for output in self._network(*(tensor.to(self._device) for tensor in inputs)))


def hold_in_bf16(network: nn.Module, run: Run, inputs: Sequence[Tensor]) -> None:
    """Converts the weights of layers that multiply in bf16 once; autocast would convert them in every call."""
    fast, exact = set[nn.Module](), set[nn.Module]()
    device = inputs[0].device.type

    def note(layer: nn.Module, _: object) -> None:
        (fast if torch.is_autocast_enabled(device) else exact).add(layer)

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    hooks = [layer.register_forward_pre_hook(note) for layer in network.modules() if isinstance(layer, kinds)]
    # A caller's inference mode would make weights of which no module can change the type.
    with torch.inference_mode(False), torch.no_grad():
        run(*inputs)
        for layer in fast - exact:
            layer.to(torch.bfloat16)
    for hook in hooks:
        hook.remove()
