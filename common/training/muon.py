"""Muon: steps along the orthogonalised momentum of weight matrices (Jordan et al. 2024); AdamW for other weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration, from Jordan et al.: singular values converge to about 1 in five steps.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# The root mean square of an update relative to the learning rate, as in AdamW (Liu et al. 2025, "Muon is scalable").
_UPDATE_RMS = 0.2
# Channels from which a layer is wide.
_WIDE = 48


class Muon(torch.optim.Optimizer):
    """Muon for weights of two and more dimensions in `matrices`, AdamW for `others`, with one learning rate.

    Args:
        matrices: weights of hidden layers, (out, in, …).
        others: biases, first and last layers, embeddings.
        lr: peak learning rate.
        momentum: of Muon.
        betas: of AdamW.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
    ) -> None:
        groups = [{"params": list(matrices), "matrices": True}, {"params": list(others), "matrices": False}]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients; there is no closure."""
        for group in self.param_groups:
            update = self._matrix_step if group["matrices"] else self._adam_step
            for weight in group["params"]:
                if weight.grad is not None:
                    update(weight, weight.grad, self.state[weight], group)

    def _matrix_step(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        momentum: Tensor = state.setdefault("momentum", torch.zeros_like(weight))
        momentum.lerp_(gradient, 1 - group["momentum"])
        nesterov = gradient.lerp(momentum, group["momentum"])
        direction = orthogonalised(nesterov.flatten(1))
        factor = _UPDATE_RMS * max(direction.shape) ** 0.5
        weight.sub_(direction.view_as(weight).to(weight.dtype), alpha=group["lr"] * factor)

    def _adam_step(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        first: Tensor = state.setdefault("first", torch.zeros_like(weight))
        second: Tensor = state.setdefault("second", torch.zeros_like(weight))
        steps = state["steps"] = int(state.get("steps", 0)) + 1
        beta_1, beta_2 = group["betas"]
        first.lerp_(gradient, 1 - beta_1)
        second.lerp_(gradient.square(), 1 - beta_2)
        scale = (second / (1 - beta_2**steps)).sqrt_().add_(1e-8)
        weight.addcdiv_(first, scale, value=-group["lr"] / (1 - beta_1**steps))


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: Newton-Schulz iterations in bf16; same shape as `matrix`."""
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = (wide / (wide.norm() + 1e-12)).bfloat16()
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = x if matrix.shape[0] <= matrix.shape[1] else x.T
    return found.float()


def muon_of(network: nn.Module, rate: float, layers: tuple[type[nn.Module], ...]) -> Muon:
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
    return Muon(matrices, [weight for weight in network.parameters() if id(weight) not in chosen], rate)
