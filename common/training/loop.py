"""What every training shares: a clock over resumed runs, learning rate, averaged weights, checkpoints and log lines.

The step itself stays in each script:

    loop = TrainingLoop(LoopConfig(minutes=60.0), network, optimiser, Path("runs/decode/checkpoint.pt"))
    for batch in loop.steps(read_ahead(batches)):
        loss = …
        loop.descend(loss)
        loop.log(loss=loss)
    scores = evaluate(loop.average)
"""

import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from common.errors import OutputError, UsageError
from common.io.atomic_write import atomic_write
from common.training.checkpoint import AveragedNetwork, load_checkpoint, save_checkpoint
from common.training.distributed import Workers

Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")

# Weight of the past in the terms of a log line.
_LOG_DECAY = 0.95
_EXIT_SIGTERM = 128 + signal.SIGTERM


class Stateful(Protocol):
    """A network or an optimiser."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Length and rhythm of a training.

    Args:
        minutes: length over all resumed runs; evaluation and saving are not counted.
        steps: length in steps instead, regardless of time; 0 only evaluates.
        samples_per_step: over all workers, for the log and the recipe.
        warm_share: share of the length in which the learning rate rises.
        average_decay: of the moving average of the weights.
        average_every: steps from one update of the average to the next.
        log_every: steps from one log line to the next.
        evaluate_every_s: training time from one evaluation to the next.
        save_every_s: training time from one checkpoint to the next.
    """

    minutes: float
    steps: int | None = None
    samples_per_step: int = 1
    warm_share: float = 0.05
    average_decay: float = 0.998
    average_every: int = 1
    log_every: int = 25
    evaluate_every_s: float = math.inf
    save_every_s: float = 120.0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or (self.steps is not None and self.steps < 0):
            raise ValueError("a training takes more than 0 minutes, or 0 or more steps")


