"""The mixture of outfits (paper §5.1, eq. 19–21): q(z'|y') = Σ π_k N(μ_k, Σ_k).

A component k is a combination of kinds (`common.wears`), one of each attribute; π_k is the product of their
probabilities.  Given the kinds, z' has a block for each part of the outfit; μ_k and the Cholesky factor L_k of a block
depend on the kinds of that part alone, so that Σ_k is block diagonal.  z' = μ_k + L_k ε (21).  They were
learned from outfits of known kinds.

Both k and ε are drawn by the identity's seed: a person keeps the clothes, and strangers with equal labels differ.  k is
drawn by the Gumbel-max trick, so that a small change of π rarely changes it.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.errors import WeightsError
from common.wear_kinds import VALUES, worn_together
from common.wears import Wears

Kinds = Mapping[str, str]
"""Attribute → its value."""
Styles = Sequence[tuple[str, float]]
"""Shells, and how frequent each is."""

_PLAIN: Mapping[str, Mapping[str, float]] = {
    "hair": {"short": 0.62, "medium": 0.15, "tied": 0.12, "long": 0.11},
    "headwear": {"none": 1.0},
    "sleeve": {"long": 0.5, "short": 0.5},
    "layer": {"top": 1.0},
    "bottom": {"trousers": 1.0},
    "top_fit": {"regular": 1.0},
    "bottom_fit": {"tight": 1.0},
    "shoes": {"shoes": 1.0},
}
PLAIN = Wears({name: np.array([_PLAIN[name].get(value, 0) for value in VALUES[name]], np.float32) for name in VALUES})
"""What somebody wears of whom nothing is known: plain clothes; hair in the shares of photographs."""

# Kinds that leave skin bare, hide the head, or few people have: worn only by those of whom that is likelier than not.
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
# Those that were drawn are kept down to this share of the likeliest one.  Hair, which everybody looks at, is the
# likeliest, so that it is the same in another session, and is kept down to a share of its own.
_KEPT, _LOOKED_AT = 0.1, {"hair": 0.5}
# Hair is long, or not, before it is of a kind: where long kinds together are so likely, as is best for judged people of
# training photographs.
_LIKELY_LONG = 0.35
_SEED = 41
# Noise is cut there: what people wear has ends.
_MOST = 2.2
# Of whom nothing is known, nothing is special.
_MOST_PLAIN = 0.3
# The logistic function of so much is nearly the normal distribution's.
_LOGISTIC = 1.702

MIXTURE_FILE = Path(__file__).with_name("mixture.json")
"""Means, factors and styles of the components."""

# Block → its entries of z'.
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "sleeve": ("sleeve_end", "flare_m", "style"),
    "top": ("hem", "loose_m", "flare_m", "opening_m"),
    "bottom": ("leg_end", "waist", "loose_m", "flare_m", "style"),
    "hair": ("volume", "style"),
    "shoes": ("sole_m", "shaft", "style"),
    "folds": ("size",),
}
_ENDS = np.cumsum([len(entries) for entries in BLOCKS.values()]).tolist()
BLOCK_SLICES: Mapping[str, slice] = {
    block: slice(end - len(BLOCKS[block]), end) for block, end in zip(BLOCKS, _ENDS, strict=True)
}
"""Block → where its entries are in x."""
SIZE: int = _ENDS[-1]
"""D, the entries of all blocks."""

# Block → the attributes that its component depends on.
BLOCK_KINDS: Mapping[str, tuple[str, ...]] = {
    "sleeve": ("sleeve",),
    "top": ("layer", "top_fit"),
    "bottom": ("bottom", "bottom_fit"),
    "hair": ("hair",),
    "shoes": ("shoes",),
    "folds": (),
}
LONG_HAIR = ("medium", "long")
"""Hair that reaches down to the jaw."""
LONG_LAYERS = ("coat",)
"""Layers with tails: their hem is along the legs, not up the torso."""


@dataclass(frozen=True, eq=False)
class Draw:
    """What is drawn for a person: k, and the noise ε of (21).

    Args:
        kinds: k.
        noise: (D,) ε, the blocks one after the other.
        phases: (16,) 0…1, of the folds.
    """

    kinds: Kinds
    noise: Float64Array
    phases: FloatArray


@dataclass(frozen=True, eq=False)
class OutfitLatent:
    """A sample.

    Args:
        kinds: k.
        z_prime: block → its entries.
        phases: (16,) 0…1, of the folds.
    """

    kinds: Kinds
    z_prime: Mapping[str, Mapping[str, float]]
    phases: FloatArray


def draw(wears: Wears | None, identity: int) -> Draw:
    """The kinds and the noise of a person; `wears` is None if nothing is known of what the person wears."""
    most = _MOST if wears else _MOST_PLAIN
    noise = [
        np.random.default_rng([_SEED, identity, 1, number]).normal(size=len(entries)).clip(-most, most)
        for number, entries in enumerate(BLOCKS.values())
    ]
    phases = np.random.default_rng([_SEED, identity, 2]).random(16).astype(np.float32)
    return Draw(chosen_kinds(wears or PLAIN, identity), np.concatenate(noise), phases)


def decode_outfit(drawn: Draw, x: Float64Array) -> OutfitLatent:
    """z' = μ_k + L_k x (21) of x (D,); with the noise that was drawn it is a sample of the mixture."""
    z_prime = {}
    for block, entries in BLOCKS.items():
        mean, factor = component(block, drawn.kinds)
        z_prime[block] = dict(zip(entries, (mean + factor @ x[BLOCK_SLICES[block]]).tolist(), strict=True))
    return OutfitLatent(drawn.kinds, z_prime, drawn.phases)


