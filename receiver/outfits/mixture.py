"""The mixture of outfits (paper §5.1, eq. 19–21): q(z'|y') = Σ π_k N(μ_k, Σ_k).

A component k is a combination of kinds (`common.wears`), one of each attribute; π_k is the product of their
probabilities.  Given the kinds, z' has a block for each part of the outfit; μ_k and the Cholesky factor L_k of a block
depend on the kinds of that part alone, so that Σ_k is block diagonal.  z' = μ_k + L_k ε (21).

Both k and ε are drawn by the identity's seed: a person keeps the clothes, and strangers with equal labels differ.  k is
drawn by the Gumbel-max trick, so that a small change of π rarely changes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.wears import VALUES, Wears

Kinds = Mapping[str, str]
"""Attribute → its value."""

_PLAIN: Mapping[str, Mapping[str, float]] = {
    "hair": {"short": 0.62, "medium": 0.15, "tied": 0.12, "long": 0.11},
    "headwear": {"none": 1.0},
    "sleeve": {"long": 0.5, "short": 0.5},
    "layer": {"top": 1.0},
    "bottom": {"trousers": 1.0},
    "top_fit": {"regular": 1.0},
    "bottom_fit": {"regular": 1.0},
    "shoes": {"shoes": 1.0},
}
PLAIN = Wears({name: np.array([_PLAIN[name].get(value, 0) for value in VALUES[name]], np.float32) for name in VALUES})
"""What somebody wears of whom nothing is known: plain clothes; hair in the shares of photographs."""

# Kinds that leave skin bare or hide the head: worn only by those of whom that is likelier than not.
_ONLY_IF_LIKELY: Mapping[str, tuple[str, ...]] = {
    "hair": ("bald", "hidden"),
    "sleeve": ("bare",),
    "layer": ("none",),
    "bottom": ("brief",),
    "shoes": ("barefoot",),
}
_LIKELY = 0.5
# Values less plausible than this share of the likeliest one are not drawn.
_PLAUSIBLE = 0.3
_SEED = 41

# Block → its entries of z'.
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "top": ("sleeve_end", "hem", "neckline", "fit", "opening_m"),
    "bottom": ("leg_end", "fit", "flare", "waist"),
    "hair": ("volume", "style"),
    "shoes": ("sole_m", "shaft", "style"),
    "folds": ("size",),
}


@dataclass(frozen=True, eq=False)
class OutfitLatent:
    """A sample of the mixture.

    Args:
        kinds: k.
        z_prime: block → its entries.
        phases: (16,) 0…1, of the folds.
    """

    kinds: Kinds
    z_prime: Mapping[str, Mapping[str, float]]
    phases: FloatArray


def sample(wears: Wears | None, identity: int) -> OutfitLatent:
    """The outfit of a person (21); None if nothing is known of what the person wears."""
    kinds = chosen_kinds(wears or PLAIN, identity)
    z_prime = {}
    for number, block in enumerate(BLOCKS):
        noise = np.random.default_rng([_SEED, identity, 1, number]).normal(size=len(BLOCKS[block])).clip(-2, 2)
        mean, factor = component(block, kinds)
        z_prime[block] = dict(zip(BLOCKS[block], (mean + factor @ noise).tolist(), strict=True))
    phases = np.random.default_rng([_SEED, identity, 2]).random(16).astype(np.float32)
    return OutfitLatent(kinds, z_prime, phases)


def chosen_kinds(wears: Wears, identity: int) -> dict[str, str]:
    """k: a value of each attribute that somebody can wear together with the others."""
    kinds = {}
    for number, (name, values) in enumerate(VALUES.items()):
        gumbel = np.random.default_rng([_SEED, identity, 0, number]).gumbel(size=len(values))
        shares = _plausible(name, np.asarray(wears.posterior[name], np.float64))
        kinds[name] = values[int(np.argmax(np.log(np.maximum(shares, 1e-12)) + gumbel))]
    return _consistent(kinds, wears)


def _plausible(name: str, shares: Float64Array) -> Float64Array:
    """(K,) the probabilities without what is implausible, or bare and not likely."""
    bare = np.isin(VALUES[name], _ONLY_IF_LIKELY.get(name, ()))
    kept = np.where(bare & (shares <= _LIKELY), 0, shares)
    if not kept.any():
        kept = np.asarray(PLAIN.posterior[name], np.float64)
    return np.where(kept >= _PLAUSIBLE * kept.max(), kept, 0)


def _consistent(kinds: dict[str, str], wears: Wears) -> dict[str, str]:
    if kinds["hair"] == "hidden" and kinds["headwear"] == "none":
        kinds["hair"] = "short"
    if kinds["layer"] == "none" and kinds["sleeve"] != "bare":
        kinds["layer"] = "top"
    if kinds["layer"] != "none" and kinds["sleeve"] == "bare":
        kinds["sleeve"] = "sleeveless"
    if kinds["layer"] == "dress" and not kinds["bottom"].startswith("skirt"):
        skirts = {name: float(wears.posterior["bottom"][VALUES["bottom"].index(name)]) for name in _SKIRTS}
        kinds["bottom"] = max(_SKIRTS, key=lambda name: skirts[name])
    return kinds


_SKIRTS = ("skirt_short", "skirt_long")
# Means and standard deviations, in the coordinates of `Shells.limb`: where sleeves and legs end, …
_SLEEVES = {"bare": (-0.04, 0.0), "sleeveless": (0.02, 0.02), "short": (0.55, 0.12), "long": (1.88, 0.03)}
_LEGS = {
    "trousers": (1.86, 0.03),
    "knee": (0.98, 0.06),
    "shorts": (0.55, 0.1),
    "brief": (0.06, 0.02),
    "skirt_short": (0.82, 0.12),
    "skirt_long": (1.6, 0.12),
}
# … hems up the torso, or of coats, dresses and robes down the legs, …
_HEMS = {"top": (-0.02, 0.07), "jacket": (-0.06, 0.05), "vest": (0.0, 0.05), "coat": (0.75, 0.15), "robe": (1.55, 0.12)}
# … half widths of open fronts, metres, and where 0, 1, 2 is tight, regular, loose.
_OPENINGS = {"jacket": (0.028, 0.014), "coat": (0.028, 0.014), "vest": (0.035, 0.012), "robe": (0.02, 0.01)}
_FIT = {"tight": (0.15, 0.12), "regular": (1.0, 0.2), "loose": (1.8, 0.15)}
_NECKLINES = {"sleeveless": (0.93, 0.03), "bare": (0.8, 0.02)}
_SHAFTS = {"barefoot": (2.0, 0.0), "sandals": (2.0, 0.0), "shoes": (1.93, 0.015), "boots": (1.5, 0.12)}
_SOLES = {"barefoot": (0.0, 0.0), "sandals": (0.010, 0.002), "shoes": (0.010, 0.002), "boots": (0.013, 0.002)}
# Looser tops are longer and fall lower; wide trousers are longer.
_CORRELATIONS = {("top", "fit", "hem"): -0.5, ("bottom", "fit", "leg_end"): 0.3, ("bottom", "fit", "flare"): 0.6}


def component(block: str, kinds: Kinds) -> tuple[Float64Array, Float64Array]:
    """μ_k (D,) and L_k (D, D), lower triangular, of one block of z' (20)."""
    entries = BLOCKS[block]
    mean, deviation = np.array([_GAUSSIANS[block](kinds)[name] for name in entries]).T
    correlation = np.eye(len(entries))
    for (of, first, second), value in _CORRELATIONS.items():
        if of == block:
            row, column = entries.index(first), entries.index(second)
            correlation[row, column] = correlation[column, row] = value
    return mean, deviation[:, None] * np.linalg.cholesky(correlation)