class TrainingLoop(Generic[Network]):
    """Runs the steps of a training; in the first of several workers it also evaluates, saves and prints.

    Args:
        config: length and rhythm.
        network: to train; the average starts as a copy of its present weights.
        optimiser: of the network's parameters, with the peak learning rate of each group.
        checkpoint: file to save to.
        workers: all processes of this training.
        resume: continue from the checkpoint.
        parts: what else has a state to save, by name.
        facts: numbers and texts to save and to report; those of a resumed training win.
        without: what an ablation leaves out.
        evaluate: gives the validation scores of the averaged network.

    Raises:
        UsageError: the checkpoint to resume from cannot be read, or leaves out something else.
    """

    def __init__(
        self,
        config: LoopConfig,
        network: Network,
        optimiser: torch.optim.Optimizer,
        checkpoint: Path,
        *,
        workers: Workers | None = None,
        resume: bool = False,
        parts: Mapping[str, Stateful] | None = None,
        facts: Mapping[str, Any] | None = None,
        without: Sequence[str] = (),
        evaluate: Callable[[Network], Mapping[str, float]] | None = None,
    ) -> None:
        self.config = config
        self.network = network
        self.step = 0
        self.samples = 0
        self.spent_s = 0.0
        self.facts = {**(facts or {}), "without": sorted(without)}
        self._optimiser = optimiser
        self._peak_rates = [float(group["lr"]) for group in optimiser.param_groups]
        self._checkpoint = checkpoint
        self._workers = workers or Workers()
        self._average = AveragedNetwork(network, config.average_decay)
        self._parts: dict[str, Stateful] = {
            "network": network,
            "average": self._average,
            "optimiser": optimiser,
            **(parts or {}),
        }
        self._evaluate = evaluate
        self._recent: dict[str, float] = {}
        self._terminated = False
        if resume:
            self._load()
        self._workers.align(network)
        self._saved_s = self._evaluated_s = self.spent_s

    @property
    def average(self) -> Network:
        """The network with the averaged weights, in evaluation mode."""
        return self._average.network

    @property
    def progress(self) -> float:
        """Share of the training that is over; 1 and more at its end."""
        if self.config.steps is not None:
            return self.step / self.config.steps if self.config.steps else 1.0
        return self.spent_s / (60.0 * self.config.minutes)

    def steps(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches until the training is over, each with the learning rate set; saves at the end.

        Raises:
            OutputError: the checkpoint cannot be written.
            SystemExit: SIGTERM arrived; the state after the last whole step is saved.
        """
        with _handled_sigterm(self._terminate):
            started_s = time.monotonic()
            for batch in batches if self.progress < 1.0 else ():
                self._set_learning_rate()
                yield batch
                self._advance(time.monotonic() - started_s)
                if self._workers.first:
                    self._log_save_and_evaluate()
                if self.progress >= 1.0 or self._terminated:
                    break
                started_s = time.monotonic()
        if self._workers.first:
            self._save()
        if self._terminated:
            self.print(f"terminated after step {self.step}; --resume continues")
            raise SystemExit(_EXIT_SIGTERM)

    def descend(self, loss: Tensor, max_norm: float = 1.0) -> None:
        """One optimiser step with gradients clipped to `max_norm`, skipped if they are not finite; updates the average.

        Gradients are averaged over the workers.  Must be called once in every step.
        """
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._workers.average_gradients(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), max_norm)
        self.step += 1
        if torch.isfinite(norm):
            self._optimiser.step()
            if self._workers.first and self.step % self.config.average_every == 0:
                self._average.update(self.network)

    def log(self, **terms: Tensor | float) -> None:
        """Adds the terms of this step to the running means of the log line."""
        for name, term in terms.items():
            value = float(term.detach() if isinstance(term, Tensor) else term)
            self._recent[name] = self._recent.get(name, value) * _LOG_DECAY + value * (1 - _LOG_DECAY)

    def write_scores(self, path: Path, scores: Mapping[str, Any]) -> None:
        """Prints scores and writes them as JSON: `scores`, `steps`, `samples`, `minutes`, and the facts.

        Raises:
            OutputError: the file cannot be written.
        """
        document = {
            "scores": dict(scores),
            "steps": self.step,
            "samples": self.samples,
            **self.facts,
            "minutes": round(self.spent_s / 60, 3),
        }
        write_json(path, document)
        self.print(f"scores {json.dumps(dict(scores))}")

    def _set_learning_rate(self) -> None:
        factor = warm_cosine(self.progress, self.config.warm_share)
        for group, peak in zip(self._optimiser.param_groups, self._peak_rates, strict=True):
            group["lr"] = peak * factor

    def _advance(self, step_s: float) -> None:
        # The first worker's clock is everybody's: the others also wait while it evaluates and saves.
        own_s = self.spent_s + step_s if self._workers.first else 0.0
        self.spent_s, terminated = self._workers.largest(own_s, float(self._terminated))
        self._terminated = terminated > 0
        self.samples += self.config.samples_per_step

    def _log_save_and_evaluate(self) -> None:
        if self.step % self.config.log_every == 0:
            terms = " ".join(f"{name} {value:.3f}" for name, value in self._recent.items())
            rate = self.samples / max(self.spent_s, 1e-9)
            self.print(f"step {self.step} samples {self.samples} {rate:.0f}/s {terms}")
        evaluates = self._evaluate and self.spent_s - self._evaluated_s >= self.config.evaluate_every_s
        # Saved before an evaluation, which may take longer than a process has between SIGTERM and SIGKILL.
        if evaluates or self.spent_s - self._saved_s >= self.config.save_every_s:
            self._saved_s = self.spent_s
            self._save()
        if self._evaluate and evaluates:
            self._evaluated_s = self.spent_s
            scores = " ".join(f"{name} {value:.3f}" for name, value in self._evaluate(self.average).items())
            self.print(f"step {self.step} validation {scores}")

    def print(self, text: str) -> None:
        """Prints a line behind the training time, in the first worker only."""
        if self._workers.first:
            print(f"{self.spent_s / 60:6.2f} min {text}", flush=True)

    def _save(self) -> None:
        states = {name: part.state_dict() for name, part in self._parts.items()}
        counters = {"step": self.step, "samples": self.samples, "spent_s": self.spent_s}
        save_checkpoint(self._checkpoint, {**states, **counters, "facts": self.facts})

    def _load(self) -> None:
        state = load_checkpoint(self._checkpoint)
        without = state["facts"]["without"]
        if without != self.facts["without"]:
            raise UsageError(f"{self._checkpoint} was trained with --without {' '.join(without) or '(nothing)'}")
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self.step, self.samples, self.spent_s = state["step"], state["samples"], state["spent_s"]
        self.facts = {**self.facts, **state["facts"]}

    def _terminate(self) -> None:
        self._terminated = True


def warm_cosine(progress: float, warm_share: float = 0.05, floor: float = 0.01) -> float:
    """Factor on the peak learning rate: linear warm-up, then half a cosine down to `floor`.

    Args:
        progress: share of the training that is over; the factor stays at the floor beyond 1.
        warm_share: share of the training spent warming up.
        floor: the factor at the end.
    """
    if progress < warm_share:
        return max(progress / warm_share, floor)
    rest = min((progress - warm_share) / (1 - warm_share), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * rest))


def read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each prepared in a thread while the one before is in use."""
    end = object()
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, end)
        while (batch := coming.result()) is not end:
            coming = reader.submit(next, batches, end)
            yield batch  # type: ignore[misc]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, (json.dumps(document, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _handled_sigterm(handle: Callable[[], None]) -> Iterator[None]:
    previous = signal.signal(signal.SIGTERM, lambda _number, _frame: handle())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
