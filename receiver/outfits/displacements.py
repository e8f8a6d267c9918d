"""What each person wears, on the template at rest, over a head of their own: made when it changes, else remembered.

People of whom every entry of `surface` is sure wear what the labels say.  All others wear an outfit of their kinds,
guided by what the labels say in the measure of their confidence: what is unsure is generated, not taken for known.

Clothes are a function of a person's identity, `wears`, `surface` and `head_shape` alone.  These labels change rarely,
and an outfit takes 5 ms, so results are kept.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from common.arrays import FloatArray
from common.body.model import GROUP as HEAD
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.frames import PersonLabels
from common.wears import Wears
from receiver.body.spanning import Clothes, LegSpan
from receiver.outfits.guidance import Guidance

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
