"""timm's transformer block, without the compiler that importing timm brings along.

timm imports all of its models and torchvision's operators of detectors.  Some of them ask PyTorch's compiler something,
and so import it with triton, SymPy and ONNX: 1.6 s and 117 MB in every daemon, which compiles nothing that way.  While
they are imported, a stand-in answers that nothing is compiled; later imports find the compiler itself.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Puts the stand-in in place of a compiler that is not imported yet."""
    if any(name in sys.modules for name in _COMPILER):
        yield
        return
    package, utils = map(ModuleType, _COMPILER)
    vars(package)["disable"] = _as_it_is
    vars(utils)["is_compile_supported"] = lambda device_type: False
    sys.modules.update(zip(_COMPILER, (package, utils), strict=True))
    try:
        yield
    finally:
        for name in _COMPILER:
            del sys.modules[name]


def _as_it_is(function: Callable[..., Any] | None = None, *_: object, **__: object) -> Callable[..., Any]:
    """A function that is not compiled; also as a decorator with arguments."""
    return function or _as_it_is


with _without_compiler():
    from timm.layers.drop import DropPath
    from timm.models.vision_transformer import Block

__all__ = ["Block", "DropPath"]
