"""What each person wears, on the template at rest, over a head of their own: a function of a person's identity, `wears`
and `head_shape` alone.  These change rarely, and an outfit takes 5 ms, so results are kept.

The measures of an outfit are diffused, where the paper (§5.2) diffuses points.  (26) and (27), whose reverse step has
no learned denoiser and cannot invert the forward one (`receiver.motion.mixture` measures them), are replaced by that of
Karras et al. 2022.  In the coordinates of its component, x = L_k⁻¹ (z' − μ_k), the mixture's z' is N(0, I).  The
diffusion knows more: how the measures of real outfits depend on each other across the parts of the body.  Its condition
u_m are the kinds.  It starts from the noise ε that (21) draws, and follows the probability flow without adding any:
where the denoiser knew nothing but the mixture, x would end as ε.

Hair is let out, or taken in, until the head has the outline that was seen.  Seen from the front, hair and scalp are
scaled about the middle of the head, in each direction by the ratio of both outlines.  Below the ears, where hair hangs,
it is scaled across alone; at the back, as above.  The front of the head, which an outline does not show, stays.
Headwear has its own sides, and follows at the crown alone.

Shapes: B people, D = 18 entries of x, V' vertices of the template, S sectors of `common.head_outline`.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from common.arrays import BoolArray, Float64Array, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.model import GROUP as HEAD
from common.body.template import BodyTemplate
from common.frames import PersonLabels
from common.head_outline import SECTORS, between_sectors, directions_of, head_vertices, in_sectors, middle_of, radii
from common.wear_kinds import VALUES
from common.wears import Wears
from common.weights.devices import CPU
from common.weights.inference import in_use
from common.weights.loader import load_recorded
from receiver.body.skinning import Clothes, LegSpan
from receiver.denoising import Denoiser, HeunStep, flow, levels
from receiver.outfits.dressing import PARTS, Dresser, Outfit, Shells
from receiver.outfits.mixture import LONG_HAIR, SIZE, Draw, Kinds, OutfitLatent, decode_outfit, draw

WEIGHTS_NAME, KIND = "diffusion", "outfits-2"
SIGMA_MIN, SIGMA_MAX = 0.03, 10.0
"""Least and largest noise, in standard deviations of x."""
_STEPS = 16
# What people wear has ends: largest |x|.
_MOST = 2.5
_CONDITION = sum(map(len, VALUES.values()))


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """Sizes of the denoiser."""

    width: int = 256
    depth: int = 3


class OutfitDenoiser(Denoiser):
    """That of x, with u_m of `condition`."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(SIZE, _CONDITION, config.width, config.depth)
        self.config = config


def condition(kinds: Kinds) -> FloatArray:
    """u_m (C,) of one person: of each attribute, which value it has."""
    return np.array([kinds[name] == value for name, values in VALUES.items() for value in values], np.float32)


def sample(step: Callable[..., tuple[Tensor, ...]], noise_BD: Tensor, condition_BC: Tensor) -> Tensor:
    """x (B, D) from noise of N(0, I) along the probability flow, by a `HeunStep`."""
    return flow(step, math.sqrt(SIGMA_MAX**2 + 1) * noise_BD, levels(SIGMA_MAX, SIGMA_MIN, _STEPS), condition_BC)


class OutfitDiffusion:
    """The trained diffusion in use."""

    def __init__(self, denoiser: OutfitDenoiser, device: torch.device = CPU) -> None:
        example = torch.zeros(1, SIZE), torch.ones(1), torch.ones(1), torch.zeros(1, _CONDITION)
        self._step = in_use(HeunStep(denoiser), example, WEIGHTS_NAME, device=device)

    @classmethod
    def load(cls, device: torch.device = CPU) -> Self:
        """With the package's weights. Raises WeightsError if they are missing or of another version."""
        return cls(load_recorded(WEIGHTS_NAME, KIND, DiffusionConfig, OutfitDenoiser), device)

    @torch.inference_mode()
    def sample(self, drawn: Draw) -> Float64Array:
        """x (D,) of what was drawn for a person."""
        u_m = torch.from_numpy(condition(drawn.kinds))[None]
        x = sample(self._step, torch.from_numpy(drawn.noise)[None].float(), u_m)[0]
        return np.asarray(x.double().numpy().clip(-_MOST, _MOST), np.float64)


_HAIR = PARTS.index("hair")
_CROWN, _TEMPLES, _, _JAW = range(len(SECTORS))
# How far heads and hair reach at least beyond the bare head, and the crown beyond the temples at most, metres: what is
# seen to be smaller or higher is an error of where the head is; of large faces, seven of eight crowns are less high.
_LEAST_M, _LEAST_HAIR_M, _HIGHER_M = -0.006, 0.003, 0.02
# Least and largest ratio at once, and how often the head is scaled: sectors reach into each other.
_RATIOS, _TURNS = (0.7, 1.5), 2
# Which way forward, as a share of a direction, nothing is scaled, and all is.
_FRONT = (-0.8, -0.45)
# Cosine of the direction from the crown, from which on heads are scaled fully upwards.
_ABOVE = 0.5


