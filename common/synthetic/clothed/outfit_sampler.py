"""Samples people in outfits of known kinds, without a pose: shapes, outfits, and what these make of the template."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import ClothedTemplate, OutfitDisplacer
from common.synthetic.dataset.split import Split, check_seed, identity_rows
from common.synthetic.kinds.outfits import KindOutfit, KindSampler
from common.synthetic.renderer.renderer import Renderer


@dataclass(frozen=True, eq=False)
class DressedPerson:
    """A sampled person.

    Args:
        shape: (10,) coefficients.
    """

    shape: FloatArray
    outfit: KindOutfit
    clothed: ClothedTemplate


class OutfitSampler:
    """Samples people of a split.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, split: Split) -> None:
        model = BodyModel.load()
        renderer = Renderer(Canvas.from_model(model))
        self._split = split
        self.wardrobe = Wardrobe.load(renderer.canvas)
        self._kinds = KindSampler(self.wardrobe)
        self._shapes = model.shape_table.numpy()
        self._rows = identity_rows(split, len(self._shapes))
        self.displacer = OutfitDisplacer(model, renderer, load_bindings())

    def shapes(self, rng: np.random.Generator, count: int) -> FloatArray:
        """(count, 10) coefficients of people of the split."""
        return np.asarray(self._shapes[rng.choice(self._rows, count)], np.float32)

    def people(self, seed: int, count: int) -> Iterator[DressedPerson]:
        """`count` people; the same seed gives the same people.

        Raises:
            ValueError: the seed is outside the split's range.
        """
        rng = np.random.default_rng([check_seed(self._split, seed), 3])
        for shape in self.shapes(rng, count):
            outfit = self.outfit(rng)
            yield DressedPerson(shape, outfit, self.displacer.displace(outfit, shape))

    def outfit(self, rng: np.random.Generator) -> KindOutfit:
        """Somebody's outfit."""
        return self._kinds.sample(rng, sample_appearance(rng))
