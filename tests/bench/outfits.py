"""Whether generated outfits show the kinds that they were asked for.

People of the test split, at rest in their own shape.  The receiver is told the kinds of their clothes, nothing else.
All is measured on the surface that the receiver publishes, against that of the true outfit of the same person:

    sleeve, hem          share of the people whose sleeves, and whose lowest hem, end within 6 cm of the true ones
    hair                 share whose hair is of the true length: none, to the chin, to the shoulders, longer
    diversity            mean distance between surfaces of people of equal kinds, over that between the true ones
    …_error              one standard error

Hems are where the surface comes back to the skin; they are measured without shoes and hair, which do not cover them.

    kinds                what the receiver makes of them
    kinds, half the surface   the same with `surface` labels that explain half of their variance
    …, without diffusion both with the mixture's sample in place of the diffusion's
    mean of the mixture  μ_k in place of a sample: everybody of equal kinds wears the same
    nothing known        plain clothes
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from common.arrays import BoolArray, FloatArray
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE
from common.synthetic.dataset.split import SEED_RANGES
from common.wears import Wears
from receiver.outfits.guidance import Guidance
from receiver.outfits.mixture import Kinds, OutfitLatent, decode_outfit, draw
from tests.bench import report
from tests.bench.known_outfits import Carrier, KnownOutfit, KnownOutfits, Limbs, read_entries
from tests.bench.measures import standard_error

_NEAR_M = 0.06
# Cloth is so far from the skin; profiles along limbs are of so long pieces, of which this share is covered.
_CLOTH_M, _PIECE_M, _COVERED = 0.0025, 0.015, 0.5
# Hair is so far beyond the same person without hair; the chin and the shoulders, metres below the foot of the neck.
_HAIR_M, _CHIN_M, _SHOULDERS_M, _AS_LONG_M = 0.006, -0.06, 0.06, 0.02
# Part of the body → the attributes that say what is worn there.
_KINDS_OF = {"head": ("hair",), "trunk": ("sleeve", "layer", "top_fit"), "legs": ("bottom", "bottom_fit")}
_HALF = 0.5
_NOTHING = np.zeros(0, np.float32)

Figures = dict[str, float]
# A person, its number, and kinds in place of those that were drawn → (V', 3) displacement.
Make = Callable[[KnownOutfit, int, Kinds], FloatArray]


class OutfitBench:
    """The receiver's generator, and the truth.

    Raises:
        RendererUnavailable: OpenGL is missing.
        WeightsError: weights are missing or of another version.
    """

    def __init__(self, count: int, seed: int) -> None:
        body = BodyModel.load()
        self._carrier, self._limbs = Carrier(body), Limbs(body)
        self._guidance = Guidance.load(self._carrier.skin.template, self._carrier.space)
        self.people = list(KnownOutfits("test").people(SEED_RANGES["test"].start + seed, count))
        self._skin = [self._carrier.surface(person.shape) for person in self.people]
        self._parts = self._parts_of(self._carrier.surface(np.zeros_like(self.people[0].shape)))
        self._noise = np.random.default_rng([seed, 5]).normal(size=(count, SURFACE_SIZE)).astype(np.float32)
        self._true = [self._carrier.surface(person.shape, person.displacement) for person in self.people]

    def rows(self) -> dict[str, Figures]:
        """Row of the table → its figures."""
        ways: dict[str, Make] = {
            "kinds": lambda person, number, changes: self._worn(self._chosen(person.wears, number), changes),
            "kinds, half the surface": self._half_known,
            "kinds, without diffusion": lambda person, number, changes: self._worn(_drawn(person, number), changes),
            "kinds, half the surface, without diffusion": self._half_known_without_diffusion,
            "mean of the mixture": lambda person, number, changes: self._worn(_mean_of(person, number), changes),
            "nothing known": lambda _, number, changes: self._worn(self._chosen(None, number), changes),
        }
        rows: dict[str, Figures] = {}
        for name, make in ways.items():
            report.progress(name)
            rows[name] = self._figures(make)
        return rows

    def _figures(self, make: Make) -> Figures:
        fields = [make(person, number, {}) for number, person in enumerate(self.people)]
        surfaces = [self._carrier.surface(p.shape, field) for p, field in zip(self.people, fields, strict=True)]
        shown = [self._shown(make, number) for number in range(len(self.people))]
        figures: Figures = {}
        for name, right in zip(("sleeve", "hem", "hair"), np.array(shown, np.float64).T, strict=True):
            figures |= {name: float(right.mean()), f"{name}_error": standard_error(right)}
        return figures | {"diversity": self._diversity(surfaces)}

    def _worn(self, latent: OutfitLatent, changes: Kinds, surface: FloatArray = _NOTHING) -> FloatArray:
        changed = replace(latent, kinds={**latent.kinds, **changes})
        return self._guidance.worn(changed, surface, _HALF if len(surface) else 0.0)

    def _chosen(self, wears: Wears | None, number: int, surface: FloatArray = _NOTHING) -> OutfitLatent:
        return self._guidance.chosen(wears, number, surface, _HALF if len(surface) else 0.0)

    def _half_known(self, person: KnownOutfit, number: int, changes: Kinds) -> FloatArray:
        read = self._read(person, number)
        return self._worn(self._chosen(person.wears, number, read), changes, read)

    def _half_known_without_diffusion(self, person: KnownOutfit, number: int, changes: Kinds) -> FloatArray:
        return self._worn(_drawn(person, number), changes, self._read(person, number))

    def _read(self, person: KnownOutfit, number: int) -> FloatArray:
        """The entries that a reader sends which explains half of their variance."""
        return read_entries(person, self._carrier.space, _HALF, self._noise[number])

    def _shown(self, make: Make, number: int) -> tuple[bool, bool, bool]:
        """Whether sleeves, the lowest hem and hair of a person are those of the truth."""
        person, skin = self.people[number], self._skin[number]
        shod, bald = (
            self._carrier.surface(person.shape, make(person, number, {"hair": "bald", **shoes}))
            for shoes in ({}, {"shoes": "barefoot"})
        )
        sleeve_m = end_of_cloth(self._limbs.along_arm(person.shape, bald), bald - skin)
        hem_m = end_of_cloth(self._limbs.below_hips(person.shape, bald), bald - skin)
        whole = self._carrier.surface(person.shape, make(person, number, {}))
        hair = np.linalg.norm(whole - shod, axis=1) > _HAIR_M
        hair_m = float(self._limbs.below_neck(person.shape, whole[hair]).max(initial=-np.inf))
        true_m = -np.inf if person.kinds["hair"] == "bald" else max(person.hair_m, _CHIN_M - 0.01)
        near = abs(sleeve_m - person.sleeve_m) < _NEAR_M, abs(hem_m - person.hem_m) < _NEAR_M
        return *near, same_length(hair_m, true_m)

    def _parts_of(self, surface: FloatArray) -> dict[str, BoolArray]:
        """Part of the body → (N,) the vertices there."""
        shape = np.zeros_like(self.people[0].shape)
        head = self._limbs.below_neck(shape, surface) < -_SHOULDERS_M
        legs = (self._limbs.below_hips(shape, surface) > 0) & ~np.isfinite(self._limbs.along_arm(shape, surface))
        return {"head": head, "legs": legs, "trunk": ~head & ~legs}

    def _diversity(self, surfaces: Sequence[FloatArray]) -> float:
        """Mean over the parts of the body."""
        shares = []
        for part, names in _KINDS_OF.items():
            vertices = self._parts[part]
            sums = np.zeros(2)
            for first, second in combinations(range(len(surfaces)), 2):
                one, other = (self.people[number].kinds for number in (first, second))
                if all(one[name] == other[name] for name in names):
                    for row, shown in enumerate((surfaces, self._true)):
                        change = [shown[number][vertices] - self._skin[number][vertices] for number in (first, second)]
                        sums[row] += np.linalg.norm(change[0] - change[1], axis=1).mean()
            shares.append(sums[0] / sums[1] if sums[1] else np.nan)
        return float(np.nanmean(shares))


def end_of_cloth(along: FloatArray, change: FloatArray) -> float:
    """How far along a limb cloth reaches, metres.

    Args:
        along: (N,) metres, −inf elsewhere.
        change: (N, 3) from the skin.
    """
    on = along >= 0
    piece = (along[on] / _PIECE_M).astype(int)
    cloth = np.linalg.norm(change[on], axis=1) > _CLOTH_M
    count = np.maximum(np.bincount(piece), 1)
    covered = np.flatnonzero(np.bincount(piece, cloth) / count > _COVERED)
    return float((covered.max() + 1) * _PIECE_M) if len(covered) else 0.0


def _length(below_neck_m: float) -> int:
    """0 for no hair, 1 to the chin, 2 to the shoulders, 3 longer."""
    return int(np.isfinite(below_neck_m)) + (below_neck_m > _CHIN_M) + (below_neck_m > _SHOULDERS_M)


def same_length(first_m: float, second_m: float) -> bool:
    """Whether hair reaches to the same class of length; no border between classes parts what is as long."""
    return _length(first_m) == _length(second_m) or abs(first_m - second_m) < _AS_LONG_M


def _drawn(person: KnownOutfit, number: int) -> OutfitLatent:
    """The mixture's sample."""
    drawn = draw(person.wears, number)
    return decode_outfit(drawn, drawn.noise)


def _mean_of(person: KnownOutfit, number: int) -> OutfitLatent:
    drawn = draw(person.wears, number)
    return decode_outfit(replace(drawn, phases=np.zeros_like(drawn.phases)), 0 * drawn.noise)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("outfits", __doc__, 7)
    report.add_amount(parser, "--count", "number of people", 240, 96, report.at_least(8))
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    rows = OutfitBench(options.count, options.seed).rows()
    report.publish(options, rows, f"{options.count} test people (seed {options.seed})", people=options.count)


if __name__ == "__main__":
    sys.exit(main())
