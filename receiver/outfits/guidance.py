"""The diffusion of outfits: the measures z' of clothes and hair, given what is known of them.

It stands where the paper (§5.2) diffuses points.  (26) and (27), whose reverse step has no learned denoiser and cannot
invert the forward one (`receiver.motion.mixture` measures them), are replaced by that of Karras et al. 2022.

In the coordinates of its component, x = L_k⁻¹ (z' − μ_k), the mixture's z' is N(0, I).  The diffusion knows more: how
the measures of real outfits depend on each other across the parts of the body, and which ones agree with the `surface`
labels that have arrived.  Its condition u_m are the kinds, the labels ŷ, and the share K of the variance that they
explain.  It starts from the noise ε that (21) draws, and follows the probability flow without adding any: where the
denoiser knew nothing but the mixture, x would end as ε.

Shapes: B people, D = 18 entries of x, E = 24 entries of `surface`.

Lets hair out, or takes it in, until the head has the outline that was seen.

Seen from the front, hair and scalp are scaled about the middle of the head, in each direction by the ratio of both
outlines.  Below the ears, where hair hangs, it is scaled across alone; at the back, as above.  The front of the head,
which an outline does not show, stays.  Headwear has its own sides, and follows at the crown alone.

Shapes: V' vertices of the template, S sectors of `common.head_outline`.

Makes outfits obey what was seen: the `surface` labels, as far as they are sure.

A sender's entry ŷ is the mean of a posterior: in the space of the label group, where outfits have mean 0 and variance
1, it explains a share K of the variance.

The diffusion draws z' given the labels: hems and fits that agree with what was seen.  What z' cannot express is moved
towards the labels: e ← e + √K (ŷ − e).  Where K is 0 the cloth stays where it was; where K is 1 the entry is what was
sent.  Fitted to validation people by least squares, the truth is 0.3 e + 0.5 ŷ of the leading entries with one view,
and 0.3 e + 0.7 ŷ with eight; of the others, 0.2 e + 0.8 ŷ and 0.2 e + 1.0 ŷ.

Shapes: V' vertices of the template, E = 24 entries.

What each person wears, on the template at rest, over a head of their own: made when it changes, else remembered.

People of whom every entry of `surface` is sure wear what the labels say.  All others wear an outfit of their kinds,
guided by what the labels say in the measure of their confidence: what is unsure is generated, not taken for known.

Clothes are a function of a person's identity, `wears`, `surface` and `head_shape` alone.  These labels change rarely,
and an outfit takes 5 ms, so results are kept.
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
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
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

WEIGHTS_NAME, KIND = "diffusion", "outfits-1"
SIGMA_MIN, SIGMA_MAX = 0.03, 10.0
"""Least and largest noise, in standard deviations of x."""
_STEPS = 16
# What people wear has ends: largest |x|.
_MOST = 2.5
_CONDITION = sum(map(len, VALUES.values())) + 2 * SURFACE_SIZE


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


def condition(kinds: Kinds, surface: FloatArray, share: Float64Array) -> FloatArray:
    """u_m (C,) of one person.

    Args:
        kinds: attribute → its value.
        surface: (n,) entries ŷ that have arrived, n ≤ 24: means of a posterior.
        share: (n,) K, the share of each entry's variance that it explains.
    """
    chosen = [kinds[name] == value for name, values in VALUES.items() for value in values]
    seen = np.zeros((2, SURFACE_SIZE), np.float32)
    seen[:, : len(surface)] = surface, share
    return np.concatenate([np.array(chosen, np.float32), seen.ravel()])


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
    def sample(self, drawn: Draw, surface: FloatArray, share: Float64Array) -> Float64Array:
        """x (D,) of what was drawn for a person, given what was seen; arguments as for `condition`."""
        u_m = torch.from_numpy(condition(drawn.kinds, surface, share))[None]
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


# Entries that the confidence of the group is that of; of the others, it is the square.
_LEADING = 4


class Guidance:
    """Dresses people in outfits that the labels do not contradict."""

    def __init__(
        self, dresser: Dresser, space: SurfaceSpace, diffusion: OutfitDiffusion, outlined: HairOutline
    ) -> None:
        self._dresser, self._diffusion = dresser, diffusion
        self._outlined = outlined
        self._mean, self._basis, self._analysis = (
            each.detach().cpu().numpy() for each in (space.mean, space.basis, space.analysis)
        )

    @classmethod
    def load(cls, template: BodyTemplate, space: SurfaceSpace, device: torch.device = CPU) -> Self:
        """With the package's shells and weights. Raises WeightsError if they are missing or unreadable."""
        return cls(Dresser(template, Shells.load()), space, OutfitDiffusion.load(device), HairOutline(template))

    def chosen(self, wears: Wears | None, identity: int, surface: FloatArray, confidence: float) -> OutfitLatent:
        """The outfit of a person that agrees with what was seen.

        Args:
            wears: None if nothing is known of the kinds.
            surface: (n,) entries that arrived, n ≤ 24.
            confidence: of the group, 0…1: the share of variance that its leading entries explain.
        """
        drawn = draw(wears, identity)
        share = explained(len(surface), confidence)
        # The more was seen, the likelier is what is shown: a sample is further from the truth than its mean.
        drawn = replace(drawn, noise=drawn.noise * (1 - (confidence if len(surface) else 0.0)) ** 2)
        return decode_outfit(drawn, self._diffusion.sample(drawn, surface, share))

    def worn(self, latent: OutfitLatent, surface: FloatArray, confidence: float) -> Outfit:
        """One outfit, moved by the labels."""
        if not len(surface) or confidence <= 0:
            return self._dresser.dress(latent)
        # How cloth hangs is a guess: the surer the labels are, the less of it.
        outfit = self._dresser.dress(latent, 1 - confidence)
        change = np.sqrt(confidence) * (surface - self._entries(outfit.displacement)[: len(surface)])
        moved = np.tensordot(change.astype(np.float32), self._basis[: len(surface)], 1)
        return Outfit(self._dresser.moved(outfit, moved), outfit.part)

    def outlined(self, outfit: Outfit, latent: OutfitLatent, outline: FloatArray, skull: FloatArray) -> Outfit:
        """The outfit with hair to this outline (S,), metres, on a head that is displaced by (V', 3)."""
        return self._outlined.with_hair(outfit, latent.kinds, outline, skull)

    def _entries(self, displacement: FloatArray) -> FloatArray:
        return np.asarray(self._analysis @ (displacement - self._mean).ravel(), np.float32)


