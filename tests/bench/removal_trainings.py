"""Data and trainings of the removals bench, each by the command that a user would type."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import BodywireError

CONTROL = "control"
DIFFUSION_REMOVALS = ("u_m", "geometry-bias", "scale-weights")
SEMANTICS_REMOVALS = ("discriminator", "learned-prior")
NETWORKS = ("diffusion", "semantics")
# Features of the crops, which all trainings of semantics read.
_FEATURES = ("features-train.pt", "features-val.pt")


@dataclass(frozen=True)
class Sizes:
    """How much data is made and how long the trainings are; a control and its removals have the same length.

    Args:
        unseen, fresh: (training, validation) crops of the presets `dressed` and `everyday`, which perception was not
            trained on.
        outfits: (training, validation) outfits for the diffusion.
        semantics_steps: steps from random weights.
        diffusion_steps: steps from the shipped weights.
    """

    unseen: tuple[int, int]
    fresh: tuple[int, int]
    outfits: tuple[int, int]
    semantics_steps: int
    diffusion_steps: int


@dataclass
class Trainings:
    """Makes the data and runs the trainings in a folder; existing results are reused.

    Args:
        work: the folder.
        sizes: of data and trainings.
        seed: of the trainings.
        networks: which of `NETWORKS` are trained.
        commands: all commands, also those with existing results, filled by `run`.
    """

    work: Path
    sizes: Sizes
    seed: int
    networks: Sequence[str] = NETWORKS
    commands: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Renders, then runs the trainings of diffusion and semantics in parallel, on one thread each.

        Raises:
            BodywireError: a command failed; its own message precedes this one.
        """
        for arguments in self._data():
            self._call(arguments)
        lanes = {"diffusion": self._train_diffusion, "semantics": self._train_semantics}
        with ThreadPoolExecutor(2) as pool:
            for lane in [pool.submit(lanes[network]) for network in self.networks]:
                lane.result()

    def checkpoint(self, network: str, name: str) -> Path:
        """The checkpoint of a training, `diffusion` or `semantics`, of the control or a removal."""
        return self._folder(network, name) / f"{network}.pt"

    def _folder(self, network: str, name: str) -> Path:
        return self.work / f"{network}-{name}"

    def _data(self) -> list[list[str]]:
        commands = []
        if "semantics" in self.networks:
            for name, preset, seed, counts in (
                ("unseen", "dressed", 14, self.sizes.unseen),
                ("fresh", "everyday", 2, self.sizes.fresh),
            ):
                out = ["--out", str(self.work / name), "--preset", preset, "--seed", str(seed)]
                for split, images in zip(("train", "val"), counts, strict=True):
                    commands.append(["common.synthetic.render_shards", *out, "--split", split, "--count", str(images)])
        if "diffusion" in self.networks:
            for split, outfits in zip(("train", "val"), self.sizes.outfits, strict=True):
                where = ["--out", str(self.work / "outfits"), "--split", split]
                commands.append(["common.synthetic.clothed.outfit_table", *where, "--count", str(outfits)])
        return commands

    def _train_diffusion(self) -> None:
        for name in (CONTROL, *DIFFUSION_REMOVALS):
            data = ["--outfits", str(self.work / "outfits"), "--shipped", "--steps", str(self.sizes.diffusion_steps)]
            self._train("receiver.train.diffusion", "diffusion", name, data)

    def _train_semantics(self) -> None:
        folders = [str(self.work / name) for name in ("unseen", "fresh")]
        for name in (CONTROL, *SEMANTICS_REMOVALS):
            self._share_features(name)
            data = ["--data", *folders, "--steps", str(self.sizes.semantics_steps)]
            self._train("sender.train.semantics", "semantics", name, data)

    def _share_features(self, name: str) -> None:
        """Links the features that the control gathered, so that they are gathered once."""
        out, control = self._folder("semantics", name), self._folder("semantics", CONTROL)
        for file in _FEATURES:
            if (control / file).exists() and not (out / file).exists():
                out.mkdir(parents=True, exist_ok=True)
                os.link(control / file, out / file)

    def _train(self, module: str, network: str, name: str, data: Sequence[str]) -> None:
        out = self._folder(network, name)
        removal = [] if name == CONTROL else ["--without", name]
        flags = ["--out", str(out), "--seed", str(self.seed), "--threads", "1", "--resume", *removal]
        self._call([module, *data, *flags], done=out / "scores.json")

    def _call(self, arguments: Sequence[str], done: Path | None = None) -> None:
        """Runs a module unless the file that it writes last exists."""
        self.commands.append(f"python -m {' '.join(arguments)}")
        if done is not None and done.exists():
            return
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", *arguments]
        ended = subprocess.run(command, check=False, stdout=sys.stderr, env=environment)
        if ended.returncode:
            raise BodywireError(f"python -m {arguments[0]} exited with code {ended.returncode}")
