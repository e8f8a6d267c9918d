"""Samples shapes of people, and outfits of known kinds, without a pose."""

import numpy as np

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import OutfitDisplacer
from common.synthetic.dataset.split import Split, identity_rows
from common.synthetic.kinds.outfits import KindOutfit, KindSampler
from common.synthetic.renderer.renderer import Renderer


class OutfitSampler:
    """Samples shapes of a split, and outfits; has what displaces the template by them.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, split: Split) -> None:
        model = BodyModel.load()
        renderer = Renderer(Canvas.from_model(model))
        self.wardrobe = Wardrobe.load(renderer.canvas)
        self._kinds = KindSampler(self.wardrobe)
        self._shapes = model.shape_table.numpy()
        self._rows = identity_rows(split, len(self._shapes))
        self.displacer = OutfitDisplacer(model, renderer, load_bindings())

    def shapes(self, rng: np.random.Generator, count: int) -> FloatArray:
        """(count, 10) coefficients of people of the split."""
        return np.asarray(self._shapes[rng.choice(self._rows, count)], np.float32)

    def outfit(self, rng: np.random.Generator) -> KindOutfit:
        """Somebody's outfit."""
        return self._kinds.sample(rng, sample_appearance(rng))
