"""Networks captured as CUDA graphs: batches of several threads' calls, their sizes, and networks without a graph."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from common.weights import captured
from common.weights.captured import CapturedNetwork, CudaGraph, hold_in_bf16
from common.weights.devices import CPU

SECONDS = 10


class Graph:
    """In place of a CUDA graph: doubles its input, and waits in each run until it is let."""

    made: list["Graph"]

    def __init__(self, _network: object, example: Sequence[Tensor], _device: torch.device) -> None:
        self.size = len(example[0])
        self.runs: list[int] = []
        self.entered, self.released = threading.Semaphore(0), threading.Semaphore(0)
        Graph.made.append(self)

    def run(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self.runs.append(len(inputs[0]))
        self.entered.release()
        assert self.released.acquire(timeout=SECONDS)
        if bool((inputs[0] < 0).any()):
            raise ValueError("a negative input")
        return (inputs[0] * 2, inputs[0].sum(dim=1))


class FreeGraph(Graph):
    def __init__(self, network: object, example: Sequence[Tensor], device: torch.device) -> None:
        super().__init__(network, example, device)
        self.released.release(1000)


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    Graph.made = []
    monkeypatch.setattr(captured, "CudaGraph", FreeGraph)
    return Graph.made


def doubled(*inputs: Tensor) -> tuple[Tensor, ...]:
    return (inputs[0] * 2, inputs[0].sum(dim=1))


def rows(count: int, first: float = 0.0) -> Tensor:
    return first + torch.arange(3.0 * count).reshape(count, 3)


@pytest.mark.parametrize(
    ("count", "sizes", "runs"),
    [(1, [1], [1]), (3, [4], [3]), (32, [32], [32]), (70, [32, 8], [32, 32, 6])],
)
def test_batches_are_padded_and_split(graphs: list[Graph], count: int, sizes: list[int], runs: list[int]) -> None:
    network = CapturedNetwork(doubled, "tiny", CPU)
    for _ in range(2):  # captured, then run again
        torch.testing.assert_close(network(rows(count)), doubled(rows(count)))
    assert [graph.size for graph in graphs] == sizes
    assert sorted(run for graph in graphs for run in graph.runs) == sorted(2 * runs)


def test_whoever_waits_goes_together(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "CudaGraph", Graph)
    network = CapturedNetwork(doubled, "tiny", CPU)
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(network, rows(1))]
        wait_until(lambda: len(graphs) == 1)
        (alone,) = graphs
        assert alone.entered.acquire(timeout=SECONDS)
        for number, count in enumerate((2, 1, 2), 1):
            calls.append(pool.submit(network, rows(count, 100.0 * number)))
            wait_until(partial(has_waiting, network, number))
        other = pool.submit(network, torch.ones(1, 5))
        wait_until(partial(has_waiting, network, 4))
        alone.released.release()
        wait_until(lambda: len(graphs) == 2)
        graphs[1].released.release()
        wait_until(lambda: len(graphs) == 3)
        graphs[2].released.release()
        found = [call.result(SECONDS) for call in calls]
    assert [(graph.size, graph.runs) for graph in graphs] == [(1, [1]), (8, [5]), (1, [1])]
    for output, inputs in zip(found, (rows(1), rows(2, 100), rows(1, 200), rows(2, 300)), strict=True):
        torch.testing.assert_close(output, doubled(inputs))
    torch.testing.assert_close(other.result(), doubled(torch.ones(1, 5)))


def test_many_threads_get_their_own_rows() -> None:
    network = CapturedNetwork(doubled, "tiny", CPU)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: network(rows(1 + number % 3, number)), range(400)))
    for number, output in enumerate(found):
        torch.testing.assert_close(output, doubled(rows(1 + number % 3, number)))


def test_error_reaches_all_of_its_batch_and_nobody_else(graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "CudaGraph", Graph)
    network = CapturedNetwork(doubled, "tiny", CPU)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(network, rows(1))
        wait_until(lambda: len(graphs) == 1)
        bad = [pool.submit(network, rows(1, -1.0)), pool.submit(network, rows(1))]
        wait_until(partial(has_waiting, network, 2))
        graphs[0].released.release()
        wait_until(lambda: len(graphs) == 2)
        graphs[1].released.release()
        torch.testing.assert_close(first.result(SECONDS), doubled(rows(1)))
        for call in bad:
            with pytest.raises(ValueError, match="a negative input"):
                call.result(SECONDS)
        graphs[0].released.release()
        torch.testing.assert_close(network(rows(1)), doubled(rows(1)))


def test_without_a_graph_it_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(captured, "CudaGraph", refused)
    network = CapturedNetwork(doubled, "tiny", CPU)
    for count in (1, 40):
        torch.testing.assert_close(network(rows(count)), doubled(rows(count)))
    assert [record.getMessage() for record in caplog.records] == [
        "the network tiny cannot be captured, and runs slower: operation not permitted when stream is capturing"
    ]


class Recording(TorchDispatchMode):
    """In place of `torch.cuda.CUDAGraph` and the context that captures: its operations run again, in their places."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.operations:
            again = func(*args, **kwargs)
            if not func.is_view and again is not result:
                result.copy_(again)


def test_graph_runs_on_the_inputs_of_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *sizes, pin_memory, **kinds: zeros(*sizes, **kinds))
    for name in ("Stream", "Event"):
        monkeypatch.setattr(torch.cuda, name, mock.MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: graph)

    def network(*inputs: Tensor) -> tuple[Tensor, ...]:
        values, flags, levels = inputs
        return values * 2, ~flags, levels, torch.where(flags[:, None], values, levels)

    batches = [(rows(4, first), rows(4)[:, 0] > first / 9, rows(4).byte()) for first in (0.0, 7.0, 50.0)]
    graph = CudaGraph(network, batches[0], CPU)
    found = [graph.run([tensor[:count] for tensor in batch]) for batch, count in zip(batches, (4, 3, 1), strict=True)]
    for batch, outputs, count in zip(batches, found, (4, 3, 1), strict=True):
        torch.testing.assert_close(outputs, tuple(output[:count] for output in network(*batch)))


class Mixed(nn.Module):
    """A layer in bf16, one in float32, and one in both."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.exact, self.both = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(self.fast(x))
        with torch.autocast("cpu", enabled=False):
            return self.both(self.exact(x.float()))  # type: ignore[no-any-return]


def test_weights_are_converted_once() -> None:
    torch.manual_seed(0)
    network = Mixed()

    def run(x: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return (network(x),)

    expected = run(rows(2))
    hold_in_bf16(network, run, [rows(2)])
    assert [layer.weight.dtype for layer in (network.fast, network.exact, network.both)] == [
        torch.bfloat16,
        torch.float32,
        torch.float32,
    ]
    torch.testing.assert_close(run(rows(2)), expected, atol=0, rtol=0)


def has_waiting(network: CapturedNetwork, calls: int) -> bool:
    return len(network._waiting) == calls


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits until other threads have come so far."""
    pause = threading.Event()
    for _ in range(1000 * SECONDS):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("nothing came")
