"""One training in several processes under `torchrun`: one for each GPU, or one for each CPU core.

Each worker draws batches of its own, and the gradients are averaged before each step, so the weights of all workers
stay equal: one step of n workers is one step on n times the batch.  The first worker evaluates, saves and prints.

On two cores, two single-threaded processes train a small network 1.7 times as fast as one process with two threads.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
from torch import Tensor, distributed, nn

from common.errors import UsageError
from common.weights.devices import resolve_device

# The others wait while the first worker gathers data, or evaluates.
_TIMEOUT = timedelta(hours=12)
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes of a training.

    Args:
        rank: of this process, from 0; the first one evaluates, saves and prints.
        count: of processes.
        local_rank: of this process on its machine, from 0.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def join(cls) -> Self:
        """The workers that `torchrun` started, or this process alone."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1:
            # The workers' clock is on the CPU, also where the network is on GPUs.
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, timeout=_TIMEOUT)
        return cls(int(os.environ.get("RANK", "0")), count, int(os.environ.get("LOCAL_RANK", "0")))

    def device(self, wanted: str) -> torch.device:
        """The device of this worker: with `auto` or `cuda`, each worker of a machine has a GPU of its own.

        Raises:
            UsageError: this machine lacks the GPU.
        """
        device = resolve_device(wanted)
        if device.type == "cuda" and self.count > 1 and ":" not in wanted:
            return resolve_device(f"cuda:{self.local_rank}")
        return device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def batch(self, size: int) -> int:
        """This worker's share of a batch.

        Raises:
            UsageError: there are more workers than samples, or the shares are not equal.
        """
        if size % self.count:
            raise UsageError(f"--batch {size} cannot be shared equally among {self.count} workers")
        return size // self.count

    def seed(self, seed: int, step: int = 0) -> int:
        """A seed for the randomness of this worker alone, from `step` of the training on."""
        return seed + step + _SEED_STRIDE * self.rank

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """A block that the first worker finishes before the others begin it: what it writes, they find."""
        if self.count > 1 and not self.first:
            distributed.barrier()
        yield
        if self.count > 1 and self.first:
            distributed.barrier()

    def align(self, network: nn.Module) -> None:
        """Gives the network the first worker's weights and buffers."""
        if self.count > 1:
            for tensor in (*network.parameters(), *network.buffers()):
                distributed.broadcast(tensor.detach(), 0)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replaces the gradients by their means over the workers; all must have those of the same parameters."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        # One message: a message for each of hundreds of small tensors costs more than the copies.
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.count
        for gradient, mean in zip(gradients, together.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def largest(self, *values: float) -> tuple[float, ...]:
        """The maximum of each value over the workers."""
        if self.count == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return tuple(shared.tolist())

    def leave(self) -> None:
        """Waits for all workers and ends their process group."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()
