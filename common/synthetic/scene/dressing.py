"""What synthetic people wear: outfits of known kinds, or clothes that are painted on the body."""

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.synthetic.assets.appearance import Light, sample_appearance, sample_light
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.garment import PosedSkeleton
from common.synthetic.assets.outfit import Outfit
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import OutfitDisplacer
from common.synthetic.kinds.outfits import KindOutfit, KindSampler
from common.synthetic.renderer.renderer import Figure, Renderer, WornGarment
from common.wears import possible

_WORD = (1 << 64) - 1

State = npt.NDArray[np.uint64]
"""(6,) state of a generator, from which an outfit is drawn again."""


class Dresser:
    """Draws outfits and lights.

    Args:
        dressed: outfits of known kinds; else painted clothes.
    """

    def __init__(self, canvas: Canvas, dressed: bool) -> None:
        self._kinds = KindSampler(Wardrobe.load(canvas)) if dressed else None

    def draw(self, rng: Generator) -> tuple[Outfit, Light]:
        """An outfit, and a light to see it in."""
        painted, light = sample_appearance(rng), sample_light(rng)
        return self._kinds.sample(rng, painted) if self._kinds else Outfit(painted, ()), light


def state_of(rng: Generator) -> State:
    """The state of a generator of `numpy.random.default_rng`."""
    state = rng.bit_generator.state
    numbers = [state["state"]["state"], state["state"]["inc"]]
    words = [word for number in numbers for word in (number & _WORD, number >> 64)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


class ClothingTruth:
    """Computes the fields `surface` and `kinds` of `scene.CROP_FIELDS`.

    Raises:
        WeightsError: the surface space is missing or unreadable.
    """

    def __init__(self, model: BodyModel, renderer: Renderer) -> None:
        self._displacer = OutfitDisplacer(model, renderer, load_bindings())
        self._space = SurfaceSpace.load()

    def fields(self, outfit: Outfit, shape: FloatArray) -> dict[str, npt.ArrayLike]:
        """The fields of a person in an outfit, for shape coefficients (10,); painted clothes have no kinds."""
        displacement = torch.from_numpy(self._displacer.displace(outfit, shape).displacement)
        surface = self._space.encode(displacement[None])[0].numpy().astype(np.float32)
        kinds = {"kinds": possible(outfit.kinds)} if isinstance(outfit, KindOutfit) else {}
        return {"surface": surface, **kinds}


def worn_figure(outfit: Outfit, vertices: FloatArray, skeleton: PosedSkeleton) -> Figure:
    """A posed person in an outfit (`vertices`: (V, 3) of the body, camera space, metres)."""
    worn = tuple(WornGarment(garment, garment.posed_vertices(skeleton), paint) for garment, paint in outfit.garments)
    return Figure(vertices, outfit.body, worn)
