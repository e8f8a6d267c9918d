"""The transformer block of the networks (Dosovitskiy et al. 2021); its weights are named as in timm's.

timm itself imports all of its models, torchvision's, and PyTorch's compiler: 3 s of processor time in every daemon.
"""

from torch import Tensor, nn
from torch.nn import functional

# Of layer normalisation, as in timm's vision transformers.
_EPSILON = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, C) → (B, N, C).

    Args:
        width: C, a multiple of `heads`.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            attn_mask: added to the attention logits, broadcast to (B, heads, N, N).
        """
        queries, keys, values = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=attn_mask)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Two linear layers with GELU between: (B, N, C) → (B, N, C), four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Transformer block with normalisation before attention and before the MLP: (B, N, C) → (B, N, C).

    Args:
        width, heads: as of `Attention`.

    Attributes:
        drop_path1, drop_path2: on the two branches; the identity, unless a training puts stochastic depth there.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads)
        self.drop_path1: nn.Module = nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width)
        self.drop_path2: nn.Module = nn.Identity()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Arguments as of `Attention`."""
        x = x + self.drop_path1(self.attn(self.norm1(x), attn_mask=attn_mask))
        out: Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return out
