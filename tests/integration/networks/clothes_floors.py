"""Figures of the networks that read kinds of clothes, on rendered people of the test split, and that draw outfits."""

import numpy as np

from common.synthetic.dataset import DRESSED, SEED_RANGES
from common.synthetic.scene.scene import scene_maker
from common.wear_kinds import VALUES
from receiver.outfits.guidance import OutfitDiffusion
from receiver.outfits.mixture import BLOCK_SLICES, BLOCKS, PLAIN, draw
from sender.attributes.kind_reader import KindReader
from sender.perception.crop import CropBox
from sender.perception.predictor import Perception
from sender.perception.track import ObservedPerson, TrackedPerson
from sender.train.wears import hidden_unknown

_SEED = SEED_RANGES["test"].start + 77
_WORN_PX, _WEARERS = 192, 48


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


def flared_tops(count: int) -> list[float]:
    """How far the diffusion draws the hem of each of so many tops, which do not flare, from one without flare."""
    diffusion, flare = OutfitDiffusion.load(), BLOCK_SLICES["top"].start + BLOCKS["top"].index("flare_m")
    drawn = (draw(PLAIN, identity) for identity in range(count))
    return [abs(float(diffusion.sample(each)[flare])) for each in drawn]
