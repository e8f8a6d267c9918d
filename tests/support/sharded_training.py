"""A training of a few weights, for `torchrun`: each worker has its share of the rows of every batch.

    python -m torch.distributed.run --nproc-per-node 2 tests/support/sharded_training.py OUT

Writes the weights of each worker to OUT/rank-N.pt.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from common.training.distributed import Workers
from common.training.loop import LoopConfig, TrainingLoop

STEPS, ROWS = 5, 8


def batches() -> Iterator[Tensor]:
    """Whole batches (8, 4)."""
    for number in itertools.count():
        yield torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(number))


def train(out: Path, workers: Workers) -> nn.Module:
    """The network after `STEPS` steps; the first worker's first weights count."""
    torch.manual_seed(workers.rank)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    config = LoopConfig(minutes=60, steps=STEPS, samples_per_step=ROWS)
    loop = TrainingLoop(config, network, optimiser, out / "run.pt", workers=workers)
    share = workers.batch(ROWS)
    for batch in loop.steps(batches()):
        own = batch[workers.rank * share : (workers.rank + 1) * share]
        loop.descend((network(own) - own.sum(1, keepdim=True)).square().mean(), max_norm=0.5)
    return network


def main() -> None:
    out, workers = Path(sys.argv[1]), Workers.join()
    with workers.first_before_others():
        # The file of the first worker is there before the second looks for it.
        (out / f"began-{workers.rank}").write_text(str(sorted(file.name for file in out.glob("began-*"))))
    torch.save(train(out, workers).state_dict(), out / f"rank-{workers.rank}.pt")
    workers.leave()


if __name__ == "__main__":
    main()