def chosen_kinds(wears: Wears, identity: int) -> dict[str, str]:
    """k: a value of each attribute that somebody can wear together with the others."""
    kinds = {}
    for number, (name, values) in enumerate(VALUES.items()):
        gumbel = np.random.default_rng([_SEED, identity, 0, number]).gumbel(size=len(values))
        shares = np.asarray(wears.shares(name), np.float64)
        if name in _LOOKED_AT and wears is not PLAIN:
            gumbel[:] = 0
            shares = _of_likely_length(shares)
        shares = _plausible(name, shares)
        kinds[name] = values[int(np.argmax(np.log(np.maximum(shares, 1e-12)) + gumbel))]
    return _together(kinds, wears)


def kept_kinds(wears: Wears, identity: int, before: Kinds) -> dict[str, str]:
    """k of a person who was dressed in other kinds: those stay that are still plausible.

    A posterior moves while a person is looked at; nobody changes clothes for that.  Hair changes where other hair has
    become twice as likely.
    """
    kinds = chosen_kinds(wears, identity)
    for name, value in before.items():
        shares = wears.shares(name)
        if shares[VALUES[name].index(value)] >= _LOOKED_AT.get(name, _KEPT) * shares.max():
            kinds[name] = value
    return _together(kinds, wears)


def _of_likely_length(shares: Float64Array) -> Float64Array:
    """(K,) the probabilities of kinds of hair of the length that somebody has."""
    long = np.isin(VALUES["hair"], LONG_HAIR)
    return np.where(long == (shares[long].sum() >= _LIKELY_LONG * shares.sum()), shares, 0)


def _plausible(name: str, shares: Float64Array) -> Float64Array:
    """(K,) the probabilities without what is implausible, or bare and not likely."""
    bare = np.isin(VALUES[name], _ONLY_IF_LIKELY.get(name, ()))
    kept = np.where(bare & (shares <= _LIKELY), 0, shares)
    if not kept.any():
        kept = np.asarray(PLAIN.posterior[name], np.float64)
    return np.where(kept >= _PLAUSIBLE * kept.max(), kept, 0)


def _together(kinds: Kinds, wears: Wears) -> dict[str, str]:
    return worn_together(kinds, shares={name: wears.shares(name).tolist() for name in VALUES})


def component(block: str, kinds: Kinds) -> tuple[Float64Array, Float64Array]:
    """μ_k (D,) and L_k (D, D), lower triangular, of one block of z' (20).

    Raises:
        WeightsError: the learned mixture is missing or unreadable.
    """
    return _learned().components[block, component_key(block, kinds)]


def component_key(block: str, kinds: Kinds) -> str:
    """The name of the component of a block: its kinds."""
    return " ".join(kinds[name] for name in BLOCK_KINDS[block])


def styles(part: str) -> Styles:
    """Shells that a part is cut from, and how frequent each is; of hair, the part is `hair` and its kind."""
    return _learned().styles.get(part, ())


def style_of(styles: Styles, normal: float) -> str:
    """One of the shells by a standard normal number, in proportion to their shares."""
    share = 1 / (1 + np.exp(-_LOGISTIC * normal))
    names, shares = [name for name, _ in styles], np.array([share for _, share in styles])
    ends = shares.cumsum() / shares.sum()
    return names[min(int(np.searchsorted(ends, share)), len(names) - 1)]


@dataclass(frozen=True, eq=False)
class _Learned:
    components: Mapping[tuple[str, str], tuple[Float64Array, Float64Array]]
    styles: Mapping[str, Styles]


@functools.cache
def _learned() -> _Learned:
    try:
        stored = json.loads(MIXTURE_FILE.read_text(encoding="utf-8"))
        components = {
            (block, key): (np.array(values["mean"], np.float64), np.array(values["factor"], np.float64))
            for block, each in stored["components"].items()
            for key, values in each.items()
        }
        for (block, key), (mean, factor) in components.items():
            if mean.shape != (len(BLOCKS[block]),) or factor.shape != 2 * mean.shape:
                raise ValueError(f"component {block} {key} has shapes {mean.shape}, {factor.shape}")
        return _Learned(components, {part: tuple(each.items()) for part, each in stored["styles"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{MIXTURE_FILE.name} is missing or unreadable; reinstall bodywire") from error
