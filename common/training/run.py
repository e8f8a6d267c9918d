"""Runs a training: device, clock over resumed runs, learning rate, averaged weights, checkpoints.

    OUT/<name>.pt     checkpoint, every two minutes, at the end and on SIGTERM
    OUT/scores.json   scores of the trained network, with length and facts

A log line has the samples a second, and what the time went to: waiting for data, steps, evaluation.
"""

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn

from common.errors import OutputError, exit_code_of
from common.io.files import atomic_write
from common.training.checkpoint import AveragedNetwork, load_checkpoint, save_checkpoint
from common.training.recipe import Batch, Network, Progress, Recipe, Stateful, loaded, parser_of_training
from common.weights.devices import resolve_device

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
        self._parts: dict[str, Stateful] = {
            "network": network,
            "average": self._average,
            **optimisers,
            **recipe.parts(),
        }
        self._peak_rates = [[float(group["lr"]) for group in one.param_groups] for one in self._optimisers]
        self._clock = Clock()
        self._terms: dict[str, Tensor] = {}
        self._terminated = False
        recipe.facts = {"seed": recipe.options.seed, **recipe.facts}
        if state:
            self._load(state)
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
        options, recipe = self.recipe.options, self.recipe
        seed = self._seed
        torch.manual_seed(seed)
        size = sum(weight.numel() for weight in self.network.parameters())
        self.print(f"{size / 1e6:.2f} M parameters on {recipe.device} {json.dumps(recipe.facts)}")
        network = self.network
        if options.compile:
            # Once for each size of its inputs: a network for all sizes is slower.
            network.compile(dynamic=False)
        with _handled_sigterm(self._terminate):
            batches = loaded(partial(recipe.batches, options.batch), seed, options.loaders)
            while self.share < 1.0 and not self._terminated:
                began_s = time.monotonic()
                with self._clock.timing("data"):
                    batch = on_device(next(batches), recipe.device)
                with self._clock.timing("steps"):
                    self._set_learning_rates()
                    loss, terms = recipe.step(network, batch)
                    self._descend(loss)
                    self._add_terms({"loss": loss, **terms})
                self._advance(time.monotonic() - began_s)
                self._log_save_and_evaluate()
            batches.close()
        self._save()
        if self._terminated:
            self.print(f"terminated after step {self.progress.steps}; --resume continues")
            raise SystemExit(_EXIT_SIGTERM)

    def scores(self, evaluate: Callable[[Network], dict[str, float]]) -> dict[str, float]:
        """What a recipe's evaluation says of the averaged network."""
        torch.manual_seed(0)
        with self._clock.timing("evaluation"), torch.no_grad():
            scores = evaluate(self.average)
        # Not the same random numbers after each evaluation.
        torch.manual_seed(self._seed)
        return scores

    def write_scores(self, path: Path, scores: Mapping[str, float]) -> None:
        """Prints scores and writes them as JSON: `scores`, `steps`, `samples`, `minutes`, and the facts.

        Raises:
            OutputError: the file cannot be written.
        """
        length = {"steps": self.progress.steps, "samples": self.progress.samples}
        minutes = {"minutes": round(self.progress.minutes, 3)}
        write_json(path, {"scores": dict(scores), **length, **self.recipe.facts, **minutes})
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
        if not torch.isfinite(norm):
            return
        for optimiser in self._optimisers:
            optimiser.step()
        self._average.update(self.network)

    def _add_terms(self, terms: Mapping[str, Tensor]) -> None:
        """Adds the terms of a step to the running means of the log line."""
        for name, term in terms.items():
            self._terms[name] = torch.lerp(term.detach().float(), self._terms.get(name, term.detach()).float(), 0.95)

    def _advance(self, step_s: float) -> None:
        before, batch = self.progress, int(self.recipe.options.batch)
        self.progress = Progress(before.steps + 1, before.samples + batch, before.minutes + step_s / 60)
        self.recipe.share = self.share

    def _log_save_and_evaluate(self) -> None:
        steps, samples, minutes = self.progress.steps, self.progress.samples, self.progress.minutes
        over = self.share >= 1.0
        if steps % self.recipe.defaults.log_every == 0 or over:
            terms = " ".join(f"{name} {float(value):.3f}" for name, value in self._terms.items())
            rate = self._clock.rate(samples - self._first_samples)
            self.print(f"step {steps} samples {samples} {rate:.1f} samples/s ({self._clock}) {terms}")
        evaluates = minutes - self._evaluated.minutes >= self.recipe.defaults.evaluate_minutes and not over
        # Saved before an evaluation, which may take longer than a process has between SIGTERM and SIGKILL.
        if evaluates or 60 * (minutes - self._saved.minutes) >= _SAVE_EVERY_S:
            self._saved = self.progress
            self._save()
        if evaluates:
            self._evaluated = self.progress
            scores = self.scores(self.recipe.evaluate)
            self.print(f"step {steps} validation " + " ".join(f"{name} {value:.3f}" for name, value in scores.items()))

    def _save(self) -> None:
        states = {name: part.state_dict() for name, part in self._parts.items()}
        progress = {item.name: getattr(self.progress, item.name) for item in fields(Progress)}
        save_checkpoint(self._checkpoint, {**states, "progress": progress, "facts": self.recipe.facts})

    def _load(self, state: Mapping[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self.progress = Progress(**state["progress"])
        self.recipe.facts = {**self.recipe.facts, **state["facts"]}

    def _terminate(self) -> None:
        self._terminated = True


class Clock:
    """What the time of a training goes to."""

    def __init__(self) -> None:
        self._spent_s = {"data": 0.0, "steps": 0.0, "evaluation": 0.0}

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Adds the time of a block."""
        began_s = time.monotonic()
        yield
        self._spent_s[what] += time.monotonic() - began_s

    def rate(self, samples: int) -> float:
        """Samples a second of training, evaluation left out."""
        return samples / max(self._spent_s["data"] + self._spent_s["steps"], 1e-9)

    def __str__(self) -> str:
        whole = max(sum(self._spent_s.values()), 1e-9)
        return ", ".join(f"{what} {spent_s / whole:.0%}" for what, spent_s in self._spent_s.items())


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


@contextmanager
def _handled_sigterm(handle: Callable[[], None]) -> Iterator[None]:
    previous = signal.signal(signal.SIGTERM, lambda _number, _frame: handle())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
