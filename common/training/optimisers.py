"""Muon and AdamW for one network: Muon for the weights between wide layers, AdamW for all else."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Channels from which a layer is wide.
_WIDE = 48


class ConvolutionMuon(torch.optim.Muon):
    """Muon, which takes matrices, for weights (out, in, …) of more dimensions.

    The root mean square of an update relative to the learning rate is that of AdamW (Liu et al. 2025, "Muon is
    scalable").
    """

    def __init__(self, weights: Sequence[Tensor], lr: float) -> None:
        self._weights = list(weights)
        matrices = [weight.detach().flatten(1).clone() for weight in weights]
        super().__init__(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        pairs = list(zip(self._weights, self.param_groups[0]["params"], strict=True))
        for weight, matrix in pairs:
            matrix.copy_(weight.flatten(1))
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step()  # type: ignore[no-untyped-call]
        for weight, matrix in pairs:
            weight.copy_(matrix.view(weight.shape))


def muon_and_adamw(
    network: nn.Module, rate: float, layers: tuple[type[nn.Module], ...] = (nn.Conv2d,)
) -> list[torch.optim.Optimizer]:
    """Muon for the weights of `layers` between wide layers, without modulations; AdamW for all else."""
    matrices = [
        module.weight
        for name, module in network.named_modules()
        if isinstance(module, layers)
        and isinstance(module.weight, Tensor)
        and min(module.weight.shape[:2]) >= _WIDE
        and "modulation" not in name
    ]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in network.parameters() if id(weight) not in chosen]
    adamw = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [ConvolutionMuon(matrices, rate), adamw] if matrices else [adamw]
