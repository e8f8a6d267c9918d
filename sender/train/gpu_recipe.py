"""What one GPU and some sixteen cores train in 25 minutes, as stages for `common.training.stages`.

The GPU is shared by what trains at a time; cores render and prepare batches.  Rendering goes on while perception and
the detector train, which pick up shards as they are finished.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.training.stages import Stage

# Shares of all minutes.  Perception and the detector train at the same time; what reads them follows.
_MAIN, _SEMANTICS, _CLOTHING = 0.5, 0.08, 0.12
# Of so many outfits, the diffusion has not learned any by heart after so many steps.
_OUTFITS, _DIFFUSION_STEPS = 20_000, 20_000
# Folder → preset, seed, side of the crops and numbers for training and validation.  The first two are rendered before
# anything trains.
_CROPS: dict[str, tuple[str, int, int, int, int]] = {
    "everyday": ("everyday", 81, 128, 2048, 512),
    "dressed": ("dressed", 82, 128, 16384, 0),
    "candid": ("candid", 83, 128, 16384, 0),
    "close": ("dressed", 84, 256, 4096, 512),
    "unseen": ("dressed", 14, 128, 8192, 768),
    "fresh": ("everyday", 2, 128, 16384, 1024),
    "wardrobe": ("wardrobe", 61, 160, 12288, 512),
}
_TRAINED_ON = ("everyday", "dressed", "candid")
_LEAST_CROPS = 64
# Of photographs, for semantics.
_FITTED_CROPS = 12000


@dataclass(frozen=True, slots=True)
class GpuRecipe:
    """The stages.

    Args:
        out: folder of crops, checkpoints and scores.
        photographs: folder of `sender.train.photographs`.
        minutes: about how long all of it takes.
        share: of the crops.
        cores: of the machine.
        gpu: the machine has one.  Steps are not compiled: for perception that takes four minutes, and makes them 1.2
            times as fast.
    """

    out: Path
    photographs: Path
    minutes: float
    share: float
    cores: int
    gpu: bool

    def stages(self) -> list[Stage]:
        """In the order in which they begin."""
        return [*self._first_crops(), *self._main(), *self._outfits(), *self._more_crops(), *self._readers()]

    @property
    def _loaders(self) -> tuple[int, int]:
        """Processes that prepare batches for perception and for the detector, whose frames take longest."""
        return max(self.cores * 3 // 8, 1), max(self.cores * 5 // 16, 1)

    def _first_crops(self) -> Iterator[Stage]:
        yield from self._rendered("everyday", self.cores)
        yield from self._rendered("close", self.cores)

    def _more_crops(self) -> Iterator[Stage]:
        workers = max(self.cores - sum(self._loaders) - 2, 1)
        for folder in _CROPS:
            if folder not in ("everyday", "close"):
                yield from self._rendered(folder, workers)

    def _rendered(self, folder: str, workers: int) -> Iterator[Stage]:
        preset, seed, side, train, val = _CROPS[folder]
        for split, count in (("train", train), ("val", val)):
            if not count:
                continue
            crops = max(round(count * self.share), _LEAST_CROPS)
            flags = {"out": self.out / folder, "split": split, "count": crops, "preset": preset, "seed": seed}
            yield _stage(
                f"{folder}-{split}",
                "common.synthetic.render_shards",
                flags | {"size": side, "workers": workers},
                cores=workers,
            )

    def _main(self) -> Iterator[Stage]:
        """Perception and the detector; both wait for the first crops."""
        first = ("everyday-train", "everyday-val", "close-train", "close-val")
        data = [self.out / folder for folder in _TRAINED_ON]
        many, few = self._loaders
        shared = {"photographs": self.photographs, "minutes": _MAIN * self.minutes, "resume": True}
        perception = {"data": data, "out": self.out / "perception", "shipped": True, "size": [160, 192]}
        steps = {"batch": 384, "rate": 1.3e-3, "drop-path": 0.15, "loaders": many} if self.gpu else {"loaders": many}
        yield _stage("perception", "sender.train.perception", perception | shared | steps, first, many + 1)
        detector = {"data": [self.out / "close", data[0]], "out": self.out / "detector", "shipped": True}
        detector |= {"refinements": 4, "size": 320}
        steps = {"batch": 128, "rate": 1e-3, "loaders": few} if self.gpu else {"loaders": few}
        yield _stage("detector", "sender.train.detector", detector | shared | steps, first, few + 1)
        photographs = {"photographs": self.photographs, "export": True}
        for name, flags in (("perception", perception), ("detector", detector)):
            flags = {key: value for key, value in flags.items() if key != "shipped"}
            yield _stage(f"{name}-weights", f"sender.train.{name}", flags | photographs, (name,))

    def _outfits(self) -> Iterator[Stage]:
        """The mixture and the diffusion of outfits, which read no other network."""
        for split, count in (("train", _OUTFITS), ("val", 1500)):
            flags = {
                "split": split,
                "count": max(round(count * self.share), 100),
                "out": self.out / f"outfits/{split}.npz",
            }
            yield _stage(f"outfits-{split}", "receiver.train.measured_outfits", flags)
        tables = self.out / "outfits"
        yield _stage("mixture", "receiver.train.mixture", {"outfits": tables / "train.npz"}, ("outfits-train",))
        flags = {
            "outfits": tables,
            "out": self.out / "diffusion",
            "steps": max(round(_DIFFUSION_STEPS * self.share), 50),
        }
        yield _stage(
            "diffusion", "receiver.train.diffusion", flags | {"export": True}, ("mixture", "outfits-val"), cores=2
        )

    def _readers(self) -> Iterator[Stage]:
        """What reads perception and the detector."""
        photographs = {"photographs": self.photographs}
        both = ("perception-weights", "detector-weights")
        yield _stage("quantisation", "sender.train.quantisation", photographs | {"export": True}, both)
        unseen = {"data": self.out / "unseen", "frames": max(round(500 * self.share), 10)}
        verifier = unseen | photographs | {"out": self.out / "verifier", "export": True}
        yield _stage("verifier", "sender.train.verifier", verifier, ("quantisation", "unseen-train", "unseen-val"))
        fresh = [self.out / "unseen", self.out / "fresh"]
        semantics = photographs | {"data": fresh, "out": self.out / "semantics", "minutes": _SEMANTICS * self.minutes}
        semantics["crops"] = max(round(_FITTED_CROPS * self.share), _LEAST_CROPS)
        needed = ("perception-weights", "unseen-val", "fresh-train", "fresh-val")
        yield _stage("semantics", "sender.train.semantics", semantics | {"export": True}, needed)
        confidence = photographs | {"out": self.out / "confidence", "export": True}
        yield _stage("confidence", "sender.train.confidence", confidence, ("verifier", "semantics"))
        clothing = {"data": self.out / "wardrobe", "out": self.out / "clothing", "minutes": _CLOTHING * self.minutes}
        seen = ("semantics", "wardrobe-train", "wardrobe-val")
        yield _stage("clothing", "sender.train.clothing", clothing | {"shipped": True, "export": True}, seen)


def _stage(name: str, module: str, flags: dict[str, object], after: tuple[str, ...] = (), cores: int = 1) -> Stage:
    """A stage with flags by name; True is a flag without a value."""
    words: list[str] = []
    for flag, value in flags.items():
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [f"--{flag}", *(f"{each:g}" if isinstance(each, float) else str(each) for each in values)]
    return Stage(name, module, tuple(words), after, cores)
