"""Runs a training: device, clock over resumed runs, learning rate, averaged weights, checkpoints.

    OUT/<name>.pt     checkpoint, every two minutes, at the end and on SIGTERM
    OUT/scores.json   scores of the trained network, with length and facts

A log line has the samples a second, and what the time went to: waiting for data, steps, evaluation.  Small models are
fitted to all data at once (`fitted`).
"""

import argparse
import copy
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn

from common.errors import OutputError, UsageError, exit_code_of
from common.io.command_line import parser_of
from common.io.files import atomic_replacement, atomic_write
from common.training.recipe import (
    Batch,
    Network,
    Progress,
    Recipe,
    Stateful,
    add_export_flags,
    loaded,
    parser_of_training,
)
from common.weights.devices import resolve_device
from common.weights.loader import save_weights
from common.weights.manifest import Storage

_SAVE_EVERY_S = 120.0
_EXIT_SIGTERM = 128 + signal.SIGTERM


def parse(recipe_type: type[Recipe[Any, Any]], arguments: list[str] | None = None) -> argparse.Namespace:
    """The values of all flags of a training.

    Raises:
        UsageError: a training takes more than 0 minutes, or 0 or more steps, and has 0 or more loaders.
    """
    parser = parser_of_training(recipe_type)
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or (options.steps is not None and options.steps < 0):
        parser.error("a training takes more than 0 minutes, or 0 or more steps")
    if options.loaders < 0:
        parser.error("--loaders is a number of processes, 0 or more")
    return options


def main(recipe_type: type[Recipe[Any, Any]]) -> int:
    """The command line; returns the exit code."""
    spec = sys.modules[recipe_type.__module__].__spec__
    return exit_code_of(f"python -m {spec.name if spec else '…'}", lambda: train(recipe_type, parse(recipe_type)))