class HairOutline:
    """Fits the hair of outfits."""

    def __init__(self, template: BodyTemplate) -> None:
        self._head = head_vertices(template.region)
        self._about = template.rest - middle_of(template.rest[self._head])
        away = self._about[:, 2] / np.linalg.norm(self._about, axis=1)
        fixed, scaled = _FRONT
        follows = np.clip((away - fixed) / (scaled - fixed), 0, 1)
        self._follows: FloatArray = (follows * follows * (3 - 2 * follows)).astype(np.float32)
        self._scalp: BoolArray = template.region == REGION_INDEX["scalp"]
        self._bare = self._reach(self._about)

    def with_hair(self, outfit: Outfit, kinds: Kinds, outline: FloatArray, skull: FloatArray) -> Outfit:
        """An outfit with hair, or headwear, to this outline.

        Args:
            outline: (S,) beyond the bare mean head, metres; NaN where it is not known.
            skull: (V', 3) displacement of the bare head, metres.
        """
        least = self._reach(self._about + skull) - self._bare + (_LEAST_M if kinds["hair"] == "bald" else _LEAST_HAIR_M)
        outline = np.maximum(outline, least)
        if kinds["headwear"] == "none":
            outline[_CROWN] = np.fmin(outline[_CROWN], outline[_TEMPLES] + _HIGHER_M)
        known = ~np.isnan(outline)
        known[1:] &= kinds["headwear"] == "none"
        known[_JAW] &= kinds["hair"] in LONG_HAIR
        moves = (outfit.part == _HAIR) | self._scalp
        places = self._about + skull + outfit.displacement
        for _ in range(_TURNS):
            reach = self._reach(places)
            wanted = np.where(known, self._bare + outline, reach)
            ratio = np.asarray(np.clip(wanted / reach, *_RATIOS) - 1, np.float32)
            places[moves] = self._scaled(places[moves], ratio, self._follows[moves])
        displacement = outfit.displacement.copy()
        displacement[moves] = (places - self._about - skull)[moves]
        return replace(outfit, displacement=displacement)

    @staticmethod
    def _scaled(places: FloatArray, ratio: FloatArray, follows: FloatArray) -> FloatArray:
        """Places (N, 3) about the middle, scaled by 1 + ratio (S,), as far as each follows."""
        directions = directions_of(places[:, :2])
        across = follows * between_sectors(ratio, directions)
        above = np.clip(np.cos(np.deg2rad(directions)) / _ABOVE, 0, 1)
        behind = follows * ratio[:_JAW].mean() * (places[:, 2] > 0)
        return np.asarray(places * (1 + np.stack([across, above * across, behind], axis=1)), np.float32)

    def _reach(self, places: FloatArray) -> FloatArray:
        """(S,) how far a head, of places (V', 3) about its middle, reaches, metres."""
        return np.asarray(in_sectors(radii(places[self._head, :2])).mean(axis=0), np.float32)


class Outfits:
    """Dresses people in outfits of the kinds that they wear."""

    def __init__(self, dresser: Dresser, diffusion: OutfitDiffusion, outlines: HairOutline) -> None:
        self._dresser, self._diffusion, self._outlines = dresser, diffusion, outlines

    @classmethod
    def load(cls, template: BodyTemplate, device: torch.device = CPU) -> Self:
        """With the package's shells and weights. Raises WeightsError if they are missing or unreadable."""
        return cls(Dresser(template, Shells.load()), OutfitDiffusion.load(device), HairOutline(template))

    def latent(self, wears: Wears | None, identity: int) -> OutfitLatent:
        """What is sampled for a person; `wears` is None if nothing is known of the kinds."""
        drawn = draw(wears, identity)
        return decode_outfit(drawn, self._diffusion.sample(drawn))

    def worn(self, wears: Wears | None, identity: int, skull: FloatArray) -> Outfit:
        """What a person wears, with hair to the outline that was seen, on a head that is displaced by (V', 3)."""
        latent = self.latent(wears, identity)
        outfit = self._dresser.dress(latent)
        if wears is None or wears.outline is None:
            return outfit
        return self._outlines.with_hair(outfit, latent.kinds, wears.outline, skull)


# Results that are kept, of all sessions; each takes 160 kB.
_REMEMBERED = 128
_NOTHING = np.zeros(0, np.float32)
# A person's stays the same object for many frames.
_encoded = lru_cache(maxsize=2 * _REMEMBERED)(Wears.encode)


class Displacements:
    """Makes and remembers displacements, and how they are posed, on the host.

    Args:
        head: (K, V', 3) displacement of the template by each entry of `head_shape`, metres.
        span: of the template.
    """

    def __init__(self, head: Tensor, outfits: Outfits, span: LegSpan) -> None:
        self._head, self._outfits, self._span = head, outfits, span
        self._known: OrderedDict[tuple[object, ...], Clothes] = OrderedDict()

    def clothes(self, person: PersonLabels, wears: Wears | None = None) -> Clothes:
        """What a person wears.

        Args:
            wears: the posterior over kinds of clothes; None if nothing is known of it: the person wears plain clothes.
        """
        worn = b"" if wears is None else _encoded(wears)
        head = np.asarray(person.labels.get(HEAD, _NOTHING), np.float32)
        key = person.identity, worn, head.tobytes()
        if key not in self._known:
            self._known[key] = self._made(person.identity, wears, head)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    @torch.inference_mode()
    def _made(self, identity: int, wears: Wears | None, head: FloatArray) -> Clothes:
        """What a person wears over a head of the entries of `head_shape` that there are."""
        skull: Tensor = torch.tensordot(torch.from_numpy(head), self._head[: len(head)], 1)
        outfit = self._outfits.worn(wears, identity, skull.numpy())
        made = self._span.clothes(torch.from_numpy(outfit.displacement))
        return replace(made, displacement=made.displacement + skull, part=outfit.part)
