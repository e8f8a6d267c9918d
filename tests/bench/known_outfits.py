"""People of the test split in outfits of known kinds, at rest; V' vertices of the template."""

from collections.abc import Iterator

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.split import check_seed
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.outfits.guidance import explained
from receiver.outfits.mixture import PLAIN


def known_outfits(seed: int, count: int) -> Iterator[tuple[Wears, FloatArray]]:
    """The kinds that `count` people wear, and their displacement (V', 3); without headwear, which is not bound to it.

    Raises:
        RendererUnavailable: OpenGL is missing.
        ValueError: the seed is outside the split's range.
    """
    sampler, rng = OutfitSampler("test"), np.random.default_rng([check_seed("test", seed), 4])
    for shape in sampler.shapes(rng, count):
        outfit = sampler.outfit(rng)
        while outfit.kinds["headwear"] != {"none"}:
            outfit = sampler.outfit(rng)
        # Of those that are compatible, the first; a fit that cannot be told counts as regular.
        preferred = {name: ("regular", *VALUES[name]) if name.endswith("_fit") else VALUES[name] for name in VALUES}
        kinds = {name: next(value for value in preferred[name] if value in outfit.kinds[name]) for name in VALUES}
        yield PLAIN.as_known(kinds), sampler.displacer.displace(outfit, shape).displacement


def read_entries(
    displacement: FloatArray, space: SurfaceSpace, confidence: float, noise: FloatArray | Float64Array
) -> FloatArray:
    """(E,) entries of the label group as a reader of some confidence sends them; `noise` (E,) is of N(0, 1)."""
    entries = space.encode(torch.from_numpy(displacement)[None])[0].numpy()
    share = explained(SURFACE_SIZE, confidence)
    return np.asarray(share * entries + np.sqrt(share * (1 - share)) * noise, np.float32)
