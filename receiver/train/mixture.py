"""Learns the mixture of outfits: `receiver/outfits/mixture.json`, the μ_k and L_k of eq. 20 for each block and kind.

z' is measured on outfits of known kinds of the training split (`common.synthetic.kinds`): where sleeves, legs, hems and
waists end, how far garments are let out and flare, how wide open fronts are, how voluminous hair is, how high shoes
reach and how thick their soles are.  A component is the most likely Gaussian of its outfits, under a
normal-inverse-Wishart prior around that of all outfits of its first kind, which has one around that of all: rare kinds
stay close to the frequent ones.

Not measured, but set (`_PRIOR`): `style`, standard normal, since it is the quantile of the frequencies that are
counted; the size of folds, since the template has none of the garments'.

Examples:
  python -m receiver.train.mixture --count 4000
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypedDict

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.triangles import VertexNormals
from common.io.command_line import parser_of
from common.synthetic.assets.appearance import HAIR, SHOES, sample_appearance
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind
from common.synthetic.clothed.displacement import ClothedTemplate
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.presets import DRESSED
from common.synthetic.dataset.split import check_seed
from common.synthetic.kinds.outfits import KindOutfit, KindSampler
from common.wear_kinds import VALUES
from receiver.outfits.mixture import BLOCK_KINDS, BLOCKS, MIXTURE_FILE
from receiver.outfits.shells import Shells

# Outfits that the prior mean, and the prior covariance, count as.
_MEAN_WEIGHT, _SPREAD_WEIGHT = 2.0, 6.0
# Least standard deviation of an entry.
_FLOOR = 1e-4
# Mean and standard deviation of what is not measured.
_PRIOR: Mapping[str, tuple[float, float]] = {"style": (0.0, 1.0), "size": (0.8, 0.25)}
_TRUNK = 0.6
_MADE = "suit.made_suit"
# The front between those heights up the torso says how wide it is open; see `alteration.cut_field`.
_FRONT, _OPENS_AT, _CLOSED_M = (0.15, 0.7), 1.3, 0.004

Kinds = Mapping[str, frozenset[str]]
Measures = Mapping[str, float]


class Component(TypedDict):
    """A Gaussian as it is stored: μ_k and L_k."""

    mean: list[float]
    factor: list[list[float]]


class OutfitMeasurer:
    """Measures z' on outfits.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self) -> None:
        self._sampler = OutfitSampler("train", DRESSED)
        self._kinds = KindSampler(self._sampler.wardrobe)
        self._originals = {garment.name: garment for garment in self._sampler.wardrobe.all()}
        self._normals = {
            name: VertexNormals(each.faces, len(each.rest))(each.rest) for name, each in self._originals.items()
        }
        template = self._sampler.displacer.template
        shells = Shells.load()
        self._rest, self._limb, self._shells = template.rest, shells.limb, shells.fields
        self._foot = np.isin(template.region, [REGION_INDEX["foot.L"], REGION_INDEX["foot.R"]])

    def outfits(
        self, seed: int, count: int
    ) -> Iterator[tuple[Mapping[str, frozenset[str]], dict[str, Measures], dict[str, str]]]:
        """Kinds, block → measured entries, and part → the shell that it was cut from, of `count` outfits."""
        rng = np.random.default_rng([check_seed("train", seed), 6])
        for _ in range(count):
            outfit = self._kinds.sample(rng, sample_appearance(rng))
            shape = self._sampler.shapes(rng, 1)[0]
            yield outfit.kinds, *self._measured(outfit, shape)

    def _measured(self, outfit: KindOutfit, shape: FloatArray) -> tuple[dict[str, Measures], dict[str, str]]:
        suits = [garment for garment, _ in outfit.garments if garment.kind is Kind.SUIT]
        tops = [each for each in suits if _used(each)[:, 2].max() > _TRUNK]
        rest = [each for each in suits if each not in tops]
        blocks: dict[str, Measures] = {}
        shells: dict[str, str] = {}
        if tops:
            blocks["sleeve"], blocks["top"] = self._top(tops[0], rest[1] if len(rest) > 1 else None)
            shells["top"] = f"suit.{tops[0].name}"
        if rest:
            blocks["bottom"] = self._bottom(rest[0])
            shells["bottom"] = f"suit.{rest[0].name}"
        for garment, _ in outfit.garments:
            if garment.kind in (Kind.HAIR, Kind.SHOES):
                shells[garment.kind.value] = f"{garment.kind.value}.{garment.name}"
        if outfit.kinds["headwear"] == {"none"}:
            shells.setdefault("hair", "hair.cropped")
            blocks["shoes"] = self._shoes(self._displaced(outfit, Kind.SHOES, np.zeros_like(shape)))
            if shells["hair"] in self._shells:
                blocks["hair"] = self._hair(self._displaced(outfit, Kind.HAIR, shape), self._shells[shells["hair"]])
        return blocks, shells

    def _top(self, top: Garment, tails: Garment | None) -> tuple[Measures, Measures]:
        limb = _used(top)
        arm, trunk = limb[:, 0], limb[limb[:, 0] <= 0]
        loose_m, flare_m = self._let_out(top, 0)
        sleeve = {"sleeve_end": max(float(np.quantile(arm, 0.995)), 0.0), "flare_m": flare_m}
        hem, tails_m = float(np.quantile(trunk[:, 2], 0.01)), 0.0
        if tails is not None:
            hem, tails_m = float(np.quantile(_used(tails)[:, 1], 0.99)), self._let_out(tails, 1)[1]
        return sleeve, {"hem": hem, "loose_m": loose_m, "flare_m": tails_m, "opening_m": self._opening(top)}

    def _bottom(self, bottom: Garment) -> Measures:
        limb, (loose_m, flare_m) = _used(bottom), self._let_out(bottom, 1)
        leg_end = max(float(np.quantile(limb[:, 1], 0.99)), 0.0)
        return {
            "leg_end": leg_end,
            "waist": float(np.quantile(limb[:, 2], 0.99)),
            "loose_m": loose_m,
            "flare_m": flare_m,
        }

    def _let_out(self, garment: Garment, limb: int) -> tuple[float, float]:
        """How far a garment is let out, metres, and how much farther at the end of a limb."""
        original, normals = self._originals[garment.name], self._normals[garment.name]
        moved = np.einsum("nd,nd->n", garment.rest[: len(original.rest)] - original.rest, normals)
        along = np.clip(original.limb[:, limb], 0, 2) / 2
        fitted = np.linalg.lstsq(np.stack([np.ones_like(along), along], 1), moved, rcond=None)[0]
        return float(fitted[0]), float(fitted[1])

    def _opening(self, top: Garment) -> float:
        used = np.unique(top.faces)
        limb, place = top.limb[used], top.rest[used]
        front = (place[:, 2] < np.median(place[:, 2])) & (limb[:, 0] <= 0)
        front &= (limb[:, 2] > _FRONT[0]) & (limb[:, 2] < _FRONT[1])
        if not front.any():
            return 0.0
        half_m = float((np.abs(place[front, 0]) / (_OPENS_AT - limb[front, 2])).min())
        return half_m if half_m > _CLOSED_M else 0.0

    def _displaced(self, outfit: KindOutfit, kind: Kind, shape: FloatArray) -> ClothedTemplate:
        """The template in the garments of one kind, and what is painted."""
        worn = tuple(piece for piece in outfit.garments if piece[0].kind is kind)
        return self._sampler.displacer.displace(KindOutfit(outfit.body, worn, outfit.kinds), shape)

    def _hair(self, clothed: ClothedTemplate, shell: FloatArray) -> Measures:
        """How voluminous hair is, in units of the shell."""
        scalp = self._limb[:, 3] > 0
        field = clothed.displacement * (clothed.material == HAIR)[:, None]
        return {"volume": float((field[scalp] * shell[scalp]).sum() / max(float(np.square(shell[scalp]).sum()), 1e-9))}

    def _shoes(self, clothed: ClothedTemplate) -> Measures:
        shod = (clothed.material == SHOES) & (np.linalg.norm(clothed.displacement, axis=1) > _CLOSED_M / 2)
        ground_m = self._rest[self._foot, 1].max()
        sole_m = float((self._rest + clothed.displacement)[self._foot, 1].max() - ground_m)
        leg = self._limb[shod & (self._limb[:, 1] > 0), 1]
        return {"sole_m": max(sole_m, 0.0), "shaft": float(np.quantile(leg, 0.02)) if len(leg) else 2.0}