def explained(count: int, confidence: float) -> Float64Array:
    """(n,) share of the variance of each of the first entries that a sender explains."""
    return np.where(np.arange(SURFACE_SIZE) < _LEADING, confidence, confidence**2)[:count]


# Results that are kept, of all sessions; each takes 160 kB.
_REMEMBERED = 128
_NOTHING = np.zeros(0, np.float32)
# A person's stays the same object for many frames.
_encoded = lru_cache(maxsize=2 * _REMEMBERED)(Wears.encode)
# Confidence, sent in 4 bits, from which on clothes are taken for known.
_SURE = 0.97


class Displacements:
    """Makes and remembers displacements, and how they are posed, on the host.

    Args:
        head: (K, V', 3) displacement of the template by each entry of `head_shape`, metres.
        span: of the template.
    """

    def __init__(self, space: SurfaceSpace, head: Tensor, outfits: Guidance, span: LegSpan) -> None:
        self._space, self._head, self._outfits, self._span = space, head, outfits, span
        self._known: OrderedDict[tuple[object, ...], Clothes] = OrderedDict()

    def clothes(self, person: PersonLabels, wears: Wears | None = None) -> Clothes:
        """What a person wears.

        Args:
            wears: the posterior over kinds of clothes; None if nothing is known of it: the person wears plain clothes.
        """
        surface = np.asarray(person.labels.get("surface", _NOTHING), np.float32)
        confidence = float(person.confidence.get("surface", 0))
        worn = b"" if wears is None else _encoded(wears)
        head = np.asarray(person.labels.get(HEAD, _NOTHING), np.float32)
        key = person.identity, surface.tobytes(), round(confidence, 3), worn, head.tobytes()
        if key not in self._known:
            skull = self._of_head(head)
            made = self._made(person.identity, surface, confidence, wears, skull)
            self._known[key] = replace(made, displacement=made.displacement + skull)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _of_head(self, entries: FloatArray) -> Tensor:
        """(V', 3) by the entries of `head_shape` that there are."""
        displacement: Tensor = torch.tensordot(torch.from_numpy(entries), self._head[: len(entries)], 1)
        return displacement

    @torch.inference_mode()
    def _made(
        self, identity: int, surface: FloatArray, confidence: float, wears: Wears | None, skull: Tensor
    ) -> Clothes:
        if len(surface) == SURFACE_SIZE and confidence >= _SURE:
            return self._span.clothes(self._space.decode(torch.from_numpy(surface)[None])[0])
        latent = self._outfits.chosen(wears, identity, surface, confidence)
        outfit = self._outfits.worn(latent, surface, confidence)
        if wears is not None and wears.outline is not None:
            outfit = self._outfits.outlined(outfit, latent, wears.outline, skull.numpy())
        return replace(self._span.clothes(torch.from_numpy(outfit.displacement)), part=outfit.part)
