"""Operations a frame, in networks and beside them: `python -m tests.bench.launches`.

The demo clip passes the networks of sender and receiver.  Eagerly on a GPU each operation would be a launch:

    calls      of networks; on a GPU each is the launch of one graph
    inside     operations in the networks
    beside     PyTorch's operations on the host, between the networks
"""

import argparse
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from common.frames import LabelFrame
from common.weights import inference
from common.weights.inference import NetworkInUse
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from tests.bench import report
from tests.bench.perceived import FrameSender, demo_frames

# The first frames find somebody, who is then followed.
WARM_UP, FRAMES = 5, 30

Stage = Callable[[Any], Any]


class _Operations(TorchDispatchMode):
    """Counts what would launch a kernel: operations whose results are no views.

    Args:
        inside: whether a network runs.
    """

    def __init__(self, *, inside: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside, self.count = inside, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Operations in a network come here again for those that count around it.
        self.count += self.inside == _running.inside and not func.is_view
        return func(*args, **(kwargs or {}))


class _Running(threading.local):
    """Whether this thread runs a network."""

    inside = False


_running = _Running()


@contextmanager
def _by_pytorch(counts: list[int]) -> Iterator[None]:
    """Networks run by PyTorch; the operations of each call are noted."""
    eager = NetworkInUse.eager

    def counted(network: NetworkInUse, *inputs: Tensor) -> tuple[Tensor, ...]:
        _running.inside = True
        with _Operations(inside=True) as operations:
            outputs = eager(network, *inputs)
        _running.inside = False
        counts.append(operations.count)
        return outputs

    with (
        mock.patch.object(inference, "_has_openvino", lambda: False),
        mock.patch.object(NetworkInUse, "eager", counted),
    ):
        yield


def figures(load: Callable[[], Stage], inputs: Sequence[Any]) -> dict[str, float]:
    """Of the stage that `load` makes, a frame, after the first inputs."""
    counts: list[int] = []
    with _by_pytorch(counts):
        stage = load()
        for value in inputs[:WARM_UP]:
            stage(value)
        counts.clear()
        with _Operations(inside=False) as beside:
            for value in inputs[WARM_UP:]:
                stage(value)
    frames = len(inputs) - WARM_UP
    return {"calls": len(counts) / frames, "inside": sum(counts) / frames, "beside": beside.count / frames}


def main(arguments: Sequence[str] | None = None) -> int:
    return report.run(report.flags("launches", __doc__, 0), _work, arguments)


def _work(options: argparse.Namespace) -> None:
    frames = list(demo_frames(WARM_UP + FRAMES))
    sender = FrameSender()
    labels = [sender.label(frame) for frame in frames]
    systems = {
        "sender": figures(lambda: FrameSender().label, frames),
        "receiver": figures(lambda: _reconstruct(Reconstructor.load()), labels),
    }
    report.publish(options, systems, "demo clip, one person")


def _reconstruct(reconstructor: Reconstructor) -> Callable[[LabelFrame], object]:
    return lambda labels: reconstructor.reconstruct(ReconstructionRequest("bench", "bench", labels))


if __name__ == "__main__":
    sys.exit(main())
