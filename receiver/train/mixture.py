"""Learns the mixture of outfits: `receiver/outfits/mixture.json`, the μ_k and L_k of eq. 20 for each block and kind.

A component is the most likely Gaussian of its outfits, under a
normal-inverse-Wishart prior around that of all outfits of its first kind, which has one around that of all: rare kinds
stay close to the frequent ones.

Not measured, but set (`_PRIOR`): `style`, standard normal, since it is the quantile of the frequencies that are
counted; the size of folds, since the template has none of the garments'.

Examples:
  python -m receiver.train.mixture --outfits outfits/train.npz
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypedDict

import numpy as np

from common.arrays import Float64Array
from common.io.command_line import parser_of
from common.wear_kinds import VALUES
from receiver.outfits.mixture import BLOCK_KINDS, BLOCKS, MIXTURE_FILE
from receiver.outfits.shells import Shells
from receiver.train.measured_outfits import PARTS, Kinds, MeasuredOutfits, Measures

# Outfits that the prior mean, and the prior covariance, count as.
_MEAN_WEIGHT, _SPREAD_WEIGHT = 2.0, 6.0
# Least standard deviation of an entry.
_FLOOR = 1e-4
# Mean and standard deviation of what is not measured.
_PRIOR: Mapping[str, tuple[float, float]] = {"style": (0.0, 1.0), "size": (0.8, 0.25)}
_MADE = "suit.made_suit"
# Shells of avatars stand for the short hair of the wardrobe, and are as frequent as its tied hair and its shoes.
_AVATARS = {
    "hair short": {"hair.close": 0.2, "hair.short": 0.3, "hair.full": 0.3, "hair.long_on_top": 0.2},
    "hair tied": {"hair.Medical_Female_03": 0.5},
}
# All skirts are measured on one garment.
_SKIRTS = {"skirt": 0.65, "skirt.f_dress_02": 0.35}


class Component(TypedDict):
    """A Gaussian as it is stored: μ_k and L_k."""

    mean: list[float]
    factor: list[list[float]]


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


def _shares(counts: Mapping[str, float], available: Collection[str]) -> dict[str, float]:
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
    parser.add_argument("--outfits", type=Path, required=True, help="table of receiver.train.measured_outfits")
    parser.add_argument("--out", type=Path, default=MIXTURE_FILE, help="file to write (default: the package's)")
    arguments = parser.parse_args()
    available, outfits = Shells.load().fields, MeasuredOutfits.read(arguments.outfits)
    measured: dict[str, list[tuple[Kinds, Measures]]] = defaultdict(list)
    shells: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in range(len(outfits)):
        kinds, blocks = outfits.possible(row), outfits.blocks(row)
        for block in BLOCKS:
            if block in blocks or not _measurable(block):
                measured[block].append((kinds, blocks.get(block, {})))
        for part, shell in zip(PARTS, outfits.shells[row].tolist(), strict=True):
            if shell and not (part == "hair" and kinds["hair"] == {"bald"}):
                shells[f"hair {next(iter(kinds['hair']))}" if part == "hair" else part][shell] += 1
    learned = {block: components(block, measured[block]) for block in BLOCKS}
    for part, each in _AVATARS.items():
        shells[part] |= {name: share * sum(shells[part].values()) for name, share in each.items()}
    shells["skirt"].update(_SKIRTS)
    often = float(np.mean(list(shells["shoes"].values())))
    shells["shoes"] |= {name: often for name in available if name.startswith("shoes.") and name not in shells["shoes"]}
    shares = {part: _shares(each, available) for part, each in sorted(shells.items())}
    arguments.out.write_text(json.dumps({"components": learned, "styles": shares}, indent=1) + "\n", encoding="utf-8")
    print(f"{arguments.out.name}: {len(outfits)} outfits, {sum(map(len, learned.values()))} components")


if __name__ == "__main__":
    main()
