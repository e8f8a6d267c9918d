"""The transformer block of the networks, from timm's layers alone.

`import timm` also imports all of its models, torchvision's, and the client of a model hub, and these ask PyTorch's
compiler something, which comes with triton, SymPy and ONNX: 3 s of processor time and 190 MB in every daemon, which
needs none of them.  While the layers are imported, stand-ins are in their places; later imports find the packages
themselves.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import Tensor, nn

# Of these the layers need some modules, but not what the package imports.
_PACKAGES = ("timm", "torchvision")
_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


@contextmanager
def _alone() -> Iterator[None]:
    """Puts stand-ins in the places of packages, models and compiler, where these are not imported already."""
    everywhere: dict[str, ModuleType | None] = {
        **{name: _package(name) for name in _PACKAGES},
        # timm does without, if it cannot be imported.
        "torchvision.models": None,
        **_no_compiler(),
    }
    stand_ins: dict[str, Any] = {name: module for name, module in everywhere.items() if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def _package(name: str) -> ModuleType:
    """A package whose modules can be imported, and which has imported none."""
    package, spec = ModuleType(name), find_spec(name)
    assert spec is not None, f"{name} is a dependency"
    package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or ())
    return package


def _no_compiler() -> dict[str, ModuleType]:
    package, utils = map(ModuleType, _COMPILER)
    vars(package)["disable"] = _as_it_is
    vars(utils)["is_compile_supported"] = lambda device_type: False
    return dict(zip(_COMPILER, (package, utils), strict=True))


def _as_it_is(function: Callable[..., Any] | None = None, *_: object, **__: object) -> Callable[..., Any]:
    """A function that is not compiled; also as a decorator with arguments."""
    return function or _as_it_is


with _alone():
    from timm.layers.attention import Attention
    from timm.layers.drop import DropPath
    from timm.layers.mlp import Mlp

__all__ = ["Attention", "Block", "DropPath"]

# That of timm's vision transformers.
_EPSILON = 1e-6


class Block(nn.Module):
    """Transformer block with normalisation before attention and before the MLP: (B, N, C) → (B, N, C).

    It computes what `timm.models.vision_transformer.Block` does, and its weights have the same names.

    Args:
        width: C.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads, qkv_bias=True)
        self.drop_path1: nn.Module = nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path2: nn.Module = nn.Identity()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            attn_mask: added to the attention logits, broadcast to (B, heads, N, N).
        """
        x = x + self.drop_path1(self.attn(self.norm1(x), attn_mask=attn_mask))
        out: Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return out
