"""Characters whose clothes were changed: their skinning weights, by which what spans both legs follows both."""

import dataclasses

import numpy as np
import torch

from common.weights.devices import to_numpy
from receiver.export.character import Character
from receiver.export.dressing import bare_skin
from receiver.export.skin_weights import is_of_body_model, load_body_skin, spanning_skeleton
from receiver.mesh.mesh_files import Y_UP


def spanned(character: Character) -> Character:
    """The character in which skirts, dresses and tails of coats stay whole when the legs part."""
    if not is_of_body_model(character.skeleton):
        return character
    displacement = ((character.mesh.vertices - bare_skin(character)) * Y_UP).astype(np.float32)
    shares = to_numpy(load_body_skin()[1].span.shares(torch.from_numpy(displacement)))
    return dataclasses.replace(character, skeleton=spanning_skeleton(shares))