def _top(kinds: Kinds) -> dict[str, tuple[float, float]]:
    layer, sleeve = kinds["layer"], kinds["sleeve"]
    return {
        "sleeve_end": _SLEEVES[sleeve],
        "hem": _HEMS.get(layer, _HEMS["top"]),
        "neckline": _NECKLINES.get(sleeve, (1.0, 0.025)),
        "fit": _FIT[kinds["top_fit"]],
        "opening_m": _OPENINGS.get(layer, (0.0, 0.0)),
    }


def _bottom(kinds: Kinds) -> dict[str, tuple[float, float]]:
    return {
        "leg_end": _LEGS[kinds["bottom"]],
        "fit": _FIT[kinds["bottom_fit"]],
        "flare": (0.45, 0.2),
        "waist": (0.27, 0.02),
    }


def _hair(kinds: Kinds) -> dict[str, tuple[float, float]]:
    return {"volume": (1.1, 0.12), "style": (0.0, 1.0)}


def _shoes(kinds: Kinds) -> dict[str, tuple[float, float]]:
    return {"sole_m": _SOLES[kinds["shoes"]], "shaft": _SHAFTS[kinds["shoes"]], "style": (0.0, 1.0)}


def _folds(kinds: Kinds) -> dict[str, tuple[float, float]]:
    return {"size": (1.0, 0.25)}


_GAUSSIANS = {"top": _top, "bottom": _bottom, "hair": _hair, "shoes": _shoes, "folds": _folds}
