"""What a rendered data set says about clothes: entries of the label group `surface`, and the outfit itself."""

import numpy as np
import numpy.typing as npt
import torch

from common.arrays import FloatArray
from common.body.model import BodyModel
from common.body.surface_space import SurfaceSpace
from common.synthetic.assets.outfit import Outfit
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.clothed.binding import load_bindings
from common.synthetic.clothed.displacement import OutfitDisplacer
from common.synthetic.clothed.outfit_code import OutfitCode
from common.synthetic.renderer.renderer import Renderer


class ClothingTruth:
    """Computes the fields `surface` and `outfit` of `scene.CROP_FIELDS`.

    Args:
        wardrobe: its garments; None if it has painted clothes only.

    Raises:
        WeightsError: the surface space is missing or unreadable.
    """

    def __init__(self, model: BodyModel, renderer: Renderer, wardrobe: Wardrobe | None) -> None:
        self._displacer = OutfitDisplacer(model, renderer, load_bindings())
        self._space, self._code = SurfaceSpace.load(), OutfitCode(wardrobe)

    def fields(self, outfit: Outfit, shape: FloatArray) -> dict[str, npt.ArrayLike]:
        """The fields of a person in an outfit, for shape coefficients (10,)."""
        displacement = torch.from_numpy(self._displacer.displace(outfit, shape).displacement)
        surface = self._space.encode(displacement[None])[0].numpy()
        return {"surface": surface.astype(np.float32), "outfit": self._code.encode(outfit)}
