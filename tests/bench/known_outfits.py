"""People of the test split in outfits of known kinds, at rest, and where their clothes end, for `tests.bench.outfits`.

Shapes: V' vertices of the template, N of the surface that all people have in common.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.anatomy import JOINT_INDEX
from common.body.model import BodyModel, BodyParameters
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.synthetic.assets.appearance import HAIR
from common.synthetic.assets.garment_files import Kind
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.split import Split, check_seed
from common.synthetic.kinds.outfits import KindOutfit
from common.texture.atlas import AtlasLayout
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.body.skinning import BodySkin, PosedTemplates
from receiver.outfits.guidance import explained
from receiver.outfits.mixture import PLAIN
from receiver.surface.config import SurfaceConfig
from receiver.surface.people import PeopleSurfaces
from receiver.texture.face_detail import FaceDetail
from receiver.texture.painting import template_corners

_CLOTHES = (Kind.SUIT,)
# What is about an arm: so close to its bones, and so far out beyond the shoulder's joint.
_ARM_M, _ARMPIT_M = 0.13, 0.01
# Hair that is painted on is thinner than this where it only colours the skin.
_HAIR_M = 0.004


@dataclass(frozen=True, eq=False)
class KnownOutfit:
    """A person in an outfit.

    Args:
        shape: (10,) coefficients.
        kinds: attribute → its value; the first of those that are compatible.
        wears: the same as a posterior that is sure.
        displacement: (V', 3) the truth.
        sleeve_m: where the longer sleeve ends, metres from the shoulder down the arm; 0 without sleeves.
        hem_m: where the lowest garment but shoes ends, metres down from the hips.
        hair_m: how far hair reaches, metres down from the neck's foot; −inf without hair.
    """

    shape: FloatArray
    kinds: dict[str, str]
    wears: Wears
    displacement: FloatArray
    sleeve_m: float
    hem_m: float
    hair_m: float


def read_entries(
    person: KnownOutfit, space: SurfaceSpace, confidence: float, noise: FloatArray | Float64Array
) -> FloatArray:
    """(E,) entries of the label group as a reader of some confidence sends them; `noise` (E,) is of N(0, 1)."""
    entries = space.encode(torch.from_numpy(person.displacement)[None])[0].numpy()
    share = explained(SURFACE_SIZE, confidence)
    return np.asarray(share * entries + np.sqrt(share * (1 - share)) * noise, np.float32)


class Limbs:
    """Places on a body of known shape at rest, from its bones alone."""

    def __init__(self, model: BodyModel) -> None:
        self._model, self._kept = model, BodyTemplate.from_model(model).kept

    def along_arm(self, shape: FloatArray, points: FloatArray) -> FloatArray:
        """(N,) metres from the shoulder down the arm of points (N, 3); −inf where they are not about an arm."""
        joints = self._joints(shape)
        best = np.full(len(points), -np.inf, np.float32)
        for side in ("L", "R"):
            names = (f"upperarm01.{side}", f"lowerarm01.{side}", f"wrist.{side}")
            chain = [joints[JOINT_INDEX[name]] for name in names]
            before = 0.0
            for start, stop in pairwise(chain):
                axis = stop - start
                length = float(np.linalg.norm(axis))
                along = (points - start) @ axis / length
                off = np.linalg.norm(points - start - along[:, None] * axis / length, axis=1)
                last = stop is chain[-1]
                outside = np.abs(points[:, 0]) > abs(float(chain[0][0])) + _ARMPIT_M
                on = (along >= 0) & ((along < length) | last) & (off < _ARM_M) & outside
                best[on] = np.maximum(best, before + along)[on]
                before += length
        return best

    def below_hips(self, shape: FloatArray, points: FloatArray) -> FloatArray:
        """(N,) metres down from the hips."""
        joints = self._joints(shape)
        hips = joints[[JOINT_INDEX["upperleg01.L"], JOINT_INDEX["upperleg01.R"]], 1].mean()
        return np.asarray(points[:, 1] - hips, np.float32)

    def below_neck(self, shape: FloatArray, points: FloatArray) -> FloatArray:
        """(N,) metres down from the foot of the neck."""
        return np.asarray(points[:, 1] - self._joints(shape)[JOINT_INDEX["neck01"], 1], np.float32)

    def skin(self, shape: FloatArray) -> FloatArray:
        """(V', 3) the template without clothes."""
        with torch.inference_mode():
            return np.asarray(self._model.rest(torch.from_numpy(shape)[None])[0][0].numpy()[self._kept], np.float32)

    def _joints(self, shape: FloatArray) -> FloatArray:
        return np.asarray(self._model.rest_joints_of(torch.from_numpy(shape)[None])[0].numpy())


class Carrier:
    """The surface that the receiver carries, on people at rest in any displacement."""

    def __init__(self, model: BodyModel) -> None:
        self.skin = BodySkin.from_model(model)
        face = FaceDetail(model, self.skin.template, AtlasLayout.from_body(model))
        self.space = SurfaceSpace.load()
        corners = template_corners(model, self.skin.template)
        self._surfaces = PeopleSurfaces(SurfaceConfig(), model, self.skin.template, face, self.space.mean, corners)
        self.faces = self._surfaces.carried(self.skin.pose(self._templates(np.zeros(10, np.float32), None))).faces

    def surface(self, shape: FloatArray, displacement: FloatArray | None = None) -> FloatArray:
        """(N, 3) vertices in the axes and around the origin of the model at rest, metres; None for the skin."""
        posed = self.skin.pose(self._templates(shape, displacement))
        root = self.skin.model.rest_joints_of(torch.from_numpy(shape)[None])[0, 0].numpy()
        moved = self._surfaces.carried(posed).vertices + (root - posed.joint_positions[0])
        return np.asarray(moved, np.float32)

    @torch.inference_mode()
    def _templates(self, shape: FloatArray, displacement: FloatArray | None) -> PosedTemplates:
        rest = BodyParameters.rest()
        parameters = replace(rest, shape=torch.from_numpy(shape)[None])
        worn = None if displacement is None else [self.skin.span.clothes(torch.from_numpy(displacement))]
        return self.skin.templates(parameters, worn)


class KnownOutfits:
    """Samples people of a split.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self._sampler = OutfitSampler(split)
        self._limbs = Limbs(BodyModel.load())

    def people(self, seed: int, count: int) -> Iterator[KnownOutfit]:
        """`count` people without headwear, which the template is not bound to.

        Raises:
            ValueError: the seed is outside the split's range.
        """
        rng = np.random.default_rng([check_seed(self._split, seed), 4])
        for shape in self._sampler.shapes(rng, count):
            while True:
                outfit = self._sampler.outfit(rng)
                if outfit.kinds["headwear"] == {"none"}:
                    break
            yield self._person(shape, outfit)

    def _person(self, shape: FloatArray, outfit: KindOutfit) -> KnownOutfit:
        clothed = self._sampler.displacer.displace(outfit, shape)
        kinds = {name: next(value for value in _preferred(name) if value in outfit.kinds[name]) for name in VALUES}
        cloth = [
            each.rest_vertices(shape)[np.unique(each.faces)] for each, _ in outfit.garments if each.kind in _CLOTHES
        ]
        sleeve_m, hem_m = 0.0, 0.0
        for vertices in cloth:
            along = self._limbs.along_arm(shape, vertices)
            if kinds["layer"] != "none" and np.isfinite(along).any():
                sleeve_m = max(sleeve_m, float(np.quantile(along[np.isfinite(along)], 0.99)))
            hem_m = max(hem_m, float(np.quantile(self._limbs.below_hips(shape, vertices), 0.99)))
        hair = (clothed.material == HAIR) & (np.linalg.norm(clothed.displacement, axis=1) > _HAIR_M)
        places = self._limbs.skin(shape)[hair] + clothed.displacement[hair]
        hair_m = float(self._limbs.below_neck(shape, places).max(initial=-np.inf))
        return KnownOutfit(shape, kinds, PLAIN.as_known(kinds), clothed.displacement, sleeve_m, hem_m, hair_m)


def _preferred(name: str) -> tuple[str, ...]:
    """The values of an attribute; a fit that cannot be told counts as regular."""
    return ("regular", *VALUES[name]) if name.endswith("_fit") else VALUES[name]
