"""Figures of the networks that read clothes and draw outfits, on rendered people of the test split."""

from collections.abc import Iterator

import numpy as np
import torch

from common.arrays import Float64Array, FloatArray
from common.body.model import BodyModel
from common.body.surface_space import SURFACE_SIZE, SurfaceSpace
from common.body.template import BodyTemplate
from common.synthetic.assets.appearance import sample_appearance
from common.synthetic.assets.binding import OutfitDisplacer, load_bindings
from common.synthetic.assets.garments import Canvas
from common.synthetic.assets.wardrobe import Wardrobe
from common.synthetic.dataset import DRESSED, SEED_RANGES, identity_rows
from common.synthetic.kinds import KindSampler
from common.synthetic.renderer import Renderer
from common.synthetic.scene.scene import scene_maker
from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.outfits.guidance import Guidance, explained
from receiver.outfits.mixture import PLAIN
from sender.attributes.kind_reader import KindReader
from sender.perception.crop import CropBox
from sender.perception.predictor import Perception
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.train.worn import hidden_unknown

_SEED = SEED_RANGES["test"].start + 77
_WORN_PX, _WEARERS = 192, 48
# Share of the confidence with which `surface` labels are known.
_KNOWN = 0.5


def misread_kinds() -> list[float]:
    """Of each rendered person in an outfit of known kinds, the share of the attributes that are read wrongly."""
    made = scene_maker("test", np.random.default_rng(0), 16, DRESSED).make(_SEED, _WEARERS, _WORN_PX)
    bits = hidden_unknown(np.asarray(made["kinds"], np.uint8), np.asarray(made["part"], np.uint8)).tolist()
    reader, perception, found = KindReader.load(), Perception.load(), list[float]()
    for image, possible in zip(made["image"], bits, strict=True):
        picture = np.asarray(image, np.uint8)
        person = ObservedPerson(TrackedPerson(0), 1.0, CropBox(0, 0, _WORN_PX), perception.observe([picture]))
        shares = reader.read(picture, person)
        read = [int(shares[name].argmax()) for name in VALUES]
        found.append(float(np.mean([not each >> value & 1 for each, value in zip(possible, read, strict=True)])))
    return found


@torch.inference_mode()
def outfit_errors(count: int) -> list[float]:
    """Mean distance from the true clothes, mm, of outfits that the diffusion draws by kinds and `surface` labels."""
    template, space = BodyTemplate.from_model(BodyModel.load()), SurfaceSpace.load()
    guidance, area = Guidance.load(template, space), template.areas / template.areas.sum()
    rng, found, share = np.random.default_rng(0), list[float](), explained(SURFACE_SIZE, _KNOWN)
    for number, (wears, true) in enumerate(_known_outfits(count)):
        entries = space.encode(torch.from_numpy(true)[None])[0].numpy()
        # As a reader of this confidence sends them.
        noise = np.sqrt(share * (1 - share)) * rng.normal(size=SURFACE_SIZE)
        read = np.asarray(share * entries + noise, np.float32)
        latent = guidance.chosen(wears, number, read, _KNOWN)
        off: Float64Array = np.linalg.norm(guidance.worn(latent, read, _KNOWN).displacement - true, axis=1)
        found.append(float(1000 * area @ off))
    return found


def _known_outfits(count: int) -> Iterator[tuple[Wears, FloatArray]]:
    """The kinds that people wear, and their displacement (V', 3); without headwear, which is not bound to it."""
    model, rng = BodyModel.load(), np.random.default_rng([_SEED, 4])
    renderer, shapes = Renderer(Canvas.from_model(model)), model.shape_table.numpy()
    sampler, displacer = KindSampler(Wardrobe.load(renderer.canvas)), OutfitDisplacer(model, renderer, load_bindings())
    for shape in np.asarray(shapes[rng.choice(identity_rows("test", len(shapes)), count)], np.float32):
        outfit = sampler.sample(rng, sample_appearance(rng))
        while outfit.kinds["headwear"] != {"none"}:
            outfit = sampler.sample(rng, sample_appearance(rng))
        # Of those that are compatible, the first; a fit that cannot be told counts as regular.
        preferred = {name: ("regular", *VALUES[name]) if name.endswith("_fit") else VALUES[name] for name in VALUES}
        kinds = {name: next(value for value in preferred[name] if value in outfit.kinds[name]) for name in VALUES}
        yield PLAIN.as_known(kinds), displacer.displace(outfit, shape).displacement