def train(recipe_type: type[Recipe[Network, Batch]], options: argparse.Namespace) -> Network:
    """The whole training, top to bottom; returns the averaged network."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    path = options.out / f"{recipe_type.name}.pt"
    state = load_checkpoint(path) if options.resume and path.exists() else None
    recipe = recipe_type(options, resolve_device(options.device), state and state["facts"])
    run = Run(recipe, recipe.prepare(), path, state)
    run.train()
    recipe.finish(run.average)
    scores = run.scores(recipe.final_scores)
    run.write_scores(options.out / "scores.json", scores)
    if options.export:
        entry = recipe.save(run.average.cpu(), recipe.manifest_recipe(run.progress), scores)
        print(f"wrote {options.weights / entry.file}")
    return run.average


class Run(Generic[Network, Batch]):
    """The steps of a training, with evaluations, checkpoints and a log.

    Args:
        network: to train; the average starts as a copy of its present weights.
    """

    def __init__(
        self, recipe: Recipe[Network, Batch], network: Network, checkpoint: Path, state: Mapping[str, Any] | None = None
    ) -> None:
        self.recipe, self.network = recipe, network.to(recipe.device).train()
        self.progress = Progress()
        self._checkpoint = checkpoint
        self._optimisers = recipe.optimisers(network)
        self._average = AveragedNetwork(network, recipe.defaults.average_decay)
        optimisers = {f"optimiser_{number}": one for number, one in enumerate(self._optimisers)}
        trained: dict[str, Stateful] = {"network": network, "average": self._average}
        self._parts = trained | optimisers | dict(recipe.parts())
        self._peak_rates = [[float(group["lr"]) for group in one.param_groups] for one in self._optimisers]
        self._spent_s = {"data": 0.0, "steps": 0.0, "evaluation": 0.0}
        self._terms: dict[str, Tensor] = {}
        self._terminated = False
        recipe.facts = {"seed": recipe.options.seed, **recipe.facts}
        if state:
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            self.progress = Progress(**state["progress"])
            recipe.facts |= state["facts"]
        recipe.share = self.share
        self._saved, self._evaluated, self._first_samples = self.progress, self.progress, self.progress.samples

    @property
    def average(self) -> Network:
        """The network with the averaged weights, in evaluation mode."""
        return self._average.network

    @property
    def share(self) -> float:
        """Share of the training that is over; 1 and more at its end."""
        steps = self.recipe.options.steps
        if steps is not None:
            return self.progress.steps / steps if steps else 1.0
        return self.progress.minutes / float(self.recipe.options.minutes)

    def train(self) -> None:
        """Takes steps until the training is over; saves at the end.

        Raises:
            OutputError: the checkpoint cannot be written.
            SystemExit: SIGTERM arrived; the state after the last whole step is saved.
        """
        recipe, network, options, seed = self.recipe, self.network, self.recipe.options, self._seed
        torch.manual_seed(seed)
        size = sum(weight.numel() for weight in network.parameters())
        self.print(f"{size / 1e6:.2f} M parameters on {recipe.device} {json.dumps(recipe.facts)}")
        if options.compile:
            # Once for each size of its inputs: a network for all sizes is slower.
            network.compile(dynamic=False)
        previous = signal.signal(signal.SIGTERM, lambda _number, _frame: self._terminate())
        batches = loaded(partial(recipe.batches, options.batch), seed, options.loaders)
        try:
            while self.share < 1.0 and not self._terminated:
                began_s = time.monotonic()
                with self._timing("data"):
                    batch = on_device(next(batches), recipe.device)
                with self._timing("steps"):
                    self._set_learning_rates()
                    loss, terms = recipe.step(network, batch)
                    self._descend(loss)
                    for name, term in {"loss": loss, **terms}.items():
                        mean = self._terms.get(name, term.detach())
                        self._terms[name] = torch.lerp(term.detach().float(), mean.float(), 0.95)
                minutes = self.progress.minutes + (time.monotonic() - began_s) / 60
                self.progress = Progress(self.progress.steps + 1, self.progress.samples + options.batch, minutes)
                recipe.share = self.share
                self._log_save_and_evaluate()
        finally:
            batches.close()
            signal.signal(signal.SIGTERM, previous)
        self._save()
        if self._terminated:
            self.print(f"terminated after step {self.progress.steps}; --resume continues")
            raise SystemExit(_EXIT_SIGTERM)

    def scores(self, evaluate: Callable[[Network], dict[str, float]]) -> dict[str, float]:
        """What a recipe's evaluation says of the averaged network."""
        torch.manual_seed(0)
        with self._timing("evaluation"), torch.no_grad():
            scores = evaluate(self.average)
        # Not the same random numbers after each evaluation.
        torch.manual_seed(self._seed)
        return scores

    def write_scores(self, path: Path, scores: Mapping[str, float]) -> None:
        """Prints scores and writes them as JSON: `scores`, `steps`, `samples`, `minutes`, and the facts.

        Raises:
            OutputError: the file cannot be written.
        """
        length = asdict(self.progress) | {"minutes": round(self.progress.minutes, 3)}
        write_json(path, {"scores": dict(scores), **length, **self.recipe.facts})
        self.print(f"scores {json.dumps(dict(scores))}")

    def print(self, text: str) -> None:
        """Prints a line behind the training time."""
        print(f"{self.progress.minutes:6.2f} min {text}", flush=True)

    @property
    def _seed(self) -> int:
        """Of the randomness from here on: other numbers than those before."""
        return int(self.recipe.options.seed) + self.progress.steps

    def _set_learning_rates(self) -> None:
        factor = warm_cosine(self.share, self.recipe.defaults.warm_share)
        for optimiser, peaks in zip(self._optimisers, self._peak_rates, strict=True):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def _descend(self, loss: Tensor) -> None:
        """One step with clipped gradients; skipped if they are not finite."""
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.defaults.largest_norm)
        if torch.isfinite(norm):
            for optimiser in self._optimisers:
                optimiser.step()
            self._average.update(self.network)

    def _log_save_and_evaluate(self) -> None:
        steps, samples, minutes = self.progress.steps, self.progress.samples, self.progress.minutes
        over = self.share >= 1.0
        if steps % self.recipe.defaults.log_every == 0 or over:
            terms = " ".join(f"{name} {float(value):.3f}" for name, value in self._terms.items())
            rate = (samples - self._first_samples) / max(self._spent_s["data"] + self._spent_s["steps"], 1e-9)
            whole = max(sum(self._spent_s.values()), 1e-9)
            spent = ", ".join(f"{what} {spent_s / whole:.0%}" for what, spent_s in self._spent_s.items())
            self.print(f"step {steps} samples {samples} {rate:.1f} samples/s ({spent}) {terms}")
        evaluates = minutes - self._evaluated.minutes >= self.recipe.defaults.evaluate_minutes and not over
        # Saved before an evaluation, which may take longer than a process has between SIGTERM and SIGKILL.
        if evaluates or 60 * (minutes - self._saved.minutes) >= _SAVE_EVERY_S:
            self._saved = self.progress
            self._save()
        if evaluates:
            self._evaluated = self.progress
            scores = self.scores(self.recipe.evaluate)
            self.print(f"step {steps} validation " + " ".join(f"{name} {value:.3f}" for name, value in scores.items()))

    @contextmanager
    def _timing(self, what: str) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self._spent_s[what] += time.monotonic() - began_s

    def _save(self) -> None:
        states = {name: part.state_dict() for name, part in self._parts.items()}
        save_checkpoint(self._checkpoint, {**states, "progress": asdict(self.progress), "facts": self.recipe.facts})

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


