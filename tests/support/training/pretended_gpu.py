"""A GPU that is not there: tensors that say that they are on it, and fail when they meet those of the host.

What it computes, the CPU computes; so whole trainings run, and every `.to(device)` that is forgotten is found.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from common.weights import captured

GPU = torch.device("cuda", 0)

# These may mix devices: copies, and lists of indices on the host.
_MIXING = {
    "copy_",
    "__getitem__",
    "__setitem__",
    "to",
    "type_as",
    "__set__",
    "__deepcopy__",
    "_has_compatible_shallow_copy_type",
}
_LEAVING = {"cpu", "tolist", "item", "__float__", "__int__", "__bool__", "__index__", "is_floating_point"}


def is_on_gpu(tensor: Tensor) -> bool:
    return getattr(tensor, "_pretended", False)


def _tensors(value: Any) -> list[Tensor]:
    """Those among arguments or results; torch's own walk takes a third of a small training's time."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for each in value for tensor in _tensors(each)]


def _put(result: Any, there: bool) -> Any:
    for tensor in _tensors(result):
        if is_on_gpu(tensor) != there:
            tensor._pretended = there  # type: ignore[attr-defined]
    return result


class _PretendedGpu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        owner = getattr(getattr(func, "__self__", None), "__name__", "")
        tensors = _tensors((args, kwargs))
        there = any(is_on_gpu(tensor) for tensor in tensors)
        if name == "__get__" and owner == "device":
            return GPU if is_on_gpu(args[0]) else func(*args)
        if name == "numpy" and there and not kwargs.get("force"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name not in _MIXING and there and any(not is_on_gpu(one) and one.dim() for one in tensors):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        if name == "to":
            return self._moved(func, args, kwargs)
        if name == "cpu" and there:
            # Of a tensor that is really there already, `cpu` returns the tensor itself.
            return _put(args[0].clone(), False)
        if name == "__set__" and owner == "data":
            func(*args)
            _put(args[0], is_on_gpu(args[1]))
            return None
        if "device" in kwargs and kwargs["device"] is not None:
            there = torch.device(kwargs.pop("device")).type == "cuda"
        elif name in _LEAVING:
            there = False
        elif name in {"copy_", "__getitem__", "__setitem__", "__deepcopy__"}:
            there = is_on_gpu(args[0])
        return _put(func(*args, **kwargs), there)

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """`tensor.to(…)` with a device, a dtype, both, or another tensor."""
        tensor, *rest = args
        there = is_on_gpu(tensor)
        kept: list[Any] = []
        if "device" in kwargs:
            device = kwargs.pop("device")
            there = there if device is None else torch.device(device).type == "cuda"
        for argument in rest:
            if isinstance(argument, Tensor):
                there = is_on_gpu(argument)
                kept.append(argument)
            elif isinstance(argument, torch.device | str):
                there = torch.device(argument).type == "cuda"
            elif isinstance(argument, torch.dtype):
                kept.append(argument)
        moved: Tensor = func(tensor, *kept, **kwargs)
        # The other device has a copy of its own.
        _put(moved := moved.clone() if moved is tensor and there != is_on_gpu(tensor) else moved, there)
        return moved


class PretendedGraph:
    """In place of `CudaGraph`: what was captured runs again, with inputs padded to the captured shapes."""

    def __init__(self, network: Callable[..., tuple[Tensor, ...]], example: Sequence[Tensor], device: torch.device):
        self._network, self._device = network, device
        self._inputs = [tensor.clone() for tensor in example]
        self.run(example)

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        rows = len(inputs[0])
        for place, one in zip(self._inputs, inputs, strict=True):
            place[:rows].copy_(one)
        outputs = self._network(*(tensor.to(self._device) for tensor in self._inputs))
        return tuple(output[:rows].cpu() for output in outputs)


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Inside, this machine has one GPU, in this thread."""
    copied: Any = nn.Parameter.__deepcopy__
    with monkeypatch.context() as patch, warnings.catch_warnings(), _PretendedGpu():
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(captured, "CudaGraph", PretendedGraph)
        # torch makes a parameter of a tensor without telling the mode.
        patch.setattr(nn.Parameter, "__deepcopy__", lambda one, memo: _put(copied(one, memo), is_on_gpu(one)))
        warnings.filterwarnings("ignore", message="CUDA is not available")
        yield GPU


def on_gpu(network: nn.Module) -> bool:
    """Whether all weights and buffers are there."""
    return all(is_on_gpu(tensor) for tensor in (*network.parameters(), *network.buffers()))