def _used(garment: Garment) -> FloatArray:
    """(n, 4) limb coordinates of the vertices that cuts have left."""
    return np.asarray(garment.limb[np.unique(garment.faces)], np.float32)


def fitted(rows: Float64Array, mean: Float64Array, spread: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The most likely mean and covariance of measures (N, D), given those of the prior."""
    count = len(rows)
    posterior = (_MEAN_WEIGHT * mean + rows.sum(0)) / (_MEAN_WEIGHT + count)
    offset, shift = rows - posterior, mean - posterior
    scatter = offset.T @ offset + _MEAN_WEIGHT * np.outer(shift, shift) * (count > 0)
    return posterior, (_SPREAD_WEIGHT * spread + scatter) / (_SPREAD_WEIGHT + count)


def components(block: str, measured: Sequence[tuple[Kinds, Measures]]) -> dict[str, Component]:
    """Kinds of a block → its mean and Cholesky factor."""
    attributes, entries = BLOCK_KINDS[block], BLOCKS[block]
    known = [name for name in entries if name not in _PRIOR]
    rows = np.array([[each[name] for name in known] for _, each in measured]).reshape(len(measured), len(known))
    groups = _groups([kinds for kinds, _ in measured], attributes)
    # Beside its own outfits, a component is as wide as those of its siblings are on average.
    within = [_spread_within(rows, groups, depth) for depth in range(len(attributes) + 1)]
    found: dict[str, Component] = {}
    for key in product(*(VALUES[name] for name in attributes)):
        mean = rows.mean(0)
        for depth in range(len(key) + 1):
            mean, spread = fitted(rows[sorted(groups.get(key[:depth], ()))], mean, within[depth])
        found[" ".join(key)] = _with_priors(entries, known, mean, spread)
    return found


def _groups(kinds: Sequence[Kinds], attributes: Sequence[str]) -> dict[tuple[str, ...], set[int]]:
    """Values of the first attributes → the outfits that have them.

    An outfit with several possible values counts for those that no outfit has alone: the fits of coats.
    """
    sure: dict[tuple[str, ...], set[int]] = defaultdict(set)
    possible: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for number, each in enumerate(kinds):
        for depth in range(len(attributes) + 1):
            keys = list(product(*(sorted(each[name]) for name in attributes[:depth])))
            for key in keys:
                (sure if len(keys) == 1 else possible)[key].add(number)
    return {**possible, **sure}


def _spread_within(rows: Float64Array, groups: Mapping[tuple[str, ...], set[int]], depth: int) -> Float64Array:
    """(D, D) pooled covariance within the groups of one depth."""
    offsets = [rows[sorted(each)] - rows[sorted(each)].mean(0) for key, each in groups.items() if len(key) == depth]
    together = np.concatenate(offsets)
    return np.asarray(together.T @ together / len(together))


def _with_priors(entries: Sequence[str], known: Sequence[str], mean: Float64Array, spread: Float64Array) -> Component:
    whole_mean = np.array([_PRIOR.get(name, (0.0, 0.0))[0] for name in entries])
    whole = np.diag([_PRIOR.get(name, (0.0, 0.0))[1] ** 2 for name in entries]).astype(np.float64)
    places = [entries.index(name) for name in known]
    whole_mean[places], whole[np.ix_(places, places)] = mean, spread
    factor = np.linalg.cholesky(whole + _FLOOR**2 * np.eye(len(entries)))
    return {"mean": np.round(whole_mean, 5).tolist(), "factor": np.round(factor, 5).tolist()}


def _measurable(block: str) -> bool:
    return any(name not in _PRIOR for name in BLOCKS[block])


def _shares(counts: Mapping[str, int], available: Collection[str]) -> dict[str, float]:
    """The frequency of each shell of a part; garments without one count for all but the made one alike.

    The most frequent one is in the middle, where the quantile of the mean is.
    """
    kept = {name: float(count) for name, count in sorted(counts.items()) if name in available}
    others = [name for name in kept if name != _MADE]
    for name in others:
        kept[name] += sum(count for other, count in counts.items() if other not in available) / len(others)
    rising = sorted(kept, key=lambda name: kept[name])
    order = rising[::2] + rising[1::2][::-1]
    return {name: round(kept[name] / sum(kept.values()), 4) for name in order}


def main() -> None:
    parser = parser_of("python -m receiver.train.mixture", __doc__)
    parser.add_argument("--count", type=int, default=4000, help="outfits to measure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=71, help="within the training split (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=MIXTURE_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    available = Shells.load().fields
    measured: dict[str, list[tuple[Kinds, Measures]]] = defaultdict(list)
    shells: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for kinds, blocks, parts in OutfitMeasurer().outfits(arguments.seed, arguments.count):
        for block in BLOCKS:
            if block in blocks or not _measurable(block):
                measured[block].append((kinds, blocks.get(block, {})))
        for part, shell in parts.items():
            if not (part == "hair" and kinds["hair"] == {"bald"}):
                shells[f"hair {next(iter(kinds['hair']))}" if part == "hair" else part][shell] += 1
    learned = {block: components(block, measured[block]) for block in BLOCKS}
    shares = {part: _shares(each, available) for part, each in sorted(shells.items())}
    arguments.out.write_text(json.dumps({"components": learned, "styles": shares}, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.out.name}: {arguments.count} outfits, {sum(map(len, learned.values()))} components")


if __name__ == "__main__":
    main()
