"""Makes the table of garments that a recorded person can be given: `common/body/garments.npz`.

Each garment is worn by people of the training split.  A row of the table has the entries of `surface` whose
displacements are nearest to the mean of theirs where the garment is, and the weights of the template's vertices: 1
where the garment replaces what was worn, falling to 0 around it.  A new surface space needs a new table.

Examples:
  python -m common.training.fit_garments --out /tmp/garments.npz
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from common.arrays import BoolArray, FloatArray
from common.body.anatomy import GARMENTS, GARMENTS_FILE, REGIONS
from common.body.connectivity import neighbour_mean
from common.body.surface_space import SurfaceSpace
from common.body.template import BodyTemplate
from common.io.command_line import parser_of
from common.synthetic.assets.alteration import tailor
from common.synthetic.assets.appearance import Appearance, Borders, sample_appearance
from common.synthetic.assets.garment import Garment, Tailoring
from common.synthetic.assets.outfit import Outfit, paint
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.presets import PRESETS, WARDROBE

_TOP, _BOTTOM = ("chest", "upper_arm", "forearm"), ("hips", "thigh", "shin")
_FEET, _HEAD = ("foot",), ("scalp",)
_LAST_SLEEVE, _LAST_LEG = 1.85, 1.88

_COVERED_M = 1e-3
"""A garment is where it moves the skin by more."""
_SOFTENING_STEPS = 6
# Ridge of the fit, relative to the mean variance that an entry explains.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Pattern:
    """How a garment is made.

    Args:
        pieces: names of garments of the wardrobe, with their alterations.
        replaces: regions, without side, where nothing of what was worn remains.
    """

    pieces: tuple[tuple[str, Tailoring], ...]
    replaces: tuple[str, ...]


def _top(loose_m: float, sleeve_end: float, hem: float) -> tuple[str, Tailoring]:
    return "made_suit", Tailoring(loose_m=loose_m, sleeve_end=sleeve_end, hem=hem)


def _bottom(loose_m: float, leg_end: float, leg_flare_m: float = 0.0) -> tuple[str, Tailoring]:
    return "made_suit", Tailoring(loose_m=loose_m, leg_end=leg_end, leg_flare_m=leg_flare_m, waist=0.25)


def _skirt(leg_end: float, flare_m: float, waist: float = 0.25, loose_m: float = 0.005) -> tuple[str, Tailoring]:
    return "made_skirt", Tailoring(loose_m=loose_m, leg_end=leg_end, leg_flare_m=flare_m, waist=waist)


def _as_it_is(name: str) -> tuple[tuple[str, Tailoring], ...]:
    return ((name, Tailoring()),)


PATTERNS: dict[str, Pattern] = {
    "t-shirt": Pattern((_top(0.012, 0.5, -0.05),), _TOP),
    "shirt": Pattern((_top(0.012, _LAST_SLEEVE, -0.05),), _TOP),
    "pullover": Pattern((_top(0.022, _LAST_SLEEVE, 0.0),), _TOP),
    "coat": Pattern((_skirt(0.9, 0.03, 0.06, 0.025), _top(0.025, _LAST_SLEEVE, 0.02)), _TOP),
    "trousers": Pattern((_bottom(0.01, _LAST_LEG),), _BOTTOM),
    "wide-trousers": Pattern((_bottom(0.012, _LAST_LEG, 0.045),), _BOTTOM),
    "shorts": Pattern((_bottom(0.015, 0.7, 0.03),), _BOTTOM),
    "skirt": Pattern((_skirt(0.9, 0.06),), _BOTTOM),
    "long-skirt": Pattern((_skirt(1.6, 0.08),), _BOTTOM),
    "dress": Pattern((_skirt(1.0, 0.07, 0.2), _top(0.006, 0.5, 0.05)), _TOP + _BOTTOM),
    "suit": Pattern(_as_it_is("male_elegantsuit01"), _TOP + _BOTTOM),
    "work-suit": Pattern(_as_it_is("male_worksuit01"), _TOP + _BOTTOM),
    "shoes": Pattern(_as_it_is("shoes01"), _FEET),
    "bare-feet": Pattern((), _FEET),
    "short-hair": Pattern(_as_it_is("short02"), _HEAD),
    "bob": Pattern(_as_it_is("bob01"), _HEAD),
    "long-hair": Pattern(_as_it_is("long01"), _HEAD),
    "afro": Pattern(_as_it_is("afro01"), _HEAD),
    "bald": Pattern((), _HEAD),
}


class Fitter:
    """Fits rows of the table (`people`: number of bodies of the training split that wear each garment)."""

    def __init__(self, people: int, seed: int) -> None:
        sampler = OutfitSampler("train", PRESETS[WARDROBE.name])
        self.space = SurfaceSpace.load()
        self.displacer, self.wardrobe, self.template = sampler.displacer, sampler.wardrobe, sampler.displacer.template
        self._garments = {garment.name: garment for garment in self.wardrobe.all()}
        rng = np.random.default_rng(seed)
        self._shapes = sampler.shapes(rng, people)
        self._bare = _bare(rng)

    def displacement(self, pattern: Pattern) -> FloatArray:
        """(V', 3) mean displacement of people in a garment, metres."""
        garments = [self._made(name, tailoring) for name, tailoring in pattern.pieces]
        worn = tuple((garment, paint(self._bare, garment.kind)) for garment in garments)
        fields = [self.displacer.displace(Outfit(self._bare, worn), shape).displacement for shape in self._shapes]
        return np.asarray(np.mean(fields, axis=0), np.float32)

    def _made(self, name: str, tailoring: Tailoring) -> Garment:
        return tailor(self._garments[name], self.wardrobe.canvas, tailoring)

    def row(self, pattern: Pattern) -> tuple[FloatArray, FloatArray, float]:
        """Entries (24,), weights (V',), and the mean error of the displacement where the garment is, metres."""
        wanted = self.displacement(pattern)
        covered = np.linalg.norm(wanted, axis=1) > _COVERED_M
        weights = soft_weights(self.template, covered | covered[self.template.mirror], pattern.replaces)
        entries = fit(self.space, wanted, weights * self.template.areas)
        error_m = np.linalg.norm(self.space.decode(torch.from_numpy(entries[None])).numpy()[0] - wanted, axis=1)
        return entries, weights, float(np.average(error_m, weights=weights * self.template.areas))


def _bare(rng: np.random.Generator) -> Appearance:
    """A person without painted clothes and hair."""
    appearance = sample_appearance(rng)
    finish = appearance.finish.copy()
    finish[:, 2] = 0.0
    return replace(appearance, finish=finish, borders=Borders(hairline_front=-2.0))


def soft_weights(template: BodyTemplate, covered: BoolArray, replaces: tuple[str, ...]) -> FloatArray:
    """(V',) 1 on covered vertices and in the replaced regions, falling to 0 around them."""
    regions = [number for number, name in enumerate(REGIONS) if name.split(".")[0] in replaces]
    weights = (covered | np.isin(template.region, regions)).astype(np.float32)
    averaging = neighbour_mean(template.adjacency + sparse.eye(len(weights), format="csr"))
    for _ in range(_SOFTENING_STEPS):
        weights = averaging @ weights
    return np.asarray(weights, np.float32)


def fit(space: SurfaceSpace, wanted: FloatArray, weights: FloatArray) -> FloatArray:
    """(24,) the entries whose displacements are nearest to (V', 3) ones, with weights (V',), by ridge regression."""
    basis = space.basis.flatten(1).numpy().astype(np.float64)
    weight = np.repeat(weights, 3).astype(np.float64)
    gram = (basis * weight) @ basis.T
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, (basis * weight) @ (wanted - space.mean.numpy()).ravel()).astype(np.float32)


def main() -> None:
    parser = parser_of("python -m common.training.fit_garments", __doc__)
    parser.add_argument("--people", type=int, default=16, help="who wear each garment (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of people (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=GARMENTS_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began, fitter = time.monotonic(), Fitter(arguments.people, arguments.seed)
    entries, weights = [], []
    for name in GARMENTS:
        row = fitter.row(PATTERNS[name])
        entries.append(row[0])
        weights.append(np.rint(255 * row[1]).astype(np.uint8))
        print(f"{name:14s} {1000 * row[2]:5.1f} mm from the mean of the people")
    np.savez_compressed(arguments.out, entries=np.stack(entries), weights=np.stack(weights))
    print(f"{arguments.out.name}: {arguments.out.stat().st_size / 1000:.0f} kB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