def on_device(batch: Any, device: torch.device) -> Any:
    """A batch on a device: a tensor, or a tuple or dataclass of such; anything else stays."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{item.name: on_device(getattr(batch, item.name), device) for item in fields(batch)})
    if isinstance(batch, tuple):
        parts = [on_device(part, device) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically. Raises OutputError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, (json.dumps(document, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


class AveragedNetwork(Generic[Network]):
    """Exponential moving average of a network in training; `network` is the average, which is evaluated and exported.

    Args:
        source: the network in training; its buffers (batch norm) are averaged too.
        decay: weight of the past at each step, after the first steps.
    """

    def __init__(self, source: Network, decay: float = 0.998) -> None:
        self.network: Network = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Moves the average towards `source`, faster in the first steps, so that the initial weights fade."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        other = source.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(other[name].to(value), share)
            else:
                value.copy_(other[name])

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        self.network.load_state_dict(state["network"])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, texts, nested) to `path` atomically.

    Raises:
        OutputError: the directory cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(path) as partial:
            torch.save(state, partial)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot write the checkpoint {path}: {error}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote. Raises UsageError if the checkpoint is missing or cannot be read."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"cannot resume from {path}: {error}") from error
    return state


def parser_of_fit(program: str, document: str) -> argparse.ArgumentParser:
    """A parser with the flags of every fit; arguments as of `parser_of`, `program` without `python -m`."""
    parser = parser_of(f"python -m {program}", document)
    out = Path("runs") / program.rpartition(".")[2]
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help="folder of scores (%(default)s)")
    add_export_flags(parser, "also write the weights and their scores")
    return parser


def fitted(network: Network, loss: Callable[[], Tensor], steps: int, rate: float, decay: float = 0.0) -> Network:
    """The network after so many steps of AdamW down a loss, frozen and in evaluation mode."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def save_fit(
    options: argparse.Namespace,
    name: str,
    tensors: Mapping[str, Tensor],
    architecture: Mapping[str, Any],
    recipe: Mapping[str, Any],
    scores: Mapping[str, Any],
    storage: Storage = "float32",
) -> None:
    """Prints the scores, writes them to `--out`, and with `--export` the weights; arguments as of `save_weights`."""
    print(dict(scores))
    write_json(options.out / "scores.json", {"scores": dict(scores)})
    if options.export:
        entry = save_weights(name, tensors, architecture, recipe, scores, storage=storage, directory=options.weights)
        print(f"wrote {options.weights / entry.file}")
