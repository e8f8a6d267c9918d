"""The transformer block of the networks: what timm's vision transformers compute, by the same names of weights.

Shapes: B batch, N tokens, C channels.
"""

from torch import Tensor, nn
from torch.nn import functional

# That of timm's vision transformers.
_EPSILON = 1e-6


class Attention(nn.Module):
    """Self-attention with several heads (Vaswani et al., *Attention is all you need*, 2017): (B, N, C) → (B, N, C).

    Attributes:
        fused: whether PyTorch does not write the attention weights to memory.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.fused = heads, True
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BNC: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            attn_mask: added to the attention logits, broadcast to (B, heads, N, N).
        """
        b, n, c = x_BNC.shape
        queries, keys, values = self.qkv(x_BNC).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            seen = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=attn_mask)
        else:
            logits = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-2, -1)
            seen = (logits if attn_mask is None else logits + attn_mask).softmax(dim=-1) @ values
        mixed: Tensor = self.proj(seen.transpose(1, 2).reshape(b, n, c))
        return mixed


class Mlp(nn.Module):
    """Each token by itself, through four times the width: (B, N, C) → (B, N, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x_BNC)))
        return out


class DropPath(nn.Module):
    """In training, leaves out a path for some samples (Huang et al., *Deep networks with stochastic depth*, 2016).

    Args:
        share: of the samples; the others are larger by as much.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.share)
        return x * kept / (1 - self.share)


class Block(nn.Module):
    """Transformer block with normalisation before attention and before the MLP: (B, N, C) → (B, N, C).

    Args:
        width: C.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads)
        self.drop_path1: nn.Module = nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width)
        self.drop_path2: nn.Module = nn.Identity()

    def forward(self, x_BNC: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            attn_mask: as of `Attention`.
        """
        x_BNC = x_BNC + self.drop_path1(self.attn(self.norm1(x_BNC), attn_mask=attn_mask))
        out: Tensor = x_BNC + self.drop_path2(self.mlp(self.norm2(x_BNC)))
        return out
